//! Whatever is done to the store on disk, it is what the store in memory is.

use proptest::prelude::*;

use super::*;
use crate::engine::store::MemoryStore;

/// What is done to a store and to its model.
#[derive(Debug, Clone)]
enum Step {
    /// Appends so many events, expecting a revision that is off by so much.
    Append {
        who: usize,
        count: usize,
        off: u64,
    },
    /// Removes events from the front: up to so many from the end.
    Trim {
        who: usize,
        keep: u64,
    },
    Delete {
        who: usize,
        off: u64,
    },
    Receipt {
        who: usize,
        key: u8,
    },
    Forget {
        who: usize,
        key: u8,
    },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let off = prop_oneof![4 => Just(0_u64), 1 => 1..3_u64];
    let step = prop_oneof![
        6 => (0..3_usize, 0..4_usize, off.clone()).prop_map(|(who, count, off)| Step::Append { who, count, off }),
        1 => (0..3_usize, 0..4_u64).prop_map(|(who, keep)| Step::Trim { who, keep }),
        1 => (0..3_usize, off).prop_map(|(who, off)| Step::Delete { who, off }),
        2 => (0..3_usize, 0..4_u8).prop_map(|(who, key)| Step::Receipt { who, key }),
        1 => (0..3_usize, 0..4_u8).prop_map(|(who, key)| Step::Forget { who, key }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..30)
}

/// The batch of a step, as the worker stands in the model.
async fn batch(model: &MemoryStore, ids: &[WorkerId], step: &Step) -> Batch {
    let known = async |who: usize| {
        let stored = model.worker(&ids[who]).await.unwrap();
        stored.map_or_else(|| (0, row(&ids[who])), |stored| (stored.revision, *stored.row))
    };
    match *step {
        Step::Append { who, count, off } => {
            let (revision, mut row) = known(who).await;
            let texts = ["one", "-two", "three", "four"];
            of(append(&mut row, revision + off, &texts[..count]))
        }
        Step::Trim { who, keep } => {
            let (revision, mut row) = known(who).await;
            let first = row.last_sequence.saturating_sub(keep).max(row.first_sequence);
            let goes = bodies(model, &ids[who], Select::EventsAfter(0)).await;
            let goes = goes.iter().zip(row.first_sequence..first);
            row.removed_items += goes.filter(|(text, _)| !text.starts_with('-')).count() as u64;
            row.first_sequence = first;
            of(append(&mut row, revision, &[]))
        }
        Step::Delete { who, off } => {
            let (revision, _) = known(who).await;
            let deletion = Deletion { worker_id: ids[who].clone(), revision: Some(revision + off) };
            Batch { deleted: Some(deletion), ..Batch::default() }
        }
        Step::Receipt { who, key } => {
            // A request is about one worker: so is its key.
            let key = u8::try_from(who).unwrap() * 16 + key;
            Batch { receipts: vec![receipt(key, Outcome::Created(ids[who].clone()))], ..Batch::default() }
        }
        Step::Forget { who, key } => {
            let key = ReceiptKey::from_bytes([u8::try_from(who).unwrap() * 16 + key; 32]);
            Batch {
                forgotten: vec![Forgotten { key: key.short(), worker_id: Some(ids[who].clone()) }],
                ..Batch::default()
            }
        }
        Step::Reopen => Batch::default(),
    }
}

/// The workers with their revisions, the receipts' keys, and the events.
type Seen = (Vec<(u64, WorkerRow)>, Vec<[u8; 32]>, Vec<(u64, EventKind, SystemTime, Bytes)>);

/// What can be seen of a store.
async fn seen(store: &impl Store, ids: &[WorkerId]) -> Seen {
    let Restored { workers, receipts, quarantined, warnings, .. } = restore_all(store).await;
    assert!(quarantined.is_empty() && warnings.is_empty(), "{quarantined:?} {warnings:?}");
    let mut keys: Vec<_> = receipts.iter().map(|receipt| *receipt.key.as_bytes()).collect();
    keys.sort_unstable();
    let workers: Vec<_> = workers.into_iter().map(|it| (it.revision, *it.row)).collect();
    let mut events = Vec::new();
    for id in ids {
        let known = workers.iter().find(|(_, row)| row.worker_id() == id).map(|(revision, _)| *revision);
        assert_eq!(store.revision(id), known);
        for after in [0, 2] {
            for select in [Select::EventsAfter(after), Select::ItemsAfter(after)] {
                let frames = store.read(id, select, 5, 1 << 20).await.unwrap();
                events.extend(
                    frames.into_iter().map(|frame| (frame.sequence, frame.kind, frame.observed_at, frame.body)),
                );
            }
        }
    }
    (workers, keys, events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_done_it_is_what_the_store_in_memory_is(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let (bed, model) = (Bed::new(), MemoryStore::new());
            let ids: Vec<_> = (0..3).map(|_| WorkerId::generate()).collect();
            let mut store = bed.open();
            let mut gone = BTreeSet::new();
            for step in &steps {
                match *step {
                    // An id is not used again.
                    Step::Append { who, .. } | Step::Trim { who, .. } if gone.contains(&who) => continue,
                    Step::Delete { who, .. } => _ = gone.insert(who),
                    _ => {}
                }
                if let Step::Reopen = step {
                    store.close();
                    store = bed.open();
                } else {
                    let batch = batch(&model, &ids, step).await;
                    let (expected, got) = (model.commit(batch.clone()).await, store.commit(batch).await);
                    assert_eq!(got.map(|_| ()), expected.map(|_| ()), "{step:?} of {steps:?}");
                }
                assert_eq!(seen(&store, &ids).await, seen(&*model, &ids).await, "after {step:?} of {steps:?}");
            }
        });
    }
}
