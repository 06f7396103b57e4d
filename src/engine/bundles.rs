//! The configuration bundles of one runtime. Every digest is kept: a worker that was made with one keeps it, whatever
//! is stored under the same id later.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::oneshot;

use super::core::{Engine, answered};
use super::receipts::{Claim, Hold, Outcome, refused};
use super::store::Batch;
use super::worker::store_error;
use crate::model::{
    BundlePage, BundleRef, BundleSummary, CallContext, ConfigBundle, Error, ProfileSelector, Reason, Result,
};

/// The bundles, by id and digest.
#[derive(Debug, Default)]
pub(super) struct Bundles(RwLock<BTreeMap<BundleRef, Arc<ConfigBundle>>>);

impl Bundles {
    pub(super) fn restore(&self, bundles: impl IntoIterator<Item = Arc<ConfigBundle>>) {
        self.0.write().extend(bundles.into_iter().map(|bundle| (bundle.reference(), bundle)));
    }

    /// A bundle; what is there under its id says which error it is otherwise.
    fn find(&self, reference: &BundleRef) -> Result<Arc<ConfigBundle>> {
        let bundles = self.0.read();
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
            let _ = reply.send(engine.store_bundle(bundle, hold).await);
        });
        answered(ctx, answer).await
    }

    async fn store_bundle(&self, bundle: Arc<ConfigBundle>, hold: Option<Hold>) -> Result<BundleSummary> {
        let reference = bundle.reference();
        let now = self.0.parts.clock.now();
        let receipt = hold.as_ref().map(|hold| hold.receipt(Outcome::Bundle(reference.clone()), now));
        let known = self.0.bundles.0.read().contains_key(&reference);
        let batch = Batch {
            bundles: if known { Vec::new() } else { vec![Arc::clone(&bundle)] },
            receipts: receipt.clone().into_iter().collect(),
            ..Batch::default()
        };
        if let Err(fault) = self.0.parts.store.commit(batch).await {
            return Err(refused(hold, store_error(fault)));
        }
        let summary = bundle.summary();
        self.0.bundles.0.write().entry(reference).or_insert(bundle);
        if let Some((hold, receipt)) = hold.zip(receipt) {
            hold.answered(receipt);
        }
        Ok(summary)
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
        let bundles = self.0.bundles.0.read();
        let after = after.map_or(Unbounded, Excluded);
        let mut rest = bundles.range::<BundleRef, _>((after, Unbounded));
        let page = rest.by_ref().take(limit).map(|(_, bundle)| bundle.summary()).collect();
        BundlePage { bundles: page, more: rest.next().is_some() }
    }
}
