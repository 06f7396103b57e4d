//! What the fixture holds. None of it changes: another content is another fixture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use workplane::engine::store::{Batch, Deletion, Forgotten, NewEvent, WorkerChange};
use workplane::engine::{Outcome, ProcessRecord, Receipt, ReceiptKey, WorkerOrigin, WorkerRow};
use workplane::model::{
    BundleContent, BundleId, Caller, ConfigBundle, Diagnostic, EventKind, Fingerprint, ProfileSelector, Provenance,
    Severity, Termination, TerminationReason, WorkerId, WorkerState, WorkspaceId,
};

/// The control plane's own keys and their last values, in order.
pub(crate) const LEDGER: [(&str, &str); 3] =
    [("decisions/a", "one"), ("decisions/b", "two, and longer than the first"), ("other", "")];

const KINDS: [EventKind; 9] = [
    EventKind::StateChanged,
    EventKind::InputAccepted,
    EventKind::ItemAppended,
    EventKind::TurnStarted,
    EventKind::TurnEnded,
    EventKind::ToolCall,
    EventKind::ApprovalRequested,
    EventKind::ApprovalSettled,
    EventKind::End,
];

/// One that runs, one that ended and lost its front, one that was deleted.
pub(crate) fn worker_ids() -> [WorkerId; 3] {
    [1, 2, 3].map(|byte| WorkerId::from_uuid([byte; 16]))
}

/// What landed, in order.
pub(crate) fn batches() -> Vec<Batch> {
    let [runs, ended, deleted] = worker_ids();
    let (mut runs, mut ended, mut deleted) = (Life::new(&runs), Life::new(&ended), Life::new(&deleted));
    let mut batches = vec![runs.batch(3, 10), ended.batch(2, 11), deleted.batch(4, 12)];
    batches.push(Batch { bundles: vec![bundle("1")], receipts: vec![of_bundle(20)], ..Batch::default() });
    for round in 0..20 {
        batches.push(runs.batch(2, 30 + round));
        batches.push(ended.batch(round.into(), 90 + round));
    }
    batches.push(Batch { bundles: vec![bundle("2")], ..Batch::default() });
    let forgotten =
        (90..100).map(|key| Forgotten { key: key_of(key).short(), worker_id: Some(worker_ids()[1].clone()) });
    batches.push(Batch { forgotten: forgotten.collect(), ..Batch::default() });
    let receipts = vec![receipt(13, Outcome::Stopping(worker_ids()[2].clone()))];
    let deletion = Some(Deletion { worker_id: worker_ids()[2].clone(), revision: Some(1) });
    batches.push(Batch { deleted: deletion, receipts, ..Batch::default() });
    batches.push(ended.ends());
    batches.push(ended.trims());
    for round in 0..10 {
        batches.push(runs.batch(3, 200 + round));
    }
    batches
}

/// A worker's row as it goes on.
struct Life {
    row: WorkerRow,
    revision: u64,
    /// How many items there were up to each event.
    items: Vec<u64>,
}

impl Life {
    fn new(worker_id: &WorkerId) -> Self {
        let origin = WorkerOrigin {
            worker_id: worker_id.clone(),
            workspace_id: WorkspaceId::new("local:fixture").unwrap(),
            caller: Caller::new("somebody@example.org"),
            label: "Größe, 大小".to_owned(),
            labels: BTreeMap::from([("team".to_owned(), "a".to_owned()), ("empty".to_owned(), String::new())]),
            role: "reviewer".to_owned(),
            profile: ProfileSelector::builtin("builtin:coder".to_owned()).unwrap(),
            display_hint: "lines",
            config_bundle: Some(bundle("1").reference()),
            capabilities: vec!["input".to_owned()],
            created_at: at(1),
            diagnostics: vec![Diagnostic {
                code: "a_code".into(),
                severity: Severity::Warning,
                message: "said when it was made".into(),
            }],
        };
        let process = Some(ProcessRecord { pid: 4_711, start_time: 123_456_789, boot: 0 });
        // What wrote the fixture did not note it.
        let last_accepted = None;
        let row = WorkerRow { state: WorkerState::Running, process, last_accepted, ..WorkerRow::new(origin) };
        Self { row, revision: 0, items: Vec::new() }
    }

    /// Events of all kinds and sizes, in one commit with an answer.
    fn batch(&mut self, count: u64, key: u8) -> Batch {
        let events = (0..count).map(|_| self.event(None)).collect();
        self.row.driver = Bytes::from(vec![key; usize::from(key)]);
        self.row.last_progress_at = Some(at(self.row.last_sequence));
        let outcome = match key % 3 {
            0 => Outcome::Created(self.row.worker_id().clone()),
            1 => Outcome::Stopping(self.row.worker_id().clone()),
            _ => Outcome::Input {
                worker_id: self.row.worker_id().clone(),
                transcript_sequence: self.row.transcript_length,
                event_id: self.row.last_sequence,
            },
        };
        Batch { receipts: vec![receipt(key, outcome)], ..self.commit(events) }
    }

    fn ends(&mut self) -> Batch {
        let end = self.event(Some(EventKind::End));
        self.row.state = WorkerState::Failed;
        self.row.process = None;
        self.row.termination = Some(Termination {
            reason: TerminationReason::Exited,
            exit_code: Some(3),
            signal: None,
            message: "the end of what it said".to_owned(),
            ended_at: at(99),
            run_generation: 1,
            last_sequence: end.sequence,
        });
        self.commit(vec![end])
    }

    /// All but the last 20 events go.
    fn trims(&mut self) -> Batch {
        self.row.first_sequence = self.row.last_sequence - 19;
        self.row.removed_items = self.items[usize::try_from(self.row.first_sequence).unwrap() - 2];
        Batch { vital: true, ..self.commit(Vec::new()) }
    }

    fn event(&mut self, kind: Option<EventKind>) -> NewEvent {
        self.row.last_sequence += 1;
        let sequence = self.row.last_sequence;
        let number = usize::try_from(sequence).unwrap();
        let kind = kind.unwrap_or(KINDS[number % (KINDS.len() - 1)]);
        self.row.transcript_length += u64::from(kind == EventKind::ItemAppended);
        self.items.push(self.row.transcript_length);
        let body = (0..number * 7 % 200).map(|at| u8::try_from((at * number) % 251).unwrap()).collect();
        NewEvent { sequence, kind, observed_at: at(sequence), body }
    }

    fn commit(&mut self, events: Vec<NewEvent>) -> Batch {
        let row = Box::new(self.row.clone());
        let worker = WorkerChange { worker_id: row.worker_id().clone(), revision: self.revision, events, row };
        self.revision += 1;
        Batch { worker: Some(worker), ..Batch::default() }
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::new(1_800_000_000 + seconds, 123_456_789)
}

fn key_of(key: u8) -> ReceiptKey {
    ReceiptKey::from_bytes([key; 32])
}

fn receipt(key: u8, outcome: Outcome) -> Receipt {
    Receipt { key: key_of(key), fingerprint: Fingerprint([key; 32]), outcome, at: at(key.into()) }
}

fn of_bundle(key: u8) -> Receipt {
    receipt(key, Outcome::Bundle(bundle("1").reference()))
}

fn bundle(revision: &str) -> Arc<ConfigBundle> {
    let content = BundleContent {
        id: BundleId::new("team").unwrap(),
        revision: revision.to_owned(),
        workspace_id: "local:fixture".to_owned(),
        created_at: "2026-06-26T00:00:00Z".to_owned(),
        provenance: Provenance { source: "fixture".to_owned(), detail: Some("detail".to_owned()) },
        profiles: Vec::new(),
        declarations: Vec::new(),
    };
    Arc::new(ConfigBundle::new(content, None).unwrap())
}
