//! What is in a data directory outlives any end of its process: workers, transcripts, cursors, answers, bundles.

use std::fs;
use std::path::Path;
use std::process::Output;

use rustix::process::{Pid, Signal, kill_process};
use tonic::Code;
use workplane::proto::runtime_v1::GetRuntimeRequest;
use workplane::proto::v1;
use workplane::proto::v1::{OperationState, RuntimeStatus, StopMode, TerminationReason, WorkerState};

use crate::support::bundle::{Asking, bundle, changed};
use crate::support::{
    Client, EMBEDDED, Frame, Host, Plane, Profile, Running, Worker, line_of, refusal, run, until, within,
};

fn cat() -> Profile {
    Profile::text(["cat"])
}

/// A control plane, and where its workers run: in itself, or on a host.
struct Bed {
    plane: Plane,
    host: Option<Host>,
    runtime_id: &'static str,
}

impl Bed {
    async fn embedded() -> Self {
        let plane = Plane::new().durable().profile("builtin:coder", cat()).start().await;
        Self { plane, host: None, runtime_id: EMBEDDED }
    }

    async fn remote() -> Self {
        let host = Host::named("one").durable().profile("builtin:coder", cat()).start().await;
        let plane = Plane::new().durable().host(&host).start().await;
        plane.runtime_is("one", RuntimeStatus::Running).await;
        Self { plane, host: Some(host), runtime_id: "one" }
    }

    /// Kills all of it, the host first or last, and starts it anew.
    async fn crash(&mut self, host_first: bool) {
        if let Some(host) = self.host.as_mut().filter(|_| host_first) {
            host.restart().await;
        }
        self.plane.restart().await;
        if let Some(host) = self.host.as_mut().filter(|_| !host_first) {
            host.restart().await;
        }
        self.plane.runtime_is(self.runtime_id, RuntimeStatus::Running).await;
    }
}

/// Sends an input under an id, as often as it takes.
async fn send(worker: &Worker, id: u32) -> v1::SendInputResponse {
    let request =
        v1::SendInputRequest { request_id: format!("input-{id}"), ..worker.input(&format!("this is input {id}")) };
    until("an input to be taken", async || worker.try_send(request.clone()).await.ok()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_kill_and_cursors_and_answers_hold() {
    // acceptance 128, 129, 131
    for (mut bed, host_first) in
        [(Bed::embedded().await, true), (Bed::remote().await, true), (Bed::remote().await, false)]
    {
        let spawn = v1::SpawnWorkerRequest {
            request_id: "spawn-1".to_owned(),
            ..Worker::request(bed.runtime_id, "builtin:coder")
        };
        let spawned = bed.plane.client().workers().spawn_worker(spawn.clone()).await.unwrap().into_inner();
        let worker = Worker::of(bed.plane.client(), spawned.worker.as_ref().unwrap());
        let mut acks = Vec::new();
        for id in 1..=20 {
            acks.push(send(&worker, id).await);
        }
        let answered = |frame: &Frame| frame.item().is_some_and(|item| item.sequence == 40);
        let seen = worker.observe().await.up_to("the last answer", answered).await;
        let seen: Vec<_> = seen.into_iter().filter(Frame::is_durable).collect();
        let lines: Vec<_> = worker.transcript(7).await.iter().map(line_of).collect();

        bed.crash(host_first).await;
        let worker = worker.through(bed.plane.client());
        let lost = worker.state_is(WorkerState::Failed).await.termination.unwrap();
        assert_eq!(lost.reason(), TerminationReason::RuntimeLost);
        assert_eq!(worker.transcript(256).await.iter().map(line_of).collect::<Vec<_>>(), lines);
        // The first answers again, to all that was asked; nothing is done twice.
        for (id, ack) in (1..=20).zip(&acks) {
            let again = send(&worker, id).await;
            assert_eq!((again.event_id, again.transcript_sequence), (ack.event_id, ack.transcript_sequence));
        }
        let again = bed.plane.client().workers().spawn_worker(spawn.clone()).await.unwrap().into_inner();
        assert_eq!(again.worker.unwrap().worker_id, worker.worker_id);
        // The profile that a coder gets in any case: to a host it is the same, and the control plane remembers better.
        let other = v1::SpawnWorkerRequest { profile: None, ..spawn };
        let refused = bed.plane.client().workers().spawn_worker(other).await.unwrap_err();
        assert_eq!(refusal(&refused).is(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));

        // From any cursor that was handed out, the rest without a gap, as the same bytes as before.
        let whole: Vec<_> = worker.observe().await.rest().await.into_iter().filter(Frame::is_durable).collect();
        assert!(whole[..seen.len()] == seen[..], "what was seen before is told otherwise now");
        assert_eq!(whole.last().unwrap().termination(), Some(&lost));
        for at in [0, 7, seen.len() - 1] {
            let rest = worker.try_resume(&seen[at].cursor).await.unwrap().rest().await;
            let rest: Vec<_> = rest.into_iter().filter(Frame::is_durable).collect();
            assert!(rest == whole[at + 1..], "after {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_and_ended_workers_are_there_after_an_orderly_end_and_after_a_kill() {
    // acceptance 106, 129
    let bed = Bed::embedded().await;
    let mut asking = Asking(bed.plane);
    let first = asking.try_sync(EMBEDDED, bundle(), "sync-1").await.unwrap();
    let reference = first.availability.clone().unwrap().reference.unwrap();
    let worker = asking.0.spawn(EMBEDDED, "builtin:coder").await;
    worker.send("kept").await;
    worker.stop(StopMode::Graceful).await;
    let ended = worker.get().await;
    let removed = asking.synced(EMBEDDED, changed(|it| it.profiles.clear())).await;
    asking.try_remove(EMBEDDED, removed.clone(), "remove-1").await.unwrap();
    for orderly in [true, false] {
        if orderly {
            asking.0.process().signal(Signal::TERM);
            assert!(asking.0.process().ended().await.success());
            asking.0.start_again().await;
        } else {
            asking.0.restart().await;
        }
        assert_eq!(asking.check(EMBEDDED, reference.clone()).await.state(), OperationState::Accepted);
        let again = asking.try_sync(EMBEDDED, bundle(), "sync-1").await.unwrap();
        assert_eq!(again.availability, first.availability);
        assert_eq!(asking.check(EMBEDDED, removed.clone()).await.state(), OperationState::Rejected);
        let again = asking.try_remove(EMBEDDED, removed.clone(), "remove-1").await.unwrap();
        assert_eq!(again.state(), OperationState::Accepted, "{again:?}");
        let worker = worker.through(asking.0.client());
        assert_eq!(worker.get().await, ended);
        assert_eq!(worker.transcript(256).await[0].content, "kept");
        assert!(!asking.0.process().log().contains("WARN"), "{}", asking.0.process().log());
    }
}

/// The id and the incarnation that a host without a configured id answers with.
async fn identity(host: &Running) -> (String, String) {
    let client = Client::new(host.address(), None);
    let told = client.worker_runtime().get_runtime(GetRuntimeRequest {}).await.unwrap().into_inner();
    assert_eq!(told.store_backend, "fs_store");
    (told.runtime_id, told.incarnation)
}

async fn nameless(dir: &Path) -> Running {
    let arguments = ["runtime", "--listen", "127.0.0.1:0", "--data-dir", dir.to_str().unwrap()];
    Running::start("a host without a name", &arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_without_an_id_keeps_the_one_that_was_made_for_it() {
    // acceptance 36
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("data");
    let mut host = nameless(&dir).await;
    let first = identity(&host).await;
    host.kill().await;
    assert_eq!(identity(&nameless(&dir).await).await, first);
    let elsewhere = identity(&nameless(&top.path().join("other")).await).await;
    assert!(elsewhere.0 != first.0 && elsewhere.1 != first.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_for_one_process_one_runtime_and_one_role() {
    let host = Host::named("one").durable().start().await;
    let dir = host.data_dir();
    let refused = async |role: &str, more: &[&str]| {
        let arguments = [&[role, "--listen", "127.0.0.1:0", "--data-dir", dir.to_str().unwrap()], more].concat();
        let Output { status, stdout, stderr } = run(&arguments).await;
        assert!(status.code() == Some(1) && stdout.is_empty(), "it must not serve");
        String::from_utf8(stderr).unwrap()
    };
    let said = refused("runtime", &["--runtime-id", "one"]).await;
    assert!(said.contains("is in use by another process (pid ") && said.contains(dir.to_str().unwrap()), "{said}");
    let _host = host_ended(host).await;
    let said = refused("runtime", &["--runtime-id", "two"]).await;
    assert!(said.contains("belongs to the runtime one, and not to two"), "{said}");
    let said = refused("serve", &[]).await;
    assert!(said.contains("belongs to `workplane runtime`"), "{said}");
}

/// Ends a host in order; its directory stays until the value is dropped.
async fn host_ended(mut host: Host) -> Host {
    host.process().signal(Signal::TERM);
    assert!(host.process().ended().await.success());
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_of_a_directory_have_expired_in_a_copy_of_it_and_nothing_else_has() {
    let top = tempfile::tempdir().unwrap();
    let (old, new) = (top.path().join("old"), top.path().join("new"));
    let arguments = |dir: &Path| {
        let dir = dir.to_str().unwrap().to_owned();
        ["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir].map(str::to_owned)
    };
    let start = async |dir: &Path| {
        let arguments = arguments(dir);
        Running::start("a control plane", &arguments.each_ref().map(String::as_str)).await
    };
    let mut first = start(&old).await;
    let worker = Worker::spawn(Client::new(first.address(), None), EMBEDDED, "builtin:coder").await;
    worker.send("copied").await;
    let cursor = worker.observe().await.frame().await.cursor.clone();
    first.kill().await;
    copy(&old, &new);
    let copied = start(&new).await;
    let worker = worker.through(Client::new(copied.address(), None));
    let refused = worker.try_resume(&cursor).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::OutOfRange, "CURSOR_EXPIRED"));
    assert_eq!(worker.transcript(256).await[0].content, "copied");
    assert!(copied.log().contains("was copied or restored"), "{}", copied.log());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The names of all files below a directory.
fn files(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(files(&entry.path()).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_name_is_a_key_and_never_a_path() {
    // acceptance 127
    let plane = Plane::new().durable().profile("builtin:coder", cat()).start().await;
    let dir = plane.data_dir();
    let fresh = files(&dir);
    let (control, log) = ("control/00000000000000000001.seg", "log/00000000000000000001.seg");
    assert_eq!(fresh, ["LOCK", control, "control/LOCK", "identity", log, "log/LOCK", "witness"]);
    let asking = Asking(plane);
    for n in 0..3 {
        asking.try_sync(EMBEDDED, bundle(), &format!("..{n}")).await.unwrap();
        let request = v1::SpawnWorkerRequest {
            requested_worker_name: Some("../../name".to_owned()),
            request_id: format!("...{n}"),
            ..Worker::request(EMBEDDED, "builtin:coder")
        };
        let spawned = asking.0.client().workers().spawn_worker(request).await.unwrap().into_inner();
        Worker::of(asking.0.client(), &spawned.worker.unwrap()).send("../content").await;
    }
    assert_eq!(files(&dir), fresh, "nothing that was asked for has a file of its own");
}

/// More than a machine reads in the time that a test has.
const ENDLESS: u64 = 4 << 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_term_is_heard_while_what_is_stored_is_still_read() {
    for role in ["serve", "runtime"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let start = || async {
            let mut server = Running::start(role, &[role, "--listen", "127.0.0.1:0", "--data-dir", &path]).await;
            server.signal(Signal::TERM);
            assert!(server.ended().await.success());
        };
        start().await;
        // Room without an end, all of which is looked through, and none of which is on the disk.
        let endless = fs::File::options().write(true).open(dir.path().join("log/00000000000000000001.seg")).unwrap();
        let length = endless.metadata().unwrap().len();
        endless.set_len(ENDLESS).unwrap();
        let holder = || fs::read_to_string(dir.path().join("LOCK")).unwrap();
        let (before, path) = (holder(), path.clone());
        let opening = tokio::spawn(async move { run(&[role, "--listen", "127.0.0.1:0", "--data-dir", &path]).await });
        let pid = until("the directory to be held", || async {
            Some(holder()).filter(|holder| *holder != before)?.trim().parse().ok()
        });
        kill_process(Pid::from_raw(pid.await).unwrap(), Signal::TERM).unwrap();
        let output = within("the process to end", opening).await.unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        endless.set_len(length).unwrap();
        start().await;
    }
}
