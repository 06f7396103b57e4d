//! The runtimes there are, in the order in which they were registered. The set is a value that is swapped whole: a
//! call works with the one it found, and a runtime that is in no set any more ends its tasks when its last call ends.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Error, HostId, RuntimeId};
use crate::runtime::WorkerRuntime;

/// So many of them are named to one who asks for another.
const MAX_NAMED: usize = 32;

/// Two runtimes were to have the same id (acceptance 12).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("runtime_id {0} is there twice")]
pub struct DuplicateRuntime(pub RuntimeId);

/// An ordered set of runtimes.
#[derive(Default)]
pub(super) struct RuntimeSet {
    runtimes: Vec<Arc<dyn WorkerRuntime>>,
    places: HashMap<RuntimeId, usize>,
    hosts: HashMap<HostId, usize>,
}

impl RuntimeSet {
    /// A set in this order.
    pub(super) fn new(runtimes: Vec<Arc<dyn WorkerRuntime>>) -> Result<Self, DuplicateRuntime> {
        let mut places = HashMap::with_capacity(runtimes.len());
        let mut hosts = HashMap::with_capacity(runtimes.len());
        for (place, runtime) in runtimes.iter().enumerate() {
            if places.insert(runtime.id().clone(), place).is_some() {
                return Err(DuplicateRuntime(runtime.id().clone()));
            }
            hosts.insert(runtime.id().host_id(runtime.kind().host_prefix()), place);
        }
        Ok(Self { runtimes, places, hosts })
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Arc<dyn WorkerRuntime>] {
        &self.runtimes
    }

    /// One by its id.
    pub(super) fn get(&self, id: &RuntimeId) -> Option<&Arc<dyn WorkerRuntime>> {
        self.places.get(id).map(|place| &self.runtimes[*place])
    }

    /// That there is none of this id, and which there are.
    pub(super) fn unknown(&self, id: &RuntimeId) -> Error {
        let mut known: Vec<_> = self.runtimes.iter().take(MAX_NAMED).map(|runtime| runtime.id().as_str()).collect();
        if self.runtimes.len() > MAX_NAMED {
            known.push("…");
        }
        Error::unknown_runtime(id).with("known_runtime_ids", &known.join(", "))
    }

    /// The one whose host this is: host ids are derived, so that nobody needs to be asked.
    pub(super) fn by_host(&self, id: &HostId) -> Option<&Arc<dyn WorkerRuntime>> {
        self.hosts.get(id).map(|place| &self.runtimes[*place])
    }

    /// Its place in the order.
    pub(super) fn place(&self, id: &RuntimeId) -> Option<usize> {
        self.places.get(id).copied()
    }
}
