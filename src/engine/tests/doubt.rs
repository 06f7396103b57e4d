//! Commits that fail and may be found by a restart: nobody is told that nothing was done, and what is asked again is done
//! once, whatever becomes of them.

use std::path::Path;
use std::result::Result;

use tokio::runtime::Handle;

use super::bundles::bundle;
use super::*;
use crate::engine::store::disk::simulated::{Chances, Fault, SimulatedDisk};
use crate::engine::store::{FsStore, TableRecords};
use crate::model::{ConfigBundle, DeleteWorker, Error, ErrorClass, Reason, WorkerFilter};

/// What is asked.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Spawn,
    Send,
    Sync,
    RemoveBundle,
    Stop,
    Cancel,
    Delete,
    DeleteByForce,
}

const ASKS: [Ask; 8] =
    [Ask::Spawn, Ask::Send, Ask::Sync, Ask::RemoveBundle, Ask::Stop, Ask::Cancel, Ask::Delete, Ask::DeleteByForce];

/// What becomes of a commit that is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Something lands behind it.
    Void,
    /// A restart finds it.
    Found,
    /// A restart does not find it.
    Lost,
}

/// What leaves commits in doubt.
#[derive(Clone)]
enum Failing {
    Memory(Arc<UnsteadyStore>),
    Disk(SimulatedDisk, Arc<TableRecords>),
}

impl Failing {
    fn memory() -> Self {
        let steady = Unsteadiness { seed: 1, delay: Duration::ZERO, failure: 0.0 };
        Self::Memory(UnsteadyStore::new(steady, &Handle::current()))
    }

    fn disk() -> Self {
        Self::Disk(SimulatedDisk::new(1), Arc::default())
    }

    fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(store) => store.clone(),
            Self::Disk(disk, records) => {
                let disk = Arc::new(disk.clone());
                Arc::new(FsStore::open(disk, Path::new("/log"), Arc::clone(records) as _, Handle::current()).unwrap())
            }
        }
    }

    /// From now on commits fail, and the first of them has this fate.
    fn fail(&self, fate: Fate) {
        match self {
            Self::Memory(store) => {
                store.leave_in_doubt(true);
                store.fail(1.0);
            }
            Self::Disk(disk, _) => {
                disk.set_chances(Chances { sync: 1.0, ..Chances::default() });
                // Otherwise it is cut off.
                (fate == Fate::Found).then(|| disk.fail_next(Fault::Truncate));
            }
        }
    }

    fn recover(&self) {
        match self {
            Self::Memory(store) => store.fail(0.0),
            Self::Disk(disk, _) => disk.set_chances(Chances::default()),
        }
    }

    /// How many commits have failed; a disk does not say.
    fn refused(&self) -> u64 {
        if let Self::Memory(store) = self { store.refused() } else { 0 }
    }

    /// What the next process has.
    fn restart(&self, fate: Fate) -> (Self, Arc<dyn Store>) {
        match self {
            Self::Memory(store) => {
                if fate == Fate::Found {
                    store.find_doubted();
                }
                (self.clone(), Arc::clone(store.memory()) as _)
            }
            Self::Disk(disk, records) => {
                let next = Self::Disk(disk.restart(), Arc::clone(records));
                self.recover();
                let store = next.store();
                (next, store)
            }
        }
    }
}

/// A runtime with something to ask of it.
struct Scene {
    stage: Stage,
    failing: Failing,
    live: WorkerId,
    ended: WorkerId,
}

impl Scene {
    async fn new(failing: Failing) -> Self {
        let stage = Stage::open(parts(failing.store(), [("it", Profile::catalog())])).await;
        stage.engine.sync_bundle(&context(None, 0), old()).await.unwrap();
        let (live, ended) = (stage.spawn().await, stage.spawn().await);
        stage.stop(&ended, TerminalIntent::Stop, StopMode::Graceful).await;
        Self { stage, failing, live: live.worker_id, ended: ended.worker_id }
    }

    /// Asks, and tells the answer without what differs from scene to scene.
    async fn ask(&self, ask: Ask, fingerprint: u8) -> Result<String, Error> {
        let (engine, ctx) = (&self.stage.engine, context(Some("asked"), fingerprint));
        let end = |intent| StopWorker {
            worker_id: self.live.clone(),
            intent,
            reason: String::new(),
            mode: StopMode::Graceful,
        };
        let delete = |worker_id: &WorkerId, force| DeleteWorker { worker_id: worker_id.clone(), force };
        Ok(match ask {
            Ask::Spawn => {
                let create = CreateWorker { initial_input: Some(user("first")), ..request(builtin("it")) };
                let created = engine.create_worker(&ctx, create).await?;
                format!("{:?}", created.segments)
            }
            Ask::Send => format!("{:?}", engine.send_input(&ctx, input_for(&self.live, "hello")).await?),
            Ask::Sync => engine.sync_bundle(&ctx, new()).await?.reference().digest.to_string(),
            Ask::RemoveBundle => format!("{:?}", engine.remove_bundle(&ctx, old().reference()).await?),
            Ask::Stop => format!("{:?}", engine.stop_worker(&ctx, end(TerminalIntent::Stop)).await?),
            Ask::Cancel => format!("{:?}", engine.stop_worker(&ctx, end(TerminalIntent::Cancel)).await?),
            Ask::Delete => format!("{:?}", engine.delete_worker(&ctx, delete(&self.ended, false)).await?),
            Ask::DeleteByForce => format!("{:?}", engine.delete_worker(&ctx, delete(&self.live, true)).await?),
        })
    }

    /// What a failing store leaves in doubt of what is asked; all the while nobody learns what became of it, and nothing
    /// is done anew.
    async fn ask_in_doubt(&self, ask: Ask, fate: Fate) {
        let before = self.seen().await;
        self.failing.fail(fate);
        let first = self.ask(ask, 1).await.unwrap_err();
        let refused = self.failing.refused();
        let (again, other) = (self.ask(ask, 1).await.unwrap_err(), self.ask(ask, 2).await.unwrap_err());
        for error in [first, again] {
            assert_eq!(error.reason().class(), ErrorClass::Unknown, "{ask:?}: {error}");
            assert!(error.retry_delay().is_some(), "{ask:?}: {error}");
        }
        assert_eq!(other.reason(), Reason::RequestIdReused, "{ask:?}");
        assert_eq!(self.failing.refused(), refused, "{ask:?}: it was done anew");
        assert_eq!(self.seen().await, before, "{ask:?}: what has not landed is seen");
    }

    /// The store takes what comes, and what was in doubt has this fate.
    async fn meet(self, fate: Fate) -> Self {
        if fate == Fate::Void {
            self.failing.recover();
            let other = bundle("9", &[builtin("it")]);
            self.stage.engine.sync_bundle(&context(None, 0), other).await.unwrap();
            return self;
        }
        let (failing, store) = self.failing.restart(fate);
        failing.recover();
        Self { stage: Stage::open(EngineParts { store, ..self.stage.parts }).await, failing, ..self }
    }

    /// All that the runtime shows, without what differs from scene to scene.
    async fn seen(&self) -> (Vec<String>, Vec<String>) {
        let engine = &self.stage.engine;
        let mut workers = Vec::new();
        for worker in engine.list_workers(&WorkerFilter::default(), None, usize::MAX).workers {
            let end = worker.termination.as_ref().map(|end| (end.reason, end.message.clone()));
            let items = self.stage.transcript(&worker).await;
            workers.push(format!("{:?} {end:?} {} {items:?}", worker.state, worker.last_event_id));
        }
        workers.sort();
        let bundles = engine.list_bundles(None, usize::MAX).bundles;
        (workers, bundles.iter().map(|bundle| format!("{:?}", bundle.reference())).collect())
    }
}

fn old() -> ConfigBundle {
    bundle("1", &[builtin("it")])
}

fn new() -> ConfigBundle {
    bundle("2", &[builtin("it")])
}

/// What the answer is and what is seen then, where nothing failed. By force a deletion takes two commits: where the first
/// was found, the second is done.
async fn undoubted(failing: Failing, ask: Ask, fate: Fate) -> (Result<String, Reason>, (Vec<String>, Vec<String>)) {
    let scene = Scene::new(failing).await;
    let first = if fate == Fate::Found { Some(scene.ask(ask, 1).await) } else { None };
    let scene = scene.meet(fate).await;
    let answer = match first {
        Some(answer) => answer,
        None => scene.ask(ask, 1).await,
    };
    (answer.map_err(|error| error.reason()), scene.seen().await)
}

async fn what_is_asked_again_is_done_once(failing: fn() -> Failing) {
    for fate in [Fate::Void, Fate::Found, Fate::Lost] {
        for ask in ASKS {
            let expected = undoubted(failing(), ask, fate).await;
            let scene = Scene::new(failing()).await;
            within(scene.ask_in_doubt(ask, fate)).await;
            let scene = scene.meet(fate).await;
            for _ in 0..2 {
                let answer = within(scene.ask(ask, 1)).await.map_err(|error| error.reason());
                assert_eq!((answer, scene.seen().await), expected, "{ask:?}, {fate:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_again_after_a_doubt_is_done_once_and_what_was_found_is_not_done_again() {
    // acceptance 132
    what_is_asked_again_is_done_once(Failing::memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_disk_left_in_doubt_is_done_once_and_what_was_found_is_not_done_again() {
    // acceptance 132
    what_is_asked_again_is_done_once(Failing::disk).await;
}

/// What a program said, as it stands in a transcript: numbers from 1 on, each once.
async fn counted(stage: &Stage, worker: &Worker) -> usize {
    let items = stage.transcript(worker).await;
    let expected: Vec<_> = (1..=items.len()).map(|n| format!("Assistant:{n}:{n}")).collect();
    assert_eq!(items, expected);
    items.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_program_said_in_doubt_is_there_once() {
    let counts = "n=0; while :; do n=$((n + 1)); echo $n; sleep 0.002; done";
    for fate in [Fate::Void, Fate::Found, Fate::Lost] {
        let steady = Unsteadiness { seed: 1, delay: Duration::ZERO, failure: 0.0 };
        let store = UnsteadyStore::new(steady, &tokio::runtime::Handle::current());
        let parts = parts(store.clone(), [("it", sh(counts))]);
        let (apart, first) = engine_apart(&parts);
        let stage = Stage::open(first).await;
        let worker = stage.spawn().await;
        let items = async |least: u64| {
            let mut stream = stage.observe(&worker, ObserveFrom::Beginning);
            while stage.engine.get_worker(&worker.worker_id).unwrap().said_items < least {
                next_frame(&mut stream).await.unwrap();
            }
        };
        within(items(3)).await;
        store.leave_in_doubt(true);
        store.fail(1.0);
        while store.refused() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = counted(&stage, &worker).await;
        if fate == Fate::Void {
            store.fail(0.0);
            within(items(before as u64 + 10)).await;
            stage.stop(&worker, TerminalIntent::Stop, StopMode::Force).await;
            counted(&stage, &worker).await;
            within(to_the_end(stage.observe(&worker, ObserveFrom::Beginning), 0)).await;
        }
        drop(stage);
        gone(apart).await;
        if fate == Fate::Void {
            continue;
        }
        if fate == Fate::Found {
            store.find_doubted();
        }
        let again = Stage::open(EngineParts { store: Arc::clone(store.memory()) as _, ..parts }).await;
        let after = counted(&again, &worker).await;
        assert_eq!(after > before, fate == Fate::Found, "{before} before, {after} after");
        within(to_the_end(again.observe(&worker, ObserveFrom::Beginning), 0)).await;
    }
}
