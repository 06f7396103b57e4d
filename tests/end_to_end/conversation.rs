//! What is said to real programs and by them: observed, followed and paged, it is the same.

use workplane::proto::v1::{SendInputResponse, StopMode, TranscriptRole, WorkerInputKind, WorkerState};

use crate::support::{
    Chance, EMBEDDED, Host, Line, Plane, Profile, Worker, agent, chance, line_of, lines_of, program_is_here, within,
};

const INPUTS: usize = 1_000;
const LARGEST: usize = 64 * 1024;

/// A program, what is said to it, and what it should say to that.
struct Program {
    name: &'static str,
    profile: fn() -> Profile,
    input: fn(&mut Chance, usize) -> String,
    answer: fn(&str, WorkerInputKind, u64) -> String,
    /// Whether it tells what a user says from what is said beside.
    knows_kinds: bool,
}

/// Reads JSON, so that an input may have any character.
const PYTHON: Program = Program {
    name: "python3",
    profile: || Profile::json(["python3", &agent("echo.py")]),
    input: |chance, length| chance.text(length, |_| true),
    answer: |input, kind, sequence| {
        let kind = if kind == WorkerInputKind::System { "system" } else { "user" };
        format!("{kind} {sequence}: {input}")
    },
    knows_kinds: true,
};

/// Reads lines, and says them again.
const CAT: Program = Program {
    name: "cat",
    profile: || Profile::text(["cat"]),
    input: |chance, length| chance.text(length, |c| c != '\n'),
    answer: |input, _, _| input.to_owned(),
    knows_kinds: false,
};

/// Reads lines, and says what they come to.
const BC: Program = Program {
    name: "bc",
    profile: || Profile::text(["bc"]).env("BC_LINE_LENGTH", "0"),
    input: sum,
    answer: |input, _, _| input.split('+').map(|number| number.parse::<u64>().unwrap()).sum::<u64>().to_string(),
    knows_kinds: false,
};

#[tokio::test(flavor = "multi_thread")]
async fn python3_on_the_embedded_runtime_is_told_alike_in_every_way() {
    // acceptance 92, 114
    talk_on_the_embedded_runtime(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python3_on_a_host_is_told_alike_in_every_way() {
    // acceptance 92, 114
    talk_on_a_host(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_on_the_embedded_runtime_is_told_alike_in_every_way() {
    // acceptance 92
    talk_on_the_embedded_runtime(&CAT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cat_on_a_host_is_told_alike_in_every_way() {
    // acceptance 92
    talk_on_a_host(&CAT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bc_on_the_embedded_runtime_is_told_alike_in_every_way() {
    // acceptance 92
    talk_on_the_embedded_runtime(&BC).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bc_on_a_host_is_told_alike_in_every_way() {
    // acceptance 92
    talk_on_a_host(&BC).await;
}

async fn talk_on_the_embedded_runtime(program: &Program) {
    if program_is_here(program.name) {
        let plane = Plane::new().profile("builtin:coder", (program.profile)()).start().await;
        talk(&plane, EMBEDDED, program).await;
    }
}

async fn talk_on_a_host(program: &Program) {
    if program_is_here(program.name) {
        let host = Host::named("one").profile("builtin:coder", (program.profile)()).start().await;
        let plane = Plane::new().host(&host).start().await;
        talk(&plane, "one", program).await;
    }
}

/// Says a thousand things to a program while it is observed and its transcript followed, and compares what was heard.
async fn talk(plane: &Plane, runtime_id: &str, program: &Program) {
    let mut chance = chance();
    let worker = plane.spawn(runtime_id, "builtin:coder").await;
    let observed = tokio::spawn(worker.observe().await.rest());
    let followed = tokio::spawn({
        let worker = worker.clone();
        async move { worker.follow().await }
    });

    let mut said = Vec::new();
    for n in 0..INPUTS {
        let length = [1, LARGEST].get(n).copied().unwrap_or_else(|| chance.length(LARGEST));
        let input = (program.input)(&mut chance, length);
        let beside = program.knows_kinds && chance.below(20) == 0;
        let kind = if beside { WorkerInputKind::System } else { WorkerInputKind::User };
        said.push(say(&worker, kind, input).await);
    }
    everything_is_answered(&worker, INPUTS).await;
    worker.stop(StopMode::Graceful).await;
    worker.state_is(WorkerState::Stopped).await;

    let observed = lines_of(&within("the observation to end", observed).await.unwrap());
    let followed: Vec<_> = within("the transcript to end", followed).await.unwrap().iter().map(line_of).collect();
    let paged: Vec<_> = worker.transcript(100).await.iter().map(line_of).collect();
    assert!(observed == followed, "the observed and the followed items differ");
    assert!(observed == paged, "the observed and the paged items differ");
    as_it_was_said(&observed, &said, program);
}

/// An input, and how it was taken.
struct Said {
    kind: WorkerInputKind,
    input: String,
    taken: SendInputResponse,
}

async fn say(worker: &Worker, kind: WorkerInputKind, input: String) -> Said {
    let mut request = worker.input(&input);
    request.set_kind(kind);
    let taken = worker.try_send(request).await.unwrap();
    Said { kind, input, taken }
}

/// Waits until the transcript has an answer to every input.
async fn everything_is_answered(worker: &Worker, inputs: usize) {
    let mut stream = worker.observe().await;
    let mut items = 0;
    let all = |items: usize| items == 2 * inputs;
    within("all answers", async {
        while !all(items) {
            items += usize::from(stream.frame().await.item().is_some());
        }
    })
    .await;
}

/// Inputs and answers are each in the order of the inputs, and the items are numbered from 1.
fn as_it_was_said(lines: &[Line], said: &[Said], program: &Program) {
    let numbered = lines.iter().zip(1..).all(|(line, sequence)| line.sequence == sequence);
    assert!(numbered, "items are not numbered from 1, one by one");
    let (mut inputs, mut answers) = (Vec::new(), Vec::new());
    let mut taken = said.iter().map(|said| said.taken.transcript_sequence()).peekable();
    for line in lines {
        let is_input = taken.next_if_eq(&line.sequence).is_some();
        if is_input { inputs.push(line) } else { answers.push(line) }
    }
    assert_eq!((inputs.len(), answers.len()), (said.len(), said.len()));
    for ((said, input), answer) in said.iter().zip(inputs).zip(answers) {
        let (asked, answered) = match said.kind {
            WorkerInputKind::System => (TranscriptRole::System, TranscriptRole::System),
            _ => (TranscriptRole::User, TranscriptRole::Assistant),
        };
        let expected = (program.answer)(&said.input, said.kind, input.sequence);
        assert!(input.role == asked && input.content == said.input, "input {} is not as it was sent", input.sequence);
        assert!(
            answer.role == answered && answer.content == expected,
            "the answer to input {} is not what {} says",
            input.sequence,
            program.name
        );
    }
}

/// A sum of numbers, in exactly so many bytes.
fn sum(chance: &mut Chance, length: usize) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let room = length - text.len();
        // A number of up to nine digits, and no `+` at the very end.
        let digits = (1 + chance.below(9)).min(room);
        let digits = if room == digits + 1 { room } else { digits };
        text.push(char::from(b'1' + u8::try_from(chance.below(9)).unwrap()));
        text.extend((1..digits).map(|_| char::from(b'0' + u8::try_from(chance.below(10)).unwrap())));
        if text.len() < length {
            text.push('+');
        }
    }
    text
}
