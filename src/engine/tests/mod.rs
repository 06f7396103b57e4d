//! Whole-life stories of workers: on the memory store, on the store on disk, and on one that lands late and fails.

mod agents;
mod approvals;
mod at_once;
mod bundles;
mod contract;
mod delete;
mod doubt;
mod full;
mod life;
mod memory;
mod on_disk;
mod processes;
mod quarantine;
mod repeats;
mod restarts;
mod retention;
mod seed;
mod stream;
mod troubled;
mod under_failure;

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::store::{MemoryStore, Store, Unsteadiness, UnsteadyStore};
use super::*;
use crate::model::{
    Acceptance, CallContext, Caller, CreateWorker, Event, EventKind, Fingerprint, Incarnation, InputDelivery,
    InputKind, Labels, ProfileSelector, RequestId, Result, RuntimeId, SendInput, StopAck, StopMode, StopWorker,
    TerminalIntent, TraceContext, Worker, WorkerId, WorkerInput, WorkerIntent, WorkspaceId,
};

/// A codec whose bytes can be read back: kind, sequence, and for items role and content.
pub(super) struct PlainCodec;

impl FrameCodec for PlainCodec {
    fn payload(&self, event: &Event) -> Bytes {
        match event {
            Event::ItemAppended(item) if item.truncated_bytes > 0 => {
                format!("{:?}:{}:{}~{}", item.role, item.sequence, item.content, item.truncated_bytes).into()
            }
            Event::ItemAppended(item) => format!("{:?}:{}:{}", item.role, item.sequence, item.content).into(),
            Event::OutputDelta(delta) => format!("{}:{}", delta.offset, delta.text).into(),
            other => format!("{other:?}").into(),
        }
    }

    fn frame(&self, _: &Envelope<'_>, payload: &[u8]) -> Bytes {
        Bytes::copy_from_slice(payload)
    }

    fn input(&self, _: &[u8], item: &[u8]) -> Option<StoredInput> {
        let text = std::str::from_utf8(item).ok()?;
        let (item, content) = text.strip_prefix("User:")?.split_once(':')?;
        Some(StoredInput { item: item.parse().ok()?, content: content.to_owned(), ..StoredInput::default() })
    }
}

/// A clock that a story moves on.
#[derive(Default)]
struct HandClock(parking_lot::Mutex<Duration>);

impl HandClock {
    fn pass(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

impl Clock for HandClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000) + *self.0.lock()
    }
}

/// An engine to tell stories with, on a store of this kind where a story does not say which.
struct Bed<B> {
    engine: Engine,
    parts: EngineParts,
    kind: PhantomData<B>,
}

/// A kind of store.
trait Backend {
    /// The name by which it is known.
    const NAME: &str;

    /// A new one.
    fn store() -> Arc<dyn Store>;
}

/// The store in memory.
struct InMemory;

impl Backend for InMemory {
    const NAME: &str = "memory";

    fn store() -> Arc<dyn Store> {
        MemoryStore::new()
    }
}

type Stage = Bed<InMemory>;

fn store() -> Arc<dyn Store> {
    InMemory::store()
}

fn sh(script: &str) -> Profile {
    Profile {
        protocol: Protocol::Lines,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        input: InputForm::Text,
        cwd: None,
        env: BTreeMap::new(),
        restart: Restart::Never,
        permissions: Permissions::Deny,
        handshake_timeout: Profile::HANDSHAKE_TIMEOUT,
        approval_timeout: Profile::APPROVAL_TIMEOUT,
    }
}

/// The agent of the end-to-end tests; none where this machine has no python3.
fn agent(arguments: &[&str]) -> Option<Profile> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/end_to_end/agents/acp.py");
    let command = [&["python3", program], arguments].concat().into_iter().map(str::to_owned).collect();
    let is_here = std::process::Command::new("python3").arg("--version").output().is_ok();
    is_here.then(|| Profile { protocol: Protocol::Acp, command, ..sh("") })
}

/// The row of an agent that was made and has not landed.
pub(super) fn agent_row() -> WorkerRow {
    WorkerRow::new(WorkerOrigin {
        worker_id: WorkerId::new("worker-1").unwrap(),
        workspace_id: WorkspaceId::new("local:test").unwrap(),
        caller: Caller::new("tester"),
        label: String::new(),
        labels: BTreeMap::new(),
        role: String::new(),
        profile: builtin("it"),
        display_hint: Protocol::Acp.as_str(),
        config_bundle: None,
        capabilities: Vec::new(),
        created_at: SystemTime::UNIX_EPOCH,
        diagnostics: Vec::new(),
    })
}

fn builtin(name: &str) -> ProfileSelector {
    ProfileSelector::builtin(name.to_owned()).unwrap()
}

fn parts(store: Arc<dyn Store>, profiles: impl IntoIterator<Item = (&'static str, Profile)>) -> EngineParts {
    let runtime_id = RuntimeId::new("test").unwrap();
    EngineParts {
        host_id: runtime_id.host_id("test-"),
        runtime_id,
        store,
        incarnation: Incarnation::generate(),
        codec: Arc::new(PlainCodec),
        clock: Arc::new(SystemClock),
        profiles: profiles.into_iter().map(|(name, profile)| (builtin(name), profile)).collect(),
        limits: EngineLimits { stop_grace: Duration::from_millis(300), ..EngineLimits::default() },
        machine: Machine::default(),
        handle: tokio::runtime::Handle::current(),
    }
}

fn context(request_id: Option<&str>, fingerprint: u8) -> CallContext {
    CallContext {
        caller: Caller::new("tester"),
        workspace: WorkspaceId::new("local:test").unwrap(),
        deadline: tokio::time::Instant::now() + Duration::from_secs(30),
        request_id: request_id.map(|id| RequestId::new(id).unwrap()),
        fingerprint: Fingerprint([fingerprint; 32]),
        trace: TraceContext::default(),
    }
}

fn request(profile: ProfileSelector) -> CreateWorker {
    CreateWorker {
        intent: WorkerIntent::Role { role: "coder".to_owned(), purpose: None },
        profile,
        config_bundle: None,
        requested_capabilities: Vec::new(),
        workspace_refs: Vec::new(),
        mount_refs: Vec::new(),
        requested_worker_name: None,
        initial_input: None,
        acceptance: Acceptance::RunAccepted { expected_segments: 0 },
        labels: Labels::default(),
    }
}

fn user(content: &str) -> WorkerInput {
    WorkerInput::new(InputKind::User, content.to_owned()).unwrap()
}

fn input_for(worker_id: &WorkerId, content: &str) -> SendInput {
    SendInput { worker_id: worker_id.clone(), input: user(content), delivery: InputDelivery::Queue }
}

impl<B: Backend> Bed<B> {
    const BACKEND: &str = B::NAME;

    async fn open(parts: EngineParts) -> Self {
        Self { engine: Engine::open(parts.clone()).await.unwrap(), parts, kind: PhantomData }
    }

    /// With one profile `it`.
    async fn with(profile: Profile) -> Self {
        Self::open(parts(B::store(), [("it", profile)])).await
    }

    /// On a store that lands late and fails by seed.
    async fn unsteady(profile: Profile, how: Unsteadiness) -> (Self, Arc<UnsteadyStore>) {
        let store = UnsteadyStore::new(how, &tokio::runtime::Handle::current());
        (Self::open(parts(store.clone(), [("it", profile)])).await, store)
    }

    async fn spawn(&self) -> Worker {
        self.engine.create_worker(&context(None, 0), request(builtin("it"))).await.unwrap().worker
    }

    async fn send(&self, worker: &Worker, content: &str) -> Result<crate::model::InputAck> {
        self.engine.send_input(&context(None, 0), input_for(&worker.worker_id, content)).await
    }

    async fn stop(&self, worker: &Worker, intent: TerminalIntent, mode: StopMode) -> StopAck {
        let request = StopWorker { worker_id: worker.worker_id.clone(), intent, reason: String::new(), mode };
        self.engine.stop_worker(&context(None, 0), request).await.unwrap()
    }

    fn observe(&self, worker: &Worker, from: ObserveFrom) -> Observation {
        self.engine.observe_worker(&worker.worker_id, from, None).unwrap()
    }

    async fn transcript(&self, worker: &Worker) -> Vec<String> {
        let mut items = Vec::new();
        let mut start = Some(0);
        while let Some(from) = start {
            let page = self.engine.read_transcript(&worker.worker_id, from, 256).await.unwrap();
            items.extend(page.frames.iter().map(|frame| text(&frame.body)));
            start = page.next_start;
        }
        items
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The next frame, past the snapshot.
async fn next_frame(observation: &mut Observation) -> Option<Published> {
    loop {
        match observation.next().await.unwrap()? {
            Observed::Snapshot(_) | Observed::Notice(_) => {}
            Observed::Frame(frame) => return Some(frame),
        }
    }
}

/// All durable frames up to the end of the stream, checked for gaps and repeats from `after` on.
async fn to_the_end(mut observation: Observation, after: u64) -> Vec<(u64, String)> {
    let mut frames = Vec::new();
    let mut last = after;
    while let Some(frame) = next_frame(&mut observation).await {
        if frame.kind.is_durable() {
            assert_eq!(frame.sequence, last + 1, "a gap or a repeat");
            last = frame.sequence;
            frames.push((frame.sequence, text(&frame.wire)));
        }
    }
    frames
}

/// An engine on a runtime of its own, which can go away like a process that is killed.
fn engine_apart(parts: &EngineParts) -> (tokio::runtime::Runtime, EngineParts) {
    let apart = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let parts = EngineParts { handle: apart.handle().clone(), ..parts.clone() };
    (apart, parts)
}

/// Lets the runtime of an engine go away, with all its tasks.
async fn gone(apart: tokio::runtime::Runtime) {
    // It waits for its threads, which nothing asynchronous may do.
    let going = tokio::task::spawn_blocking(move || apart.shutdown_timeout(Duration::from_secs(30)));
    within(going).await.unwrap();
}

/// The moment after which a test that waits for something has failed.
async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it takes too long")
}
