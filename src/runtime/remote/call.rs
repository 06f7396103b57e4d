//! The one place where a host is called.
//!
//! A call is one round trip within the method's time and what the caller has left. Retries, their budget and the breaker
//! will stand in [`Core::call`], around [`Core::attempt`], and nowhere else: what is asked may be asked again as it is,
//! since every change carries its request id.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use super::Core;
use super::link::{Client, Connection, Link, too_late};
use crate::model::{CallContext, Error, Reason, Result};
use crate::proto::status::from_status;
use crate::runtime::budget::{LIST_TIMEOUT, budget};

/// How many calls to one host are under way at once: a host sheds what is over 64 on a connection, and the probe needs
/// room as well. The others wait.
pub(super) const IN_FLIGHT: usize = 60;

/// What kind of call it is: that says how long it may take (robustness.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// A part of a list over many hosts: 2 s.
    List,
    /// A new worker: three times as long as others, 30 s where nothing is configured.
    Spawn,
    /// All others: as configured, 10 s where nothing is.
    Other,
}

impl Method {
    fn most(self, configured: Duration) -> Duration {
        match self {
            Self::List => configured.min(LIST_TIMEOUT),
            Self::Spawn => configured.saturating_mul(3),
            Self::Other => configured,
        }
    }
}

impl Core {
    /// Calls the host.
    ///
    /// # Errors
    /// What the host refused, in our words; or that it was not reached, or not in time.
    pub(super) async fn call<Q, A, F>(
        &self,
        ctx: &CallContext,
        method: Method,
        message: Q,
        send: impl Fn(Client, Request<Q>) -> F,
    ) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let until = budget(ctx, method.most(self.timeout)).map_err(|e| e.with("runtime_id", &self.runtime_id))?;
        self.attempt(ctx, until, message, &send).await
    }

    /// One round trip.
    async fn attempt<Q, A, F>(
        &self,
        ctx: &CallContext,
        until: Instant,
        message: Q,
        send: &impl Fn(Client, Request<Q>) -> F,
    ) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let _permit = timeout_at(until, self.in_flight.acquire()).await.map_err(|_| self.busy())?;
        let connection = self.control.connection(until).await?;
        let mut request = authorized(&self.control, message);
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        if let Some(parent) = ctx.trace.parent.as_deref().and_then(|it| it.parse::<MetadataValue<Ascii>>().ok()) {
            request.metadata_mut().insert("traceparent", parent);
        }
        match timeout_at(until, send(connection.client.clone(), request)).await {
            Ok(Ok(answer)) => {
                self.health.heard();
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => Err(self.failed(&connection, &status)),
            Err(_) => Err(too_late(&self.runtime_id)),
        }
    }

    /// All the calls that a host takes at once are under way, and none ended in time.
    fn busy(&self) -> Error {
        Error::new(Reason::Overloaded, "too many calls to this host are under way")
            .with("runtime_id", &self.runtime_id)
            .retry_after(Duration::from_secs(1))
    }

    /// What a status means; one that was made here, out of a broken connection, ends that.
    pub(super) fn failed(&self, connection: &Connection, status: &Status) -> Error {
        let error = from_status(status, &self.runtime_id);
        match (status.source(), error.reason()) {
            (Some(_), Reason::RemoteRuntimeNetworkError) => {
                connection.give_up();
                self.health.failed(&error);
            }
            (None, Reason::RemoteRuntimeAuthFailed) => self.health.failed(&error),
            (None, _) => self.health.heard(),
            (Some(_), _) => {}
        }
        error
    }
}

/// A request that says who asks.
pub(super) fn authorized<Q>(link: &Link, message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    if let Some(authorization) = link.authorization() {
        request.metadata_mut().insert("authorization", authorization);
    }
    request
}
