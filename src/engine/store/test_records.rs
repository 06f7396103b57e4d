//! Records for tests of the engine, which knows no wire format: what is stored of one is its number in a table. The
//! table outlives a store that is opened again, as the code that reads a format does.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Kept, RecordCodec, RecordFault, Restored, Store, StoredWorker};
use crate::engine::receipts::Receipt;
use crate::engine::row::{WorkerOrigin, WorkerRow};
use crate::model::{ConfigBundle, EventKind};

#[derive(Debug, Clone)]
enum Record {
    Origin(WorkerOrigin),
    Row(StoredWorker),
    Receipt(Receipt),
    Bundle(ConfigBundle),
}

/// Records in a table.
#[derive(Debug, Default)]
pub(in crate::engine) struct TableRecords(Mutex<Vec<Record>>);

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

impl TableRecords {
    fn put(&self, record: Record) -> Bytes {
        let mut table = self.0.lock();
        table.push(record);
        Bytes::copy_from_slice(&(table.len() as u64 - 1).to_le_bytes())
    }

    fn take<T>(&self, bytes: &[u8], of: impl FnOnce(Record) -> Option<T>) -> Result<T, RecordFault> {
        let number = bytes.try_into().ok().map(u64::from_le_bytes).and_then(|number| usize::try_from(number).ok());
        let record = number.and_then(|number| self.0.lock().get(number).cloned());
        record.and_then(of).ok_or_else(|| RecordFault("record: is not in the table".to_owned()))
    }

    /// From now on nothing of what was put decodes.
    pub(in crate::engine) fn forget(&self) {
        self.0.lock().clear();
    }
}

impl RecordCodec for TableRecords {
    fn origin(&self, origin: &WorkerOrigin) -> Bytes {
        self.put(Record::Origin(origin.clone()))
    }

    fn read_origin(&self, bytes: &[u8]) -> Result<WorkerOrigin, RecordFault> {
        self.take(bytes, |record| if let Record::Origin(origin) = record { Some(origin) } else { None })
    }

    fn row(&self, stored: &StoredWorker) -> Bytes {
        self.put(Record::Row(stored.clone()))
    }

    fn read_row(&self, origin: Arc<WorkerOrigin>, bytes: &[u8]) -> Result<StoredWorker, RecordFault> {
        let stored = self.take(bytes, |record| if let Record::Row(stored) = record { Some(stored) } else { None })?;
        let row = WorkerRow { origin, ..*stored.row };
        Ok(StoredWorker { row: Box::new(row), ..stored })
    }

    fn receipt(&self, receipt: &Receipt) -> Bytes {
        self.put(Record::Receipt(receipt.clone()))
    }

    fn read_receipt(&self, bytes: &[u8]) -> Result<Receipt, RecordFault> {
        self.take(bytes, |record| if let Record::Receipt(receipt) = record { Some(receipt) } else { None })
    }

    fn bundle(&self, bundle: &ConfigBundle) -> Bytes {
        self.put(Record::Bundle(bundle.clone()))
    }

    fn read_bundle(&self, bytes: &[u8]) -> Result<ConfigBundle, RecordFault> {
        self.take(bytes, |record| if let Record::Bundle(bundle) = record { Some(bundle) } else { None })
    }

    fn text(&self, kept: &Kept<'_>) -> Option<String> {
        match kept {
            Kept::Origin(origin) => self.read_origin(origin).ok().map(|it| format!("{{\"origin\":\"{}\"}}", it.label)),
            Kept::Row(_) => Some("{\"row\":true}".to_owned()),
            Kept::Event { sequence, body, .. } => {
                let body = str::from_utf8(body).ok()?;
                Some(format!("{{\"sequence\":{sequence},\"body\":\"{body}\"}}"))
            }
        }
    }

    fn tag(&self, kind: EventKind) -> u8 {
        KINDS.iter().position(|known| *known == kind).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
    }

    fn kind(&self, tag: u8) -> Option<EventKind> {
        KINDS.get(usize::from(tag)).copied()
    }
}

/// All that a store has: also the workers that have ended are among the others, in order.
pub(in crate::engine) async fn restore_all(store: &dyn Store) -> Restored {
    let over = Arc::<Mutex<Vec<StoredWorker>>>::default();
    let ended = {
        let over = Arc::clone(&over);
        Box::new(move |worker| over.lock().push(worker))
    };
    let mut restored = store.restore(ended).await.unwrap();
    restored.workers.append(&mut over.lock());
    restored.workers.sort_by(|a, b| a.row.worker_id().cmp(b.row.worker_id()));
    restored
}
