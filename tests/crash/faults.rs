//! Disks that are full, and disks that fail, as the system says it: on small file systems of their own, and by errors
//! that are injected into the process from outside.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::{Code, Status};
use workplane::proto::v1::{DeleteWorkerRequest, StopMode, TranscriptRole, WorkerState};

use crate::fleet::CATALOG;
use crate::load::Load;
use crate::scene::{Scene, Setting};
use crate::server::Server;
use crate::support::{EMBEDDED, Profile, Worker, program_is_here, refusal, until};

/// How long after space has returned inputs are taken again.
const RECOVERY: Duration = Duration::from_secs(5);
/// How large a small file system is.
const SMALL: u64 = 24 << 20;

/// A small file system.
#[derive(Debug)]
struct Small {
    dir: TempDir,
}

impl Small {
    /// In memory, which root may mount everywhere.
    fn tmpfs() -> Option<Self> {
        Self::mount(|dir| run("mount", &["-t", "tmpfs", "-o", &format!("size={SMALL}"), "workplane-crash", dir]))
    }

    /// In a file, as a disk has it.
    fn ext4() -> Option<Self> {
        if !program_is_here("mkfs.ext4") {
            return None;
        }
        Self::mount(|dir| {
            let image = format!("{dir}.img");
            File::create(&image).and_then(|file| file.set_len(SMALL)).unwrap();
            let made = run("mkfs.ext4", &["-q", "-m", "0", &image]);
            // The mount keeps the file.
            let mounted = made.and_then(|()| run("mount", &["-o", "loop", &image, dir]));
            fs::remove_file(image).unwrap();
            mounted
        })
    }

    /// Mounts one on a directory. Where this cannot be done the test is left out and says so, unless it must be done.
    fn mount(mount: impl FnOnce(&str) -> Result<(), String>) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = mount(dir.path().to_str().unwrap());
        let required = std::env::var_os("WORKPLANE_REQUIRE_PROGRAMS").is_some();
        match mounted {
            Ok(()) => Some(Self { dir }),
            Err(why) if required => panic!("WORKPLANE_REQUIRE_PROGRAMS is set, and nothing can be mounted: {why}"),
            Err(why) => {
                println!("left out: nothing can be mounted here: {why}");
                None
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.dir.path().join("ballast")
    }

    /// Takes all room that is left.
    fn fill(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        for size in [1 << 20, 4096, 1] {
            let chunk = vec![b'.'; size];
            let full = loop {
                if let Err(error) = file.write_all(&chunk) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull);
        }
    }

    /// Gives it back.
    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // A server that still has files there keeps it until it ends.
        if let Err(why) = run("umount", &["-l", self.dir.path().to_str().unwrap()]) {
            eprintln!("{why}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", error.trim())) }
}

/// Says a number, and the next one, for as long as it may.
const CHATTER: &str = "builtin:chatter";

fn chatter() -> (String, Profile) {
    let script = "$| = 1; while (1) { print ++$n, qq(\\n); select undef, undef, undef, 0.02 }";
    (CHATTER.to_owned(), Profile::text(["perl", "-e", script]))
}

/// Asks for something small until the store says that it is full.
async fn is_full<T, F: Future<Output = Result<T, Status>>>(ask: impl Fn() -> F) {
    until("STORE_FULL", || async {
        let refusal = refusal(&ask().await.err()?);
        assert_eq!((refusal.code, &*refusal.reason), (Code::ResourceExhausted, "STORE_FULL"));
        Some(())
    })
    .await;
}

/// A page, a get and an observation of all that there is.
async fn is_read(worker: &Worker) {
    let now = worker.get().await;
    assert!(!worker.transcript(256).await.is_empty());
    let last = now.last_event_id;
    worker.observe().await.up_to("the last event", |frame| frame.is_durable() && frame.sequence >= last).await;
}

/// How many items a worker has that its program said.
async fn said(worker: &Worker) -> u64 {
    let items = worker.transcript(256).await;
    let said: Vec<_> = items.iter().filter(|item| item.role() == TranscriptRole::Assistant).collect();
    let lines = said.iter().map(|item| item.content.parse());
    assert!(lines.eq((1..=said.len() as u64).map(Ok)), "{}: what it said is not there as it said it", worker.worker_id);
    said.len() as u64
}

async fn a_full_disk(small: Small) {
    if !program_is_here("perl") {
        return;
    }
    let data = small.data();
    let mut scene = Scene::new(Setting { profiles: vec![chatter()], data: Some(&data), ..Setting::default() }).await;
    let client = scene.server.client();
    let spawn = async |profile: &str| Worker::spawn(client.clone(), EMBEDDED, profile).await;
    let (talks, probe) = (spawn(CHATTER).await, spawn(CATALOG).await);
    let stopped = [(spawn("builtin:coder").await, StopMode::Graceful), (spawn(CHATTER).await, StopMode::Force)];
    let programs = scene.programs();
    let load = Load::new();
    let full = async |server: &mut Server| {
        until("some inputs", || async { (load.acknowledged() >= 50).then_some(()) }).await;
        small.fill();
        is_full(|| probe.try_send(probe.input("x"))).await;
        is_full(|| async { client.workers().spawn_worker(Worker::request(EMBEDDED, CATALOG)).await }).await;
        server.serving().await;
        for worker in [&talks, &probe] {
            is_read(worker).await;
            assert_eq!(worker.get().await.state(), WorkerState::Running);
        }
        for (worker, mode) in &stopped {
            let mut watching = worker.observe().await;
            worker.stop(*mode).await;
            watching.up_to("its end", |frame| frame.termination().is_some()).await;
            assert_eq!(worker.get().await.state(), WorkerState::Stopped);
        }
        // It was full all the while, and what is refused leaves nothing behind.
        is_full(|| probe.try_send(probe.input("x"))).await;
        let refused = client.workers().spawn_worker(Worker::request(EMBEDDED, "builtin:coder")).await;
        assert_eq!(refusal(&refused.expect_err("there is no room for it")).reason, "STORE_FULL");

        let before = load.acknowledged();
        small.free();
        let begun = Instant::now();
        until("an input", || async { (load.acknowledged() > before).then_some(()) }).await;
        let took = begun.elapsed();
        println!("inputs are taken {took:.2?} after space has returned");
        assert!(took <= RECOVERY, "{took:?}");
    };
    scene.tell(&load, "full", full).await;
    // What was said while it was full comes when there is room, and more.
    let heard = said(&talks).await;
    until("more to be said", || async { (said(&talks).await > heard + 50).then_some(()) }).await;
    let rest = programs - stopped.len();
    until("the other programs to be gone", || async { (scene.programs() == rest).then_some(()) }).await;
    scene.check().await;

    scene.server.kill().await;
    scene.server.start().await;
    scene.nothing_is_left().await;
    scene.check().await;
    said(&talks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_all_goes_on_when_there_is_room() {
    let Some(small) = Small::ext4() else { return };
    a_full_disk(small).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_system_in_memory_is_told_and_all_goes_on_when_there_is_room() {
    let Some(small) = Small::tmpfs() else { return };
    a_full_disk(small).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_its_disk_is_full_serves_again() {
    let Some(small) = Small::ext4() else { return };
    let data = small.data();
    let mut scene = Scene::new(Setting { data: Some(&data), ..Setting::default() }).await;
    let probe = Worker::spawn(scene.server.client(), EMBEDDED, CATALOG).await;
    let load = Load::new();
    let full = async |server: &mut Server| {
        until("some inputs", || async { (load.acknowledged() >= 50).then_some(()) }).await;
        small.fill();
        is_full(|| probe.try_send(probe.input("x"))).await;
        server.kill().await;
        server.start().await;
        is_read(&probe).await;
        small.free();
    };
    scene.tell(&load, "full", full).await;
    scene.nothing_is_left().await;
    scene.check().await;
}

/// What is deleted on a full disk gives its room back, to whoever asks next and without a restart.
async fn what_is_deleted_gives_room(small: Small) {
    const WORKERS: usize = 10;
    const KEPT: usize = 0;
    let data = small.data();
    let scene = Scene::new(Setting { data: Some(&data), ..Setting::default() }).await;
    let client = scene.server.client();
    let workers: Vec<_> =
        stream::iter(0..WORKERS).then(|_| Worker::spawn(client.clone(), EMBEDDED, CATALOG)).collect().await;
    let long = "x".repeat(100_000);
    let mut taken = [0; WORKERS];
    let fill = async |workers: &[Worker], taken: &mut [u32]| {
        for nth in (0..workers.len()).cycle() {
            match workers[nth].try_send(workers[nth].input(&long)).await {
                Ok(_) => taken[nth] += 1,
                Err(status) => return assert_eq!(refusal(&status).reason, "STORE_FULL"),
            }
        }
    };
    fill(&workers, &mut taken).await;
    assert!(taken.iter().all(|taken| *taken > 4), "{taken:?}");
    let delete = async |worker: &Worker| {
        let (runtime_id, worker_id) = worker.ids();
        let request = DeleteWorkerRequest { runtime_id, worker_id, force: true, ..Default::default() };
        client.workers().delete_worker(request).await.unwrap();
    };
    for worker in &workers[KEPT + 1..] {
        delete(worker).await;
    }
    let begun = Instant::now();
    let kept = &workers[KEPT];
    until("an input", || async { kept.try_send(kept.input("x")).await.ok() }).await;
    let took = begun.elapsed();
    println!("inputs are taken {took:.2?} after workers were deleted");
    assert!(took <= RECOVERY, "{took:?}");
    // About as much as went.
    let before: u32 = taken[KEPT + 1..].iter().sum();
    let again = Cell::new(0);
    until("the room to be there", || async {
        let mut more = [0];
        fill(std::slice::from_ref(kept), &mut more).await;
        again.set(again.get() + more[0]);
        (again.get() * 10 > before * 8).then_some(())
    })
    .await;
    assert!(kept.page(0, 1).await.unwrap().total_items > again.get().into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_on_a_full_disk_gives_its_room_back() {
    let Some(small) = Small::ext4() else { return };
    what_is_deleted_gives_room(small).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_on_a_full_file_system_in_memory_gives_its_room_back() {
    let Some(small) = Small::tmpfs() else { return };
    what_is_deleted_gives_room(small).await;
}

/// Makes syscalls of a process fail until it is dropped.
#[derive(Debug)]
struct Injection {
    strace: std::process::Child,
    told: PathBuf,
    _dir: TempDir,
}

impl Injection {
    /// Waits until it is in place.
    async fn into(server: &Server, what: &str) -> Self {
        let pid = fs::read_to_string(server.data().join("LOCK")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (told, errors) = (dir.path().join("told"), dir.path().join("errors"));
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=fdatasync,fsync", "-e", &format!("inject={what}"), "-o"]);
        command.arg(&told).arg("-p").arg(pid.trim()).stdin(Stdio::null());
        let strace = command.stderr(File::create(&errors).unwrap()).spawn().unwrap();
        let injection = Self { strace, told, _dir: dir };
        let said = |path: &Path| fs::read_to_string(path).unwrap();
        until("strace to be attached", || async { said(&errors).contains("attached").then_some(()) }).await;
        injection
    }

    /// How often a call was made to fail.
    fn count(&self) -> usize {
        let told = fs::read_to_string(&self.told).unwrap_or_default();
        told.lines().filter(|line| line.ends_with("(INJECTED)")).count()
    }

    /// The process goes on as it would without.
    fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.strace.wait().unwrap();
    }
}

/// Syncs fail under load; what was acknowledged is there, and what failed is there once, by its repeat.
async fn a_failing_sync(what: &str, count: usize) {
    if !program_is_here("strace") {
        return;
    }
    let mut scene = Scene::new(Setting::default()).await;
    let load = Load::on_a_disk_that_fails();
    let fails = async |server: &mut Server| {
        let more = async |load: &Load| {
            let before = load.acknowledged();
            until("more inputs", || async { (load.acknowledged() > before + 50).then_some(()) }).await;
        };
        more(&load).await;
        // A group that fails may hold no input but what programs said: then nobody is told, and the next one has to.
        for _ in 0..20 {
            let injection = Injection::into(server, what).await;
            until("the syncs to fail", || async { (injection.count() >= count).then_some(()) }).await;
            // The next ones land.
            more(&load).await;
            server.serving().await;
            injection.end();
            if load.failed() > 0 {
                break;
            }
        }
        assert!(load.failed() > 0, "nobody was ever told that a sync has failed");
        server.says("the segment is closed").await;
        more(&load).await;
    };
    scene.tell(&load, "failing", fails).await;
    println!("{} inputs were acknowledged, {} refused", load.acknowledged(), load.failed());
    scene.check().await;
    scene.server.kill().await;
    scene.server.start().await;
    scene.nothing_is_left().await;
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_acknowledges_nothing_and_the_next_one_lands() {
    a_failing_sync("fdatasync:error=EIO:when=1", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_that_fail_again_and_again_acknowledge_nothing_that_is_not_there() {
    a_failing_sync("fdatasync,fsync:error=EIO:when=2+3", 12).await;
}
