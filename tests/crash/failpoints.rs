//! The process stops between two steps, or stands still there for a second. Whatever was acknowledged is there, a request
//! that is sent again has one effect, nothing that ran is left over, and it serves again.
//!
//! Each point is one of `src/failpoint.rs`; what it does is said in the environment of the real binary.

use std::time::Duration;

use workplane::proto::v1::{SendInputRequest, TranscriptRole, WorkerState};

use crate::jobs::Jobs;
use crate::load::{Load, asked};
use crate::scene::{Scene, Setting};
use crate::server::Server;
use crate::support::{EMBEDDED, Profile, Worker, until, within};

/// How long a point stands still.
const STALL: Duration = Duration::from_secs(1);
/// What the writer's end, or that of a task that keeps memory in step with it, is told as.
const LAST_WORDS: &str = "ending at once, to be restored at the next start";
/// What is said when a point is passed after it has stood still.
const PASSED: &str = "passed-after-the-stall";
/// What the environment says of the points.
const ENVIRONMENT: &str = "FAILPOINTS";

/// A point, and what becomes of a process that panics there.
struct Point {
    name: &'static str,
    /// How often it is passed before it acts: what is done at the start is not meant.
    after: usize,
    panic: Panic,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Panic {
    /// It ends the process: memory is not what the disk is.
    Ends,
    /// The process never serves.
    EndsTheStart,
    /// The one request breaks, of which nothing is known anywhere.
    BreaksOne,
}

const fn point(name: &'static str, after: usize, panic: Panic) -> Point {
    Point { name, after, panic }
}

impl Point {
    /// What the environment says so that it does this, once.
    fn doing(&self, action: &str) -> String {
        let Self { name, after, .. } = self;
        format!("{name}={after}*off->1*{action}")
    }
}

/// Stands still once, and says so when it is passed again.
fn stall() -> String {
    format!("sleep({})->print({PASSED})", STALL.as_millis())
}

impl Scene {
    /// Tells its workers things and asks for others until `done` is; then looks at all that was answered.
    async fn tell_and_ask(&mut self, name: &str, done: impl AsyncFnOnce(&mut Server, &Load)) {
        let load = Load::new();
        let mut jobs = Jobs::new(self.server.client(), name);
        let Self { server, books, chance, .. } = self;
        let done = async {
            done(server, &load).await;
            load.end();
        };
        tokio::join!(done, load.run(books, name, chance), jobs.run(&load, &[EMBEDDED]));
        self.check().await;
        jobs.check().await;
    }

    /// Looks at all, and lays the books of those aside that have ended.
    async fn retire(&mut self) {
        self.check().await;
        for book in std::mem::take(&mut self.books) {
            if !book.has_ended().await {
                self.books.push(book);
            }
        }
    }
}

/// A server that was killed after its workers were told something.
async fn after_a_life(setting: Setting<'_>) -> Scene {
    let mut scene = Scene::new(setting).await;
    let load = Load::new();
    let some = async |_: &mut Server| {
        until("some inputs", || async { (load.acknowledged() >= 50).then_some(()) }).await;
    };
    scene.tell(&load, "before", some).await;
    scene.server.kill().await;
    scene
}

/// Panics at a point under load, and looks at what the next start finds.
async fn panics(point: Point) {
    let mut scene = after_a_life(Setting::default()).await;
    let action = point.doing("panic->off");
    if point.panic == Panic::EndsTheStart {
        let log = scene.server.try_start(&[(ENVIRONMENT, &action)]).await.expect_err("it ends before it serves");
        assert!(log.contains("a task panicked"), "{log}");
        scene.server.start().await;
        scene.nothing_is_left().await;
        scene.check().await;
        return;
    }
    scene.server.start_with(&[(ENVIRONMENT, &action)]).await;
    scene.nothing_is_left().await;
    scene.retire().await;
    scene.man().await;
    let done = async |server: &mut Server, load: &Load| {
        if point.panic == Panic::Ends {
            server.ended(LAST_WORDS).await;
        } else {
            server.says("a task panicked").await;
            // All others go on, and so does who asked, under the same id.
            let before = load.acknowledged();
            until("more inputs", || async { (load.acknowledged() > before + 20).then_some(()) }).await;
            server.serving().await;
            server.kill().await;
        }
        server.start().await;
    };
    scene.tell_and_ask("armed", done).await;
    scene.nothing_is_left().await;
}

/// Stands still at a point under load: it takes longer, and nothing else.
async fn stalls(point: Point) {
    let mut scene = after_a_life(Setting::default()).await;
    let took = scene.server.start_with(&[(ENVIRONMENT, &point.doing(&stall()))]).await;
    let is_over = point.panic == Panic::EndsTheStart;
    assert!(!is_over || took >= STALL, "{took:?}");
    scene.retire().await;
    scene.man().await;
    let done = async |server: &mut Server, _: &Load| {
        if !is_over {
            server.says(PASSED).await;
        }
    };
    scene.tell_and_ask("armed", done).await;
    scene.server.kill().await;
    scene.server.start().await;
    scene.nothing_is_left().await;
    scene.check().await;
}

/// Two tests for each point.
macro_rules! points {
    ($($test:ident: $name:literal, $after:literal, $panic:ident;)*) => {
        mod a_panic {
            use super::{Panic, panics, point};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    panics(point($name, $after, Panic::$panic)).await;
                }
            )*
        }
        mod a_stall {
            use super::{Panic, point, stalls};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    stalls(point($name, $after, Panic::$panic)).await;
                }
            )*
        }
    };
}

points! {
    before_the_write: "log-before-write", 100, Ends;
    after_the_write: "log-after-write", 100, Ends;
    after_the_sync: "log-after-sync", 100, Ends;
    before_it_is_published: "worker-before-publish", 100, Ends;
    before_it_is_answered: "worker-before-answer", 100, Ends;
    before_the_program_is_executed: "spawn-before-exec", 3, BreaksOne;
    before_the_program_is_recorded: "spawn-before-record", 6, BreaksOne;
    before_the_spawn_is_answered: "spawn-before-answer", 6, Ends;
    before_the_program_is_told_to_stop: "stop-before-order", 2, Ends;
    before_the_bundle_is_answered: "bundle-before-answer", 2, Ends;
    half_way_through_a_restore: "restore-half-way", 2, EndsTheStart;
}

/// Says more than retention keeps, and ends.
const LONG: (&str, u64) = ("builtin:long", 8_000);

/// What retention does beside is shown on a worker of which it cuts most; the others are far below its limit.
async fn retention(point: &str, panics: bool) {
    let (profile, items) = LONG;
    let says_much = (profile.to_owned(), Profile::text(["seq", "-f", "%0200g", &items.to_string()]));
    let text = "[retention]\nmax_worker_bytes = \"1MiB\"\n";
    let mut scene = after_a_life(Setting { profiles: vec![says_much], text, data: None }).await;
    let action = if panics { "panic->off".to_owned() } else { stall() };
    scene.server.start_with(&[(ENVIRONMENT, &format!("{point}=1*{action}"))]).await;
    let worker = Worker::spawn(scene.server.client(), EMBEDDED, profile).await;
    assert_eq!(worker.follow().await.len() as u64, items);
    if panics {
        scene.server.ended(LAST_WORDS).await;
        scene.server.start().await;
    }
    let is_cut = |worker: Worker| async move { worker.try_get().await.ok().filter(|worker| worker.first_sequence > 1) };
    let cut = until("its front to be cut", || is_cut(worker.clone())).await;
    if !panics {
        // The next one is cut without delay.
        Worker::spawn(scene.server.client(), EMBEDDED, profile).await;
        scene.server.says(PASSED).await;
    }
    scene.server.kill().await;
    scene.server.start().await;
    // What was cut stays so, and all that was kept is there.
    let now = worker.get().await;
    assert!(now.first_sequence >= cut.first_sequence);
    assert_eq!(now.last_event_id, cut.last_event_id);
    let page = within("a page", worker.page(items - 1, 1)).await.unwrap();
    assert_eq!((page.total_items, page.items.len()), (items, 1));
    scene.nothing_is_left().await;
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_breaks_before_it_cuts() {
    retention("retention-before-cut", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_breaks_before_it_tells_what_it_cut() {
    retention("retention-after-cut", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_stands_still_before_it_cuts() {
    retention("retention-before-cut", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_stands_still_before_it_tells_what_it_cut() {
    retention("retention-after-cut", false).await;
}

/// Says which run it is and then what it is told; fails when it is told to.
const AGAIN: (&str, &str) = (
    "builtin:again",
    "echo run ${WORKPLANE_WORKER##*/}; while read -r line; do [ \"$line\" = die ] && exit 1; echo \"$line\"; done",
);

/// Tells a worker something until somebody answers.
async fn tell(worker: &Worker, content: &str, request_id: &str) {
    let request = SendInputRequest { request_id: request_id.to_owned(), ..worker.input(content) };
    asked("an input", || worker.try_send(request.clone())).await;
}

/// Waits until a worker is in this run, and has said this.
async fn goes_on(worker: &Worker, run_generation: u64, last: &str) -> Vec<String> {
    until(&format!("run {run_generation} to say {last}"), || async {
        let now = worker.try_get().await.ok()?;
        let items = worker.try_transcript(256).await.ok()?;
        let said = items.into_iter().filter(|item| item.role() == TranscriptRole::Assistant);
        let said: Vec<_> = said.map(|item| item.content).collect();
        let is_there = now.state() == WorkerState::Running && now.run_generation == run_generation;
        (is_there && said.last().is_some_and(|it| it == last)).then_some(said)
    })
    .await
}

/// What starts a program anew is shown on a worker whose program fails: no two runs bear the same generation, none is left
/// over, and what it was told meanwhile goes to the next, once.
async fn another_run(point: &str, panics: bool) {
    let (profile, script) = AGAIN;
    let profiles = vec![(profile.to_owned(), Profile::script(script).restarting())];
    let mut scene = after_a_life(Setting { profiles, ..Setting::default() }).await;
    let action = if panics { "panic->off".to_owned() } else { stall() };
    scene.server.start_with(&[(ENVIRONMENT, &format!("{point}=1*{action}"))]).await;
    let worker = Worker::spawn(scene.server.client(), EMBEDDED, profile).await;
    tell(&worker, "die", "first").await;
    let ends = async {
        if panics {
            scene.server.ended(LAST_WORDS).await;
            scene.server.start().await;
        }
    };
    let told_meanwhile = async {
        let next = || async { worker.try_get().await.ok().filter(|now| now.run_generation > 1) };
        until("another run to be reserved", next).await;
        tell(&worker, "kept", "kept").await;
    };
    tokio::join!(ends, told_meanwhile);
    if panics {
        // The run that was reserved may have been executed, and is none that anybody heard of.
        assert_eq!(goes_on(&worker, 3, "kept").await, ["run 1", "run 3", "kept"]);
    } else {
        assert_eq!(goes_on(&worker, 2, "kept").await, ["run 1", "run 2", "kept"]);
        tell(&worker, "die", "second").await;
        assert_eq!(goes_on(&worker, 3, "run 3").await, ["run 1", "run 2", "kept", "run 3"]);
        scene.server.says(PASSED).await;
    }
    until("its programs before to be gone", || async { (scene.programs() == 1).then_some(()) }).await;
    scene.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_breaks_before_it_is_executed() {
    another_run("restart-before-exec", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_breaks_before_it_is_recorded() {
    another_run("restart-before-record", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_stands_still_before_it_is_executed() {
    another_run("restart-before-exec", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_stands_still_before_it_is_recorded() {
    another_run("restart-before-record", false).await;
}
