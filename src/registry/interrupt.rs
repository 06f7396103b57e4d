//! The end of a turn, asked for.

use super::refusal::Lacking;
use super::{Operation, Registry, bounded};
use crate::model::{CallContext, InterruptAck, Result, RuntimeId, WorkerId};

impl Registry {
    /// Breaks off the turn that a worker is in.
    ///
    /// # Errors
    /// As [`Registry::send_input`].
    pub async fn interrupt_worker(
        &self,
        ctx: &CallContext,
        runtime_id: &RuntimeId,
        worker_id: &WorkerId,
    ) -> Result<Operation<InterruptAck>> {
        let runtime = self.find(runtime_id)?;
        match self.told(&runtime, worker_id, runtime.interrupt_worker(ctx, worker_id).await) {
            Ok(mut ack) => {
                let diagnostics = bounded(std::mem::take(&mut ack.diagnostics));
                Ok(Operation::Accepted { value: ack, diagnostics })
            }
            Err(error) => Lacking::Interrupt.in_band(&runtime, error),
        }
    }
}
