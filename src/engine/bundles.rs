//! The configuration bundles of one runtime. Every digest is kept: a worker that was made with one keeps it, whatever
//! is stored under the same id later, and none is removed while a worker that has not ended has it.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::core::{Engine, answered};
use super::in_step::in_step;
use super::receipts::{Claim, Hold, Outcome, Receipt, refused};
use super::store::Batch;
use super::worker::not_landed;
use crate::failpoint::failpoint;
use crate::model::{
    BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle, Error, ProfileSelector, Reason, Result,
};

/// How many may be about to store a bundle or to use one: more than there are requests.
const SHARES: u32 = 1 << 20;

/// The bundles.
#[derive(Debug)]
pub(super) struct Bundles {
    /// By id and digest.
    known: RwLock<BTreeMap<BundleRef, Arc<ConfigBundle>>>,
    /// Whoever stores a bundle or makes a worker with one has a share until that has landed and can be seen; whoever
    /// removes one takes them all, and so is alone. It is never closed.
    shares: Semaphore,
}

impl Default for Bundles {
    fn default() -> Self {
        Self { known: RwLock::default(), shares: Semaphore::new(SHARES as usize) }
    }
}

impl Bundles {
    pub(super) fn restore(&self, bundles: impl IntoIterator<Item = Arc<ConfigBundle>>) {
        self.known.write().extend(bundles.into_iter().map(|bundle| (bundle.reference(), bundle)));
    }

    /// A bundle; what is there under its id says which error it is otherwise.
    fn find(&self, reference: &BundleRef) -> Result<Arc<ConfigBundle>> {
        let bundles = self.known.read();
        if let Some(bundle) = bundles.get(reference) {
            return Ok(Arc::clone(bundle));
        }
        let other = bundles.keys().rfind(|known| known.id == reference.id);
        Err(match other {
            None => Error::new(Reason::ConfigBundleMissing, "this runtime has no such bundle"),
            Some(other) => Error::new(Reason::ConfigBundleDigestMismatch, "the bundle has another digest here")
                .with("expected", &reference.digest)
                .with("actual", &other.digest),
        }
        .with("config_bundle_id", &reference.id))
    }

    /// A share, for one that stores a bundle or makes a worker with one: until it is given back no bundle is removed.
    pub(super) async fn share(&self) -> Option<SemaphorePermit<'_>> {
        self.shares.acquire().await.ok()
    }

    /// Whether a worker may be made so (acceptance 91): a bundle must be there and declare the profile; without one, a
    /// profile must be one that every runtime knows.
    pub(super) fn check_profile(&self, bundle: Option<&BundleRef>, profile: &ProfileSelector) -> Result<()> {
        let refused = |message: &'static str| {
            Err(Error::new(Reason::InvalidProfileSelector, message).with("profile", &profile.label()))
        };
        match (bundle, profile) {
            (Some(reference), profile) if self.find(reference)?.declares(profile) => Ok(()),
            (Some(_), _) => refused("the bundle does not declare this profile"),
            (None, ProfileSelector::Named(_)) => refused("a named profile must be declared by a bundle"),
            (None, ProfileSelector::RuntimeDefault | ProfileSelector::Builtin(_)) => Ok(()),
        }
    }
}

impl Engine {
    /// Stores a bundle. It is durable when this returns; one that is there already is left as it is.
    ///
    /// # Errors
    /// A runtime that was shut down; a failed store.
    pub async fn sync_bundle(&self, ctx: &CallContext, bundle: ConfigBundle) -> Result<BundleSummary> {
        let hold = match self.0.receipts.claim(ctx, "SyncConfigBundle").await? {
            // It is the same request, and so the same bundle: also where that is not here any more.
            Claim::Repeat(Outcome::Bundle(_)) => return Ok(bundle.summary()),
            Claim::Repeat(_) => return Err(Error::new(Reason::RequestIdReused, "request_id was used before")),
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        if let Err(error) = self.check_running() {
            return Err(refused(hold, error));
        }
        let (reply, answer) = oneshot::channel();
        let (engine, bundle) = (self.clone(), Arc::new(bundle));
        self.0.parts.handle.spawn(async move {
            // Whoever asked may have gone, and finds the bundle by the request id.
            let _ = reply.send(in_step(engine.store_bundle(bundle, hold)).await);
        });
        answered(ctx, answer).await?
    }

    async fn store_bundle(&self, bundle: Arc<ConfigBundle>, hold: Option<Hold>) -> Result<BundleSummary> {
        let _share = self.0.bundles.share().await;
        let reference = bundle.reference();
        let now = self.0.parts.clock.now();
        let receipt = hold.as_ref().map(|hold| hold.receipt(Outcome::Bundle(reference.clone()), now));
        let known = self.0.bundles.known.read().contains_key(&reference);
        let batch = Batch {
            bundles: if known { Vec::new() } else { vec![Arc::clone(&bundle)] },
            receipts: receipt.clone().into_iter().collect(),
            ..Batch::default()
        };
        if let Err(fault) = self.0.parts.store.commit(batch).await {
            let error = not_landed(hold.as_ref(), fault);
            return Err(refused(hold, error));
        }
        failpoint!("bundle-before-answer");
        let summary = bundle.summary();
        self.0.bundles.known.write().entry(reference).or_insert(bundle);
        if let Some((hold, receipt)) = hold.zip(receipt) {
            hold.answered(receipt);
        }
        Ok(summary)
    }

    /// Removes the bundle with just this digest. It is gone for good when this returns.
    ///
    /// # Errors
    /// As [`Engine::check_bundle`]; [`Reason::ConfigBundleInUse`] where a worker that has not ended was made with it; a
    /// runtime that was shut down; a failed store.
    pub async fn remove_bundle(&self, ctx: &CallContext, reference: BundleRef) -> Result<()> {
        let hold = match self.0.receipts.claim(ctx, "RemoveConfigBundle").await? {
            Claim::Repeat(Outcome::BundleRemoved(_)) => return Ok(()),
            Claim::Repeat(_) => return Err(Error::new(Reason::RequestIdReused, "request_id was used before")),
            Claim::New(hold) => Some(hold),
            Claim::Anonymous => None,
        };
        let (reply, answer) = oneshot::channel();
        let engine = self.clone();
        self.0.parts.handle.spawn(async move {
            let removed = match in_step(engine.drop_bundle(reference, hold.as_ref())).await {
                Ok(receipt) => {
                    if let Some((hold, receipt)) = hold.zip(receipt) {
                        hold.answered(receipt);
                    }
                    Ok(())
                }
                Err(error) => Err(refused(hold, error)),
            };
            // Whoever asked may have gone, and finds the outcome by the request id.
            let _ = reply.send(removed);
        });
        answered(ctx, answer).await?
    }

    async fn drop_bundle(&self, reference: BundleRef, hold: Option<&Hold>) -> Result<Option<Receipt>> {
        let _alone = self.0.bundles.shares.acquire_many(SHARES).await;
        self.check_running()?;
        self.0.bundles.find(&reference)?;
        if self.uses(&reference) {
            let error = Error::new(Reason::ConfigBundleInUse, "a worker that has not ended was made with this bundle");
            return Err(error.with("config_bundle_id", &reference.id));
        }
        let now = self.0.parts.clock.now();
        let receipt = hold.map(|hold| hold.receipt(Outcome::BundleRemoved(reference.clone()), now));
        let batch = Batch {
            removed_bundles: vec![reference.clone()],
            receipts: receipt.clone().into_iter().collect(),
            vital: true,
            ..Batch::default()
        };
        self.0.parts.store.commit(batch).await.map_err(|fault| not_landed(hold, fault))?;
        self.0.bundles.known.write().remove(&reference);
        Ok(receipt)
    }

    /// Whether a worker that has not ended was made with this bundle.
    fn uses(&self, reference: &BundleRef) -> bool {
        let workers = self.0.workers.read();
        let mut views = workers.values().map(|slot| slot.tail.view());
        views.any(|worker| !worker.state.is_final() && worker.config_bundle.as_ref() == Some(reference))
    }

    /// Whether a bundle is there, by its id and digest.
    ///
    /// # Errors
    /// [`Reason::ConfigBundleMissing`]; [`Reason::ConfigBundleDigestMismatch`] where only others of its id are there.
    pub fn check_bundle(&self, reference: &BundleRef) -> Result<BundleSummary> {
        Ok(self.0.bundles.find(reference)?.summary())
    }

    /// Bundles after `after`, by id and digest, at most `limit`.
    #[must_use]
    pub fn list_bundles(&self, after: Option<&BundleRef>, limit: usize) -> BundlePage {
        let bundles = self.0.bundles.known.read();
        let after = after.map_or(Unbounded, Excluded);
        let mut rest = bundles.range::<BundleRef, _>((after, Unbounded));
        let page = rest.by_ref().take(limit).map(|(_, bundle)| bundle.summary()).collect();
        BundlePage { bundles: page, more: rest.next().is_some() }
    }
}
