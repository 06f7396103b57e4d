//! What a worker's program starts ends with it, and a program that fails is started anew.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tonic::Code;
use workplane::proto::v1::{OperationState, StopMode, TerminationReason, WorkerState};

use crate::support::{Client, EMBEDDED, Host, Plane, Profile, Running, Worker, refusal, until};

/// Three that stay: one in another session, one that neither reads nor writes, and the program itself. None of them
/// heeds a TERM.
pub(crate) const STAY: &str = "trap : TERM HUP; \
    setsid sh -c 'trap : TERM HUP; echo up $$; while :; do sleep 1000; done' & \
    sh -c 'trap : TERM HUP; echo up $$; exec >/dev/null </dev/null; while :; do sleep 1000; done' & \
    echo up $$; while :; do sleep 1000; done";

/// The process ids that `STAY` says.
pub(crate) async fn ids(worker: &Worker) -> Vec<u32> {
    let mut stream = worker.observe().await;
    let mut ids = Vec::new();
    while ids.len() < 3 {
        let frame = stream.first("a process id", |frame| frame.item().is_some()).await;
        ids.push(frame.item().unwrap().content.strip_prefix("up ").unwrap().parse().unwrap());
    }
    ids
}

/// Those that run: that are there, and no zombies.
pub(crate) fn alive(ids: &[u32]) -> Vec<u32> {
    let runs = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"));
        stat.is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
    };
    ids.iter().copied().filter(runs).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_room_for_a_program_is_a_condition_and_not_the_profiles_fault() {
    let mut plane = Plane::new().profile("builtin:coder", Profile::text(["cat"])).start().await;
    let client = plane.client();
    let spawn = async || client.workers().spawn_worker(Worker::request(EMBEDDED, "builtin:coder")).await;
    assert_eq!(spawn().await.unwrap().into_inner().state(), OperationState::Accepted);
    // What is open stays open; nothing more can be opened.
    plane.process().limit_files(3);
    let refused = spawn().await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::ResourceExhausted, "OVERLOADED"));
    plane.process().limit_files(512);
    assert_eq!(spawn().await.unwrap().into_inner().state(), OperationState::Accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_end_leaves_nothing_that_the_program_started() {
    let host = Host::named("one").profile("builtin:coder", Profile::script(STAY)).start().await;
    let plane = Plane::new().profile("builtin:coder", Profile::script(STAY)).host(&host).start().await;
    for runtime_id in [EMBEDDED, "one"] {
        let worker = plane.spawn(runtime_id, "builtin:coder").await;
        let ids = ids(&worker).await;
        assert_eq!(alive(&ids), ids);
        assert_eq!(worker.stop(StopMode::Force).await.state(), OperationState::Accepted);
        assert_eq!(alive(&ids).len(), 0, "of {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_nothing_either() {
    let mut host = Host::named("one").profile("builtin:coder", Profile::script(STAY)).start().await;
    let plane = Plane::new().host(&host).start().await;
    let worker = plane.spawn("one", "builtin:coder").await;
    let ids = ids(&worker).await;
    let process = host.process();
    process.signal(Signal::TERM);
    until("the first signal to be heeded", || {
        let log = process.log();
        async move { log.contains("draining").then_some(()) }
    })
    .await;
    // What comes at once is the same signal, of somebody who signals a whole group.
    process.signal(Signal::TERM);
    tokio::time::sleep(Duration::from_secs(1)).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code(), Some(1));
    // They were killed before it ended, and nobody waited for it.
    until("the programs to be gone", || async { alive(&ids).is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_fails_is_started_anew_and_goes_on_in_the_same_stream() {
    let script = "echo run ${WORKPLANE_WORKER##*/}; read line; echo heard $line; [ $line != die ]";
    let profile = || Profile::script(script).restarting();
    let host = Host::named("one").profile("builtin:coder", profile()).start().await;
    let plane = Plane::new().profile("builtin:coder", profile()).host(&host).start().await;
    for runtime_id in [EMBEDDED, "one"] {
        let worker = plane.spawn(runtime_id, "builtin:coder").await;
        let mut stream = worker.observe().await;
        stream.first("the first run", |frame| frame.item().is_some_and(|item| item.content == "run 1")).await;
        worker.send("die").await;
        stream.first("the second run", |frame| frame.item().is_some_and(|item| item.content == "run 2")).await;
        let now = worker.get().await;
        assert_eq!((now.state(), now.run_generation), (WorkerState::Running, 2));
        assert!(now.diagnostics.iter().any(|diagnostic| diagnostic.code == "worker_run_failed"), "{now:?}");
        // Who joins the stream now sees the same.
        let first = worker.observe_now().await.frame().await;
        let workplane::proto::v1::observation_frame::Payload::Snapshot(snapshot) = first.payload() else {
            panic!("a snapshot comes first: {first:?}");
        };
        assert_eq!(snapshot.worker.as_ref().unwrap().run_generation, 2);
        worker.send("live").await;
        let frames = worker.observe().await.rest().await;
        let sequences: Vec<_> = frames.iter().filter(|frame| frame.is_durable()).map(|frame| frame.sequence).collect();
        assert!(sequences.iter().copied().eq(1..=sequences.len() as u64), "{sequences:?}");
        let said: Vec<_> = frames.iter().filter_map(|frame| frame.item()).map(|item| item.content.as_str()).collect();
        assert_eq!(said, ["run 1", "die", "heard die", "run 2", "live", "heard live"]);
        let end = frames.last().unwrap().termination().expect("it has ended").clone();
        assert_eq!((end.reason(), end.exit_code, end.run_generation), (TerminationReason::Exited, Some(0), 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_program_dumps_core() {
    let plane = Plane::new().profile("builtin:coder", Profile::script("ulimit -c; ulimit -Hc")).start().await;
    let said = plane.spawn(EMBEDDED, "builtin:coder").await.follow().await;
    assert_eq!(said.iter().map(|item| item.content.as_str()).collect::<Vec<_>>(), ["0", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_no_descriptor_of_its_runtime_and_none_that_it_was_started_with() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("serve.toml");
    let profile = "[profiles.'builtin:coder']\nprotocol = 'lines'\ncommand = ['ls', '/proc/self/fd']\ninput = 'text'\n";
    fs::write(&config, format!("drain_pause = '0s'\n{profile}")).unwrap();
    let data_dir = directory.path().join("data");
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()];
    let arguments = [&["serve", "--config", config.to_str().unwrap()], &arguments[..]].concat();
    // It is handed the file under a number that stays open where nobody says otherwise.
    let by = ["sh", "-c", "exec 9<\"$0\"; exec \"$@\"", config.to_str().unwrap()];
    let plane = Running::start_by("a control plane", &by, &arguments).await;
    let worker = Worker::spawn(Client::new(plane.address(), None), EMBEDDED, "builtin:coder").await;
    let said: Vec<_> = worker.follow().await.into_iter().map(|item| item.content).collect();
    // That of the directory itself is the last.
    assert_eq!(said, ["0", "1", "2", "3"]);
}
