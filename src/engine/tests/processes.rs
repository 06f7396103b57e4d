//! Nothing of a worker is left when it has ended, whatever its program started; nor when its runtime was killed.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::*;
use crate::engine::process::{boot, start_time};
use crate::engine::store::{Batch, StoredWorker, WorkerChange};

const NONE: [i32; 0] = [];

/// Says its process id and stays, deaf to TERM.
const STAYS: &str = "trap : TERM HUP; echo up $$; while :; do sleep 1000; done";

/// A script that starts `STAYS` behind `prefix`, and says when it has done so.
fn starts(prefix: &str) -> String {
    format!("{prefix} sh -c '{STAYS}' &")
}

/// The process ids that a worker's programs say, once there are `count`.
async fn ids(stage: &Stage, worker: &Worker, count: usize) -> Vec<i32> {
    let mut stream = stage.observe(worker, ObserveFrom::Beginning);
    let mut ids = Vec::new();
    while ids.len() < count {
        let frame = text(&within(next_frame(&mut stream)).await.unwrap().wire);
        ids.extend(frame.split_once(":up ").map(|(_, id)| id.parse::<i32>().unwrap()));
    }
    ids
}

fn alive(ids: &[i32]) -> Vec<i32> {
    ids.iter().copied().filter(|id| start_time(*id).is_some()).collect()
}

#[tokio::test]
async fn a_forced_end_reaches_what_left_the_group_the_session_and_the_environment() {
    for mode in [StopMode::Force, StopMode::Graceful] {
        let script = format!("{} {} {STAYS}", starts("setsid"), starts("setsid env -i"));
        let stage = Stage::with(sh(&script)).await;
        let worker = stage.spawn().await;
        let ids = ids(&stage, &worker, 3).await;
        assert_eq!(alive(&ids), ids);
        within(stage.stop(&worker, TerminalIntent::Stop, mode)).await;
        assert_eq!(alive(&ids), NONE, "{mode:?}");
    }
}

#[tokio::test]
async fn a_program_that_ends_by_itself_leaves_nothing() {
    // The last of them is known by its group alone.
    let starts = ["setsid", "", "env -i"].map(starts).join(" ");
    let stage = Stage::with(sh(&format!("{starts} read line; exit 0"))).await;
    let worker = stage.spawn().await;
    let ids = ids(&stage, &worker, 3).await;
    stage.send(&worker, "go").await.unwrap();
    within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    assert_eq!(alive(&ids), NONE);
}

#[tokio::test]
async fn what_a_killed_runtime_left_running_is_ended_before_the_next_one_starts() {
    let script = format!("{} {} {STAYS}", starts("setsid"), starts(""));
    let parts = parts(MemoryStore::new(), [("it", sh(&script))]);
    let neighbour = Stage::with(sh(&script)).await;
    let other = neighbour.spawn().await;
    let spared = ids(&neighbour, &other, 3).await;

    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let worker = first.spawn().await;
    let left = ids(&first, &worker, 3).await;
    gone(apart).await;
    // The program itself ends with its supervisor; what it started does not.
    assert!(alive(&left).len() >= 2);

    let again = within(Stage::open(parts)).await;
    assert_eq!(alive(&left), NONE);
    assert_eq!(again.engine.counts().failed, 1);
    assert_eq!(alive(&spared), spared, "another runtime's were ended");
    within(neighbour.stop(&other, TerminalIntent::Stop, StopMode::Force)).await;
}

/// A program that is no worker's, with nothing in its environment.
fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_program_that_was_executed_and_never_recorded_is_ended_at_the_next_start() {
    let parts = parts(MemoryStore::new(), []);
    let marker = format!("{}/{}/1", parts.incarnation, WorkerId::generate());
    let mut program = sleeper().env("WORKPLANE_WORKER", marker).spawn().unwrap();
    let other = format!("{}/{}/1", Incarnation::generate(), WorkerId::generate());
    let mut neighbour = sleeper().env("WORKPLANE_WORKER", other).spawn().unwrap();
    within(Stage::open(parts)).await;
    assert_eq!(within(program.wait()).await.unwrap().signal(), Some(9));
    assert!(neighbour.try_wait().unwrap().is_none(), "another runtime's was ended");
}

/// What a row has of this process.
fn record(child: &Child) -> ProcessRecord {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    ProcessRecord { pid, start_time: start_time(pid).unwrap(), boot: boot() }
}

#[tokio::test]
async fn the_process_of_a_quarantined_worker_is_ended_at_the_next_start() {
    let store = MemoryStore::new();
    let parts = parts(store.clone(), [("it", Profile::catalog())]);
    let worker_id = Stage::open(parts.clone()).await.spawn().await.worker_id;
    let StoredWorker { revision, mut row } = store.worker(&worker_id).await.unwrap().unwrap();
    let mut program = sleeper().spawn().unwrap();
    row.process = Some(record(&program));
    let change = WorkerChange { worker_id: worker_id.clone(), revision, events: Vec::new(), row };
    store.commit(Batch { worker: Some(change), ..Batch::default() }).await.unwrap();
    store.spoil(&worker_id, "x.seg: offset 0: x");
    within(Stage::open(parts)).await;
    assert_eq!(within(program.wait()).await.unwrap().signal(), Some(9));
}

#[tokio::test]
async fn a_recorded_process_is_ended_without_its_marker_unless_its_id_is_another_ones_now() {
    let (mut recorded, mut later) = (sleeper().spawn().unwrap(), sleeper().spawn().unwrap());
    let (ours, mut theirs) = (record(&recorded), record(&later));
    theirs.start_time -= 1;
    Machine::default().clear(Incarnation::generate(), vec![ours, theirs], &CgroupRoot::Off);
    assert_eq!(within(recorded.wait()).await.unwrap().signal(), Some(9));
    assert!(later.try_wait().unwrap().is_none(), "its start time is another");
}

#[tokio::test]
async fn a_copy_of_a_store_does_not_end_what_its_original_goes_on_with() {
    let other = format!("{}/{}/1", Incarnation::generate(), WorkerId::generate());
    let mut originals = sleeper().env("WORKPLANE_WORKER", other).spawn().unwrap();
    Machine::default().clear(Incarnation::generate(), vec![record(&originals)], &CgroupRoot::Off);
    assert!(originals.try_wait().unwrap().is_none(), "another runtime's was ended");
}

#[tokio::test]
async fn a_runtime_that_goes_at_once_kills_what_it_started() {
    let stage = Stage::with(sh(&format!("{} {STAYS}", starts("setsid")))).await;
    let worker = stage.spawn().await;
    let ids = ids(&stage, &worker, 2).await;
    stage.engine.abandon();
    within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    assert_eq!(alive(&ids), NONE);
}

/// A control group that is ours for a test, where this machine lets us have one.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let group = Path::new(mount).join(format!("workplane-test-{}", WorkerId::generate()));
        let made = std::fs::create_dir(&group).map(|()| Self(group));
        made.inspect_err(|error| println!("left out: no control group can be made here: {error}")).ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // For a test that failed: its processes are not to outlive it.
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        for below in std::fs::read_dir(&self.0).unwrap().filter_map(|entry| Some(entry.ok()?.path())) {
            let _ = std::fs::remove_dir(below);
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_control_group_holds_also_what_has_neither_marker_nor_parent() {
    let Some(group) = Group::make() else { return };
    // Started on an input: the program is in its group by then.
    let orphan = format!("setsid env -i sh -c \"{} exit\"", starts("").replace('$', "\\$"));
    let mut parts = parts(MemoryStore::new(), [("it", sh(&format!("read line; {orphan}; {STAYS}")))]);
    parts.limits.cgroup = CgroupRoot::At(group.0.clone());
    let own = group.0.join(format!("workplane-{}", parts.incarnation));
    let (apart, first) = engine_apart(&parts);
    let first = Stage::open(first).await;
    let (stopped, lost) = (first.spawn().await, first.spawn().await);
    let mut started = Vec::new();
    for worker in [&stopped, &lost] {
        first.send(worker, "go").await.unwrap();
        started.push(ids(&first, worker, 2).await);
        assert!(own.join(format!("{}.1", worker.worker_id)).is_dir());
    }
    within(first.stop(&stopped, TerminalIntent::Stop, StopMode::Force)).await;
    assert_eq!(alive(&started[0]), NONE);
    assert!(!own.join(format!("{}.1", stopped.worker_id)).exists(), "its group is left");
    gone(apart).await;
    within(Stage::open(parts)).await;
    assert_eq!(alive(&started[1]), NONE);
    assert!(!own.join(format!("{}.1", lost.worker_id)).exists(), "its group is left");
}

#[tokio::test]
async fn a_program_gets_the_limit_on_descriptors_that_it_would_have_without_us() {
    let mut parts = parts(MemoryStore::new(), [("it", sh("read line; ulimit -n"))]);
    parts.machine = Machine::new(Some(77), rand::random);
    let stage = Stage::open(parts).await;
    let worker = stage.spawn().await;
    stage.send(&worker, "go").await.unwrap();
    within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
    assert_eq!(stage.transcript(&worker).await[1], "Assistant:2:77");
}
