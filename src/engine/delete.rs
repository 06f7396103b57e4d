//! The end of a worker's record. It runs in a task of its own: a caller that goes away changes nothing.

use tokio::sync::oneshot;

use super::core::{Engine, Slot, answered};
use super::in_step::in_step;
use super::receipts::{Claim, Hold, Outcome, Receipt, given_up, refused};
use super::store::{Batch, Deletion, StoreFault, StoredWorker};
use super::worker::{Command, Ending, StopCommand, StopWish, not_landed, store_error};
use crate::model::{CallContext, DeleteAck, DeleteWorker, Error, Reason, Result, StopMode, WorkerId};

/// How often a deletion is tried beside other changes of the same record.
const ATTEMPTS: u32 = 16;

impl Engine {
    /// Removes a worker's record, transcript and events. It is durable when this returns; the id is not used again, and
    /// what the worker was asked before is still answered as it was.
    ///
    /// # Errors
    /// Unknown workers; [`Reason::WorkerRunning`] for one that has not ended, unless it is to be ended first; a failed
    /// store.
    pub async fn delete_worker(&self, ctx: &CallContext, request: DeleteWorker) -> Result<DeleteAck> {
        let hold = match self.0.receipts.claim(ctx, "DeleteWorker").await? {
            Claim::Repeat(Outcome::Deleted { .. }) => return Ok(DeleteAck::default()),
            Claim::Repeat(_) => return Err(Error::new(Reason::RequestIdReused, "request_id was used before")),
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        let slot = match self.check_running().and_then(|()| self.slot(&request.worker_id)) {
            Ok(slot) => slot,
            Err(error) => return Err(refused(hold, error)),
        };
        let (reply, answer) = oneshot::channel();
        let engine = self.clone();
        self.0.parts.handle.spawn(async move {
            // Whoever asked may have gone, and learns of it by the request id.
            let _ = reply.send(in_step(engine.delete(request, &slot, hold)).await);
        });
        answered(ctx, answer).await?
    }

    async fn delete(&self, request: DeleteWorker, slot: &Slot, hold: Option<Hold>) -> Result<DeleteAck> {
        let DeleteWorker { worker_id, force } = request;
        let ended =
            if slot.tail.view().state.is_final() { Ok(()) } else { end_first(slot, force, hold.as_ref()).await };
        let deleted = match ended {
            Ok(()) => self.erase(&worker_id, hold.as_ref()).await,
            Err(error) => Err(error),
        };
        let receipt = match deleted {
            Ok(receipt) => receipt,
            Err(error) => return Err(refused(hold, error)),
        };
        if let Some((hold, receipt)) = hold.zip(receipt) {
            hold.answered(receipt);
        }
        Ok(DeleteAck::default())
    }

    /// Removes the record of a worker that has ended. Whatever else changes it at the same time, like retention, comes
    /// first or not at all.
    pub(super) async fn erase(&self, worker_id: &WorkerId, hold: Option<&Hold>) -> Result<Option<Receipt>> {
        let parts = &self.0.parts;
        let mut fault = StoreFault::OutOfOrder;
        for _ in 0..ATTEMPTS {
            let quarantined = self.slot(worker_id)?.quarantined;
            let (revision, last) = match parts.store.worker(worker_id).await {
                Ok(Some(StoredWorker { revision, row })) => (Some(revision).filter(|_| !quarantined), Some(row)),
                // Its revision cannot be read, and nothing but this changes it any more.
                Err(StoreFault::Damaged) => (None, None),
                Ok(None) if quarantined => (None, None),
                Ok(None) => return Err(Error::unknown_worker(&parts.runtime_id, worker_id)),
                // A disk that does not read keeps nothing from being deleted: only how it was is not known afterwards.
                Err(fault) => {
                    let revision = parts.store.revision(worker_id).ok_or_else(|| store_error(fault))?;
                    (Some(revision).filter(|_| !quarantined), None)
                }
            };
            let outcome = Outcome::Deleted { worker_id: worker_id.clone(), last };
            let receipt = hold.map(|hold| hold.receipt(outcome, parts.clock.now()));
            let deleted = Some(Deletion { worker_id: worker_id.clone(), revision });
            let receipts = receipt.clone().into_iter().collect();
            fault = match parts.store.commit(Batch { deleted, receipts, vital: true, ..Batch::default() }).await {
                Ok(_) => {
                    self.0.workers.write().remove(worker_id);
                    return Ok(receipt);
                }
                Err(StoreFault::OutOfOrder) => StoreFault::OutOfOrder,
                Err(fault) => return Err(not_landed(hold, fault)),
            };
        }
        Err(store_error(fault))
    }
}

/// Ends a worker by force, where that is wanted, and waits until its end is durable.
async fn end_first(slot: &Slot, force: bool, hold: Option<&Hold>) -> Result<()> {
    if !force {
        return Err(Error::new(
            Reason::WorkerRunning,
            "the worker has not ended: stop it first, or delete it by force",
        ));
    }
    if let Some(inbox) = &slot.inbox {
        let wish = StopWish { ending: Ending::Stopped, message: "worker deleted".to_owned(), mode: StopMode::Force };
        let (reply, answer) = oneshot::channel();
        // A task that is gone has ended its worker.
        if inbox.send(Command::Stop(StopCommand { wish, hold: None, reply })).await.is_ok() {
            answer.await.map_err(|_| given_up())?.map_err(|fault| not_landed(hold, fault))?;
        }
    }
    slot.tail.wait_for(|worker| worker.state.is_final()).await;
    Ok(())
}
