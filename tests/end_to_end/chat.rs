//! `workplane chat`: a conversation through a pipe and at a terminal.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use workplane::proto::v1::{StopMode, WorkerState};

use crate::acp::profile;
use crate::support::{Console, EMBEDDED, Host, Plane, Profile, program_is_here, run_with_input};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_piped_in_is_answered_and_the_worker_lives_on() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let console = Console::of(&plane);
    let output = console.run(&["chat", "builtin:coder", "--thoughts"], "think\ntool\nlast").await;
    let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{shown}{said}");
    let told: Vec<_> = shown.lines().skip(1).take(9).collect();
    let expected = [
        "> think",
        "  hm",
        "  one two three",
        "> tool",
        "  before",
        "· tool: Read [2J it (pending)",
        "· tool: Read [2J it (completed)",
        "  after",
        "> last",
    ];
    assert_eq!(told, expected, "{shown}");
    assert!(shown.contains("  heard: last\n· the worker lives on\n"), "{shown}");
    // The line that leads back does so.
    let back = shown.lines().find_map(|line| line.strip_prefix("· to come back: ")).unwrap();
    let words: Vec<_> = back.split(' ').skip(1).collect();
    let again = run_with_input(&words, "more\n", None).await;
    let shown = String::from_utf8(again.stdout).unwrap();
    assert!(shown.contains("  heard: last\n> more\n  heard: more\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_the_worker_ended_is_told_and_the_code_says_that_it_failed() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let output = Console::of(&plane).run(&["chat", "builtin:coder"], "exit\nnever\n").await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4), "{shown}");
    assert!(shown.contains("  the beginning of an answer\n"), "{shown}");
    assert!(shown.contains("· the worker has ended: exited, exit code 3: it went wrong"), "{shown}");
    assert!(!shown.contains("to come back"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_can_be_spoken_to_as_well() {
    let plane = Plane::new().profile("builtin:coder", Profile::text(["sh"])).start().await;
    let output = Console::of(&plane).run(&["chat", "builtin:coder"], "echo $((6 * 7))\n").await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && shown.contains("> echo $((6 * 7))\n  42\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_in_the_midst_of_an_answer_is_made_again_and_nothing_is_shown_twice() {
    let Some(agent) = profile(&[]) else { return };
    let host = Host::named("one").profile("builtin:coder", agent).start().await;
    let mut plane = Plane::new().host(&host).start().await;
    let console = Console::of(&plane);
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();

    let mut talk = console.talk("chat builtin:coder --runtime one");
    talk.types(&format!("one\nhold {}\n", pipe.display())).await;
    talk.shows("  first half, ").await;
    plane.process().kill().await;
    talk.shows("the connection is lost").await;
    // What is typed meanwhile is given once it can be.
    talk.types("two\n").await;
    tokio::fs::write(&pipe, "").await.unwrap();
    plane.start_again().await;
    talk.shows("  heard: two\n").await;
    let (shown, said, code) = talk.leave().await;
    assert_eq!(code, Some(0), "{shown}{said}");
    for once in ["first half", "second half", "connected again", "heard: one", "heard: two"] {
        assert_eq!(shown.matches(once).count(), 1, "{once}: {shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_ctrl_c_ends_the_turn_and_leaves_where_there_is_none() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent).start().await;
    let console = Console::of(&plane);
    let mut talk = console.talk_at_a_terminal("chat builtin:coder");
    talk.shows("> ").await;
    talk.types("hello\n").await;
    talk.shows("  heard: hello").await;
    talk.shows("> ").await;
    talk.types("wait\n").await;
    talk.shows("  waiting").await;
    talk.types("\x03").await;
    talk.shows("the turn is interrupted").await;
    talk.shows("the turn has ended: cancelled").await;
    talk.shows("> ").await;
    talk.types("\x03").await;
    let (shown, _, code) = talk.leave().await;
    assert!(shown.contains("to come back: ") && shown.contains("to stop it: "), "{shown}");
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("> hello\r\n> hello"), "what was typed is not printed again: {shown}");
    let id = shown.split_whitespace().find_map(|word| word.strip_prefix("embedded-worker-runtime/worker-")).unwrap();
    let got = console.types(&format!("workers get {EMBEDDED}/worker-{}", id.trim_end_matches(':'))).await;
    assert!(got.contains(WorkerState::Running.as_str_name()), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_terminal_ctrl_d_leaves() {
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    if !program_is_here("python3") {
        return;
    }
    let mut talk = Console::of(&plane).talk_at_a_terminal("chat builtin:coder");
    talk.shows("> ").await;
    talk.types("\x04").await;
    let (shown, _, code) = talk.leave().await;
    assert!(shown.contains("to come back: ") && code == Some(0), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_answered_by_its_number() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent.permissions("ask")).start().await;
    let console = Console::of(&plane);
    // What is no answer is told so, and is no prompt either.
    let output = console.run(&["chat", "builtin:coder"], "ask\nperhaps\n1\nthen this\n").await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    let told: Vec<_> = shown.lines().skip(1).take(9).collect();
    let expected = [
        "> ask",
        "· may it? Write file 1 (approval-1)",
        "·   1) allow_once (allow_once)",
        "·   2) reject_once (reject_once)",
        "· it waits for one of the answers: type its number",
        "· approval-1 was answered by tests: allow_once",
        "  allow_once",
        "> then this",
        "  heard: then this",
    ];
    assert_eq!(told, expected, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_stays_asked_where_nobody_answers_and_who_joins_is_asked_again() {
    let Some(agent) = profile(&[]) else { return };
    let plane = Plane::new().profile("builtin:coder", agent.permissions("ask")).start().await;
    let console = Console::of(&plane);
    let output = console.run(&["chat", "builtin:coder"], "ask").await;
    let (shown, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.code() == Some(3) && said.contains("the worker waits for an answer"), "{shown}{said}");
    let back = shown.lines().find_map(|line| line.strip_prefix("· to come back: ")).unwrap();
    let words: Vec<_> = back.split(' ').skip(1).collect();
    let explained = console.run(&["explain", words[2]], "").await;
    let told = String::from_utf8(explained.stdout).unwrap();
    assert_eq!(explained.status.code(), Some(3), "{told}");
    assert!(told.contains("for leave (approval-1): Write file 1"), "{told}");

    let mut talk = console.talk_at_a_terminal(&words[..3].join(" "));
    talk.shows("· input: ask").await;
    talk.shows("answer 1-2> ").await;
    talk.types("2\n").await;
    talk.shows("  reject_once").await;
    talk.shows("> ").await;
    talk.types("\x04").await;
    let (shown, _, code) = talk.leave().await;
    assert_eq!(code, Some(0), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_worker_that_has_ended_is_told_what_was_said_and_how_it_ended() {
    let plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let console = Console::of(&plane);
    let worker = plane.spawn(EMBEDDED, "builtin:coder").await;
    worker.send("hello").await;
    worker.stop(StopMode::Graceful).await;
    worker.state_is(WorkerState::Stopped).await;
    let told = console.types(&format!("chat --worker {}", worker.worker_id)).await;
    assert!(told.contains("· input: hello\n  hello\n· the worker has ended: stopped"), "{told}");
}
