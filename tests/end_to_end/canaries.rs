//! Secrets are told from anything else, and looked for in all that a server lets out, in any writing, whatever it is asked
//! to log and whatever goes wrong.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use rustix::process::Signal;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use workplane::proto::v1;

use crate::support::{Answer, Client, EMBEDDED, Hostile, Running, SECRET, Worker, leave, run, until, write_secret};

/// Everything that is asked for.
const ALL: &str =
    "trace,workplane=trace,h2=trace,hyper=trace,hyper_util=trace,tonic=trace,tower=trace,tokio_util=trace";

/// Of those who call the control plane, of the control plane at its hosts, of nobody, and of one who must not call.
const CLIENT: &str = "cnry/clients+tk~Qm3vX";
const PLANE: &str = "cnry/planes+tk~Zr8wK";
const WRONG: &str = "cnry/wrong+tk~Lx5nB";
const STRANGER: &str = "cnry/stranger+tk~Hd2yP";
/// In the configuration, where only a program is to find it.
const ENVIRONMENT: &str = "cnry/environ+ev~Ts6jG";
const ARGUMENT: &str = "cnry/argument+ag~Vb9cF";
const PROGRAM: &str = "cnry-program-pg-Ne4hR";
const KEY: &str = "cnry/configkey+ky~Wp7aD";
/// What is said to workers and by them.
const INPUT: &str = "cnry/input+in~Ub3kS";
const OUTPUT: &str = "cnry/output+ot~Yf8mC";
const COMPLAINT: &str = "cnry/stderr+er~Jg1qE";
/// In places of requests where nothing of the kind belongs.
const FIELD: &str = "cnry/field fd~Ak5tM";

/// Those that nobody is ever told, and those that only the API says.
const SECRETS: [&str; 9] = [CLIENT, PLANE, WRONG, STRANGER, ENVIRONMENT, ARGUMENT, PROGRAM, KEY, SECRET];
const CONTENT: [&str; 4] = [INPUT, OUTPUT, COMPLAINT, FIELD];

/// All the writings of a secret that are looked for.
fn writings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let percent = |all: bool| -> String {
        let one = |byte: &u8| {
            if !all && byte.is_ascii_alphanumeric() { char::from(*byte).to_string() } else { format!("%{byte:02X}") }
        };
        bytes.iter().map(one).collect()
    };
    let list = |form: &dyn Fn(&u8) -> String| bytes.iter().map(form).collect::<Vec<_>>().join(", ");
    let mut all = vec![
        secret.to_owned(),
        secret.chars().rev().collect(),
        hex.to_uppercase(),
        hex,
        percent(false),
        percent(true),
        list(&u8::to_string),
        list(&|byte| format!("0x{byte:02x}")),
    ];
    for alphabet in [&BASE64_STANDARD, &BASE64_URL_SAFE] {
        // Behind one, two or three other bytes the same bytes are written otherwise; the characters at both ends are not
        // theirs alone.
        for before in 0..3 {
            let whole = alphabet.encode([&vec![0; before][..], bytes].concat());
            all.push(whole[(before * 8).div_ceil(6)..(before + bytes.len()) * 8 / 6].to_owned());
        }
    }
    all
}

/// The writings of these that stand in a text.
fn found(text: &str, secrets: &[&str]) -> Vec<String> {
    let all = secrets.iter().flat_map(|secret| writings(secret).into_iter().map(move |writing| (secret, writing)));
    all.filter(|(_, writing)| text.contains(writing))
        .map(|(secret, writing)| format!("{secret} as {writing}"))
        .collect()
}

#[test]
fn a_secret_is_found_in_any_writing() {
    let long = format!("x{KEY}yz");
    for written in [
        long.clone(),
        BASE64_STANDARD.encode(&long),
        BASE64_URL_SAFE.encode(format!("x{long}")),
        BASE64_STANDARD.encode(format!("xx{long}")),
        format!("{:?}", KEY.as_bytes()),
        format!("{:02x?}", KEY.as_bytes()).replace(", ", ""),
        "%63%6E%72%79%2F%63%6F%6E%66%69%67%6B%65%79%2B%6B%79%7E%57%70%37%61%44".to_owned(),
    ] {
        assert!(!found(&written, &[KEY]).is_empty(), "{written}");
    }
    assert!(found("cnry/configkey+ky~Wp7a", &[KEY]).is_empty());
}

/// What was let out: answers to clients, and what refused calls said.
#[derive(Default)]
struct Heard {
    answers: Vec<String>,
    refusals: Vec<String>,
}

impl Heard {
    fn answer(&mut self, answer: &impl std::fmt::Debug) {
        self.answers.push(format!("{answer:?}"));
    }

    fn refusal(&mut self, status: &Status) {
        // Its details as they are, and as text.
        self.refusals.push(format!("{status:?} {:?}", String::from_utf8_lossy(status.details())));
    }
}

const PROFILES: &str = r#"
[profiles."builtin:coder"]
protocol = "lines"
command = ["sh", "-c", "while read -r line; do echo \"$SAYS\"; done", "ARGUMENT"]
input = "text"
env = { SAYS = "OUTPUT", KEPT = "ENVIRONMENT" }

[profiles."builtin:reviewer"]
protocol = "lines"
command = ["/nowhere/PROGRAM", "ARGUMENT"]

[profiles."builtin:tester"]
protocol = "lines"
command = ["sh", "-c", "echo 'COMPLAINT' >&2; exit 3"]
"#;

fn profiles() -> String {
    let named = [("ARGUMENT", ARGUMENT), ("OUTPUT", OUTPUT), ("ENVIRONMENT", ENVIRONMENT), ("PROGRAM", PROGRAM)];
    let named = named.into_iter().chain([("COMPLAINT", COMPLAINT)]);
    named.fold(PROFILES.to_owned(), |text, (name, value)| text.replace(name, value))
}

fn remote(id: &str, address: std::net::SocketAddr, token_file: &Path) -> String {
    format!(
        "[[remote_runtimes]]\nruntime_id = {id:?}\nendpoint = \"http://{address}\"\ntoken_file = \"{}\"\n\n",
        token_file.display()
    )
}

/// Both roles with all that they can be told to keep for themselves, and everything that is logged.
struct Bed {
    directory: tempfile::TempDir,
    plane: Running,
    host: Running,
    hostile: Hostile,
}

impl Bed {
    async fn start(format: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        let clients = write_secret(dir, "clients", &format!("tests {CLIENT}\n"));
        let planes = write_secret(dir, "planes", &format!("plane {PLANE}\n"));
        let wrong = write_secret(dir, "wrong", &format!("{WRONG}\n"));
        let common = |tokens: &Path| {
            format!("drain_pause = \"0s\"\ntoken_file = \"{}\"\nlog_format = {format:?}\n", tokens.display())
        };
        let config = dir.join("runtime.toml");
        fs::write(&config, common(&planes) + &profiles()).unwrap();
        let host = start("runtime", &config, &["--runtime-id", "one"]).await;
        let hostile = Hostile::named("three").await;
        let remotes = [remote("one", host.address(), &planes), remote("two", host.address(), &wrong)];
        let remotes = remotes.concat() + &remote("three", hostile.address(), &planes);
        let config = dir.join("serve.toml");
        fs::write(&config, common(&clients) + &remotes + &profiles()).unwrap();
        let plane = start("serve", &config, &[]).await;
        Self { directory, plane, host, hostile }
    }

    fn client(&self) -> Client {
        Client::new(self.plane.address(), Some(CLIENT))
    }

    /// A worker that says something, one that cannot be started and one that fails.
    async fn workers(&self, runtime_id: &str, heard: &mut Heard) {
        let worker = Worker::spawn(self.client(), runtime_id, "builtin:coder").await;
        worker.send(INPUT).await;
        worker
            .observe()
            .await
            .first("what it says", |frame| frame.item().is_some_and(|item| item.content == OUTPUT))
            .await;
        heard.answer(&worker.get().await);
        worker.stop(v1::StopMode::Force).await;
        heard.answer(&worker.try_send(worker.input(INPUT)).await.unwrap());
        let absent = Worker::request(runtime_id, "builtin:reviewer");
        heard.answer(&self.client().workers().spawn_worker(absent).await.unwrap().into_inner());
        let failing = Worker::request(runtime_id, "builtin:tester");
        let failing = self.client().workers().spawn_worker(failing).await.unwrap().into_inner();
        Worker::of(self.client(), &failing.worker.unwrap()).state_is(v1::WorkerState::Failed).await;
    }

    /// What is refused for what it says, or because of who says it.
    async fn refused(&self, heard: &mut Heard) {
        let client = self.client();
        let ids = [(FIELD, "w"), ("one", FIELD), (FIELD, FIELD)];
        for (runtime_id, worker_id) in ids.map(|(runtime, worker)| (runtime.to_owned(), worker.to_owned())) {
            let request = v1::GetWorkerRequest { runtime_id, worker_id };
            heard.refusal(&client.workers().get_worker(request).await.unwrap_err());
        }
        let odd = v1::SpawnWorkerRequest {
            labels: [(FIELD.to_owned(), FIELD.to_owned())].into(),
            ..Worker::request(EMBEDDED, "builtin:coder")
        };
        heard.refusal(&client.workers().spawn_worker(odd).await.unwrap_err());
        let odd = v1::ObserveWorkerRequest {
            runtime_id: "one".to_owned(),
            worker_id: "w".to_owned(),
            cursor: Some(FIELD.to_owned()),
            ..Default::default()
        };
        heard.refusal(&client.observations().observe_worker(odd).await.unwrap_err());
        let paged = v1::ListRuntimesRequest { page_size: 1, page_token: FIELD.to_owned() };
        heard.refusal(&client.runtimes().list_runtimes(paged).await.unwrap_err());
        let mut marked = Request::new(v1::ListRuntimesRequest { page_size: -1, page_token: String::new() });
        marked.metadata_mut().insert("x-api-key", KEY.parse().unwrap());
        marked.metadata_mut().insert("traceparent", KEY.parse().unwrap());
        heard.refusal(&client.runtimes().list_runtimes(marked).await.unwrap_err());
        for path in [format!("/workplane.v1.RuntimeService/ListRuntimes?token={STRANGER}"), "/x.Y/Z".to_owned()] {
            let mut grpc = Grpc::new(client.transport());
            grpc.ready().await.unwrap();
            let codec = ProstCodec::<(), ()>::default();
            heard.refusal(&grpc.unary(Request::new(()), path.parse().unwrap(), codec).await.unwrap_err());
        }
        for address in [self.plane.address(), self.host.address()] {
            // Libraries print such words at their lower levels.
            leave(address, FIELD).await;
            let stranger = Client::new(address, Some(STRANGER));
            heard.refusal(&stranger.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.unwrap_err());
        }
        // The host refuses the control plane, and another one has words of its own.
        for runtime_id in ["two", "three"].map(str::to_owned) {
            let request = v1::GetWorkerRequest { runtime_id, worker_id: "w".to_owned() };
            heard.refusal(&client.workers().get_worker(request).await.unwrap_err());
        }
    }
}

async fn start(role: &str, config: &Path, more: &[&str]) -> Running {
    let arguments = [&[role, "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()], more].concat();
    let started = Running::try_start(role, &arguments, &[("RUST_LOG", ALL)]).await;
    started.unwrap_or_else(|log| panic!("{role} does not start:\n{log}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_gets_out_in_any_writing_whatever_is_logged_and_whatever_goes_wrong() {
    for format in ["text", "json"] {
        let mut bed = Bed::start(format).await;
        let mut heard = Heard::default();
        for (method, code) in
            [("GetWorker", Code::Internal), ("ListWorkers", Code::Unavailable), ("ObserveWorker", Code::Unknown)]
        {
            bed.hostile.answers(method, Answer::refusal(code, Some("STORE_ERROR")));
        }
        for runtime_id in [EMBEDDED, "one"] {
            bed.workers(runtime_id, &mut heard).await;
        }
        bed.refused(&mut heard).await;
        let client = bed.client();
        heard.answer(&client.runtimes().list_runtimes(v1::ListRuntimesRequest::default()).await.unwrap().into_inner());
        heard.answer(&client.hosts().list_hosts(v1::ListHostsRequest::default()).await.unwrap().into_inner());
        heard.answer(&client.workers().list_workers(v1::ListWorkersRequest::default()).await.unwrap().into_inner());
        // A configuration that is refused while it serves.
        let config = bed.directory.path().join("serve.toml");
        fs::write(&config, format!("password = {KEY:?}\nlisten = {KEY:?}\n")).unwrap();
        bed.plane.signal(Signal::HUP);
        let refused = async || bed.plane.log().contains("the configuration is refused").then_some(());
        until("the configuration to be refused", refused).await;
        for process in [&mut bed.plane, &mut bed.host] {
            process.signal(Signal::TERM);
            assert_eq!(process.ended().await.code(), Some(0));
        }

        let everything = [SECRETS.to_vec(), CONTENT.to_vec()].concat();
        for (name, process) in [("the control plane", &bed.plane), ("the host", &bed.host)] {
            let log = process.log();
            // It is at trace: what our own rooms have to say at that level is there.
            assert!(log.contains("DEBUG"), "{name} logs less than it was asked for");
            assert_eq!(found(&log, &everything), [""; 0], "in the log of {name}, as {format}");
            assert_eq!(process.chatter(), "");
        }
        assert_eq!(found(&heard.refusals.join("\n"), &everything), [""; 0], "in errors");
        assert_eq!(found(&heard.answers.join("\n"), &[&SECRETS[..], &[INPUT, OUTPUT]].concat()), [""; 0], "in answers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_refused_says_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("serve.toml");
    let endpoint = |endpoint: &str| format!("[[remote_runtimes]]\nruntime_id = \"a\"\nendpoint = {endpoint:?}\n");
    for text in [
        endpoint(&format!("http://user:{PROGRAM}@host:1")),
        endpoint(&format!("http://host:1/?key={PROGRAM}")),
        format!("drain_pause = {KEY:?}\n"),
        format!("password = {KEY:?}\n"),
        format!("drain_pause = {KEY}\n"),
        format!("[profiles.\"builtin:coder\"]\nprotocol = {KEY:?}\n"),
        format!(
            "[profiles.\"builtin:coder\"]\nprotocol = \"lines\"\ncommand = [\"x\"]\nenv = {{ \"a=\" = {KEY:?} }}\n"
        ),
    ] {
        fs::write(&config, &text).unwrap();
        let refused = run(&["serve", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()]).await;
        assert_eq!(refused.status.code(), Some(2), "{text}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(found(&said, &[KEY, PROGRAM]), [""; 0], "{said}");
    }
}
