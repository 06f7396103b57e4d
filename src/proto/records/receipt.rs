//! The answer to a request.

use std::sync::Arc;

use bytes::Bytes;

use super::{stored, time, worker};
use crate::engine::store::StoredWorker;
use crate::engine::{Outcome, Receipt, ReceiptKey};
use crate::model::{BundleRef, Error, Fingerprint, Result, WorkerId};
use crate::proto::convert::{self, Scope as _, required};
use crate::proto::v1;
use stored::receipt::Outcome as Kind;

pub(super) fn receipt(from: &Receipt) -> stored::Receipt {
    let Receipt { key, fingerprint, outcome, at } = from.clone();
    stored::Receipt {
        key: Bytes::copy_from_slice(key.as_bytes()),
        fingerprint: Bytes::copy_from_slice(&fingerprint.0),
        at: Some(convert::timestamp(at)),
        outcome: Some(kind(outcome)),
    }
}

fn kind(from: Outcome) -> Kind {
    match from {
        Outcome::Created(worker_id) => Kind::Created(stored::CreatedOutcome { worker_id: worker_id.to_string() }),
        Outcome::Input { worker_id, transcript_sequence, event_id } => {
            Kind::Input(stored::InputOutcome { worker_id: worker_id.to_string(), transcript_sequence, event_id })
        }
        Outcome::Stopping(worker_id) => Kind::Stopping(stored::StoppingOutcome { worker_id: worker_id.to_string() }),
        Outcome::Answered { worker_id, event_id } => {
            Kind::Answered(stored::AnsweredOutcome { worker_id: worker_id.to_string(), event_id })
        }
        Outcome::Interrupted { worker_id, turn } => {
            Kind::Interrupted(stored::InterruptedOutcome { worker_id: worker_id.to_string(), turn })
        }
        Outcome::Bundle(reference) => Kind::Bundle(bundle(reference)),
        Outcome::BundleRemoved(reference) => Kind::BundleRemoved(bundle(reference)),
        Outcome::Deleted { worker_id, last } => Kind::Deleted(stored::DeletedOutcome {
            worker_id: worker_id.to_string(),
            origin: last.as_ref().map(|last| worker::origin(&last.origin)),
            // How many commits there were counts no more.
            last: last.map(|row| worker::row(&StoredWorker { revision: 0, row })),
        }),
    }
}

fn bundle(reference: BundleRef) -> stored::BundleOutcome {
    stored::BundleOutcome { config_bundle: Some(convert::bundle_ref(reference)) }
}

pub(super) fn read_receipt(from: stored::Receipt) -> Result<Receipt> {
    let stored::Receipt { key, fingerprint, at, outcome } = from;
    Ok(Receipt {
        key: ReceiptKey::from_bytes(digest(&key, "key")?),
        fingerprint: Fingerprint(digest(&fingerprint, "fingerprint")?),
        outcome: required(outcome, "outcome").and_then(read_kind)?,
        at: time(at, "at")?,
    })
}

fn read_kind(from: Kind) -> Result<Outcome> {
    match from {
        Kind::Created(stored::CreatedOutcome { worker_id }) => {
            worker_id_of(&worker_id).map(Outcome::Created).scope("created")
        }
        Kind::Input(stored::InputOutcome { worker_id, transcript_sequence, event_id }) => {
            let worker_id = worker_id_of(&worker_id).scope("input")?;
            Ok(Outcome::Input { worker_id, transcript_sequence, event_id })
        }
        Kind::Stopping(stored::StoppingOutcome { worker_id }) => {
            worker_id_of(&worker_id).map(Outcome::Stopping).scope("stopping")
        }
        Kind::Answered(stored::AnsweredOutcome { worker_id, event_id }) => {
            let worker_id = worker_id_of(&worker_id).scope("answered")?;
            Ok(Outcome::Answered { worker_id, event_id })
        }
        Kind::Interrupted(stored::InterruptedOutcome { worker_id, turn }) => {
            let worker_id = worker_id_of(&worker_id).scope("interrupted")?;
            Ok(Outcome::Interrupted { worker_id, turn })
        }
        Kind::Bundle(stored::BundleOutcome { config_bundle }) => {
            reference(config_bundle).map(Outcome::Bundle).scope("bundle")
        }
        Kind::BundleRemoved(stored::BundleOutcome { config_bundle }) => {
            reference(config_bundle).map(Outcome::BundleRemoved).scope("bundle_removed")
        }
        Kind::Deleted(deleted) => read_deleted(deleted).scope("deleted"),
    }
}

fn read_deleted(from: stored::DeletedOutcome) -> Result<Outcome> {
    let stored::DeletedOutcome { worker_id, origin, last } = from;
    let last = match (origin, last) {
        (Some(origin), Some(last)) => {
            let origin = worker::read_origin(origin).scope("origin")?;
            Some(worker::read_row(Arc::new(origin), last).scope("last")?.row)
        }
        _ => None,
    };
    Ok(Outcome::Deleted { worker_id: worker_id_of(&worker_id)?, last })
}

fn worker_id_of(id: &str) -> Result<WorkerId> {
    Ok(WorkerId::new(id)?)
}

fn reference(from: Option<v1::ConfigBundleRef>) -> Result<BundleRef> {
    convert::bundle_reference(required(from, "config_bundle")?).scope("config_bundle")
}

fn digest(bytes: &[u8], field: &str) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| Error::field(field, "must be 32 bytes"))
}
