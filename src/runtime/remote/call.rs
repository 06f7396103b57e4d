//! The one place where a host is called.
//!
//! A call is one round trip within the method's time and what the caller has left. One that fails in a passing way is
//! made again here ([`Recover`]) and nowhere else, as it is: every change carries its request id, so that it is done once.
//! A host in trouble is spared by its [`Guard`](super::guard::Guard). A call that failed, or was slow, is told once in the
//! log, however often it was made.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Response, Status};

use super::Core;
use super::breaker::Trouble;
use super::guard::Pass;
use super::link::{Client, Connection, Link, too_late, unreachable};
use super::measures::SPARED;
use super::recover::{CHANGE_ATTEMPTS, READ_ATTEMPTS, Recover};
use super::span::Span;
use crate::model::{CallContext, Error, ErrorClass, Fault, Feature, Reason, Result, TRACEPARENT, WorkerId};
use crate::proto::status::from_status;
use crate::runtime::budget::{LIST_TIMEOUT, budget};

/// How many calls to one host may be under way at once (robustness.md: 64 in flight per host, with room for probes). The
/// others wait.
pub(super) const IN_FLIGHT: usize = 60;
/// The same for calls that the host answers only when something has happened, a worker's end or its first words: they
/// take nothing from those that are answered at once.
pub(super) const WAITING: usize = 512;

/// The least time for which an attempt is made again: with less of it the answer would be that the time is over, in place
/// of what the host has said.
const LEAST: Duration = Duration::from_millis(10);

/// A call that took longer was slow, where its answer waits for nothing but the host.
const SLOW: Duration = Duration::from_secs(1);

/// More than any caller waits (robustness.md, unary deadline: 5 min at most).
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// What kind of call it is: that says how long it may take, how often it is made, and what the host must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    kind: Kind,
    needs: Option<Feature>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Read,
    Change,
    End,
    Spawn,
}

impl Method {
    /// A part of a list over many hosts: 2 s.
    pub(super) const LIST: Self = Self::of(Kind::List);
    /// Any other read: as configured, 10 s where nothing is.
    pub(super) const READ: Self = Self::of(Kind::Read);
    /// A change to what there is: the same time, fewer attempts.
    pub(super) const CHANGE: Self = Self::of(Kind::Change);
    /// The end of a worker: as long as its caller waits, since it is answered when the worker has ended.
    pub(super) const END: Self = Self::of(Kind::End);
    /// A new worker: three times as long, 30 s where nothing is configured.
    pub(super) const SPAWN: Self = Self::of(Kind::Spawn);

    const fn of(kind: Kind) -> Self {
        Self { kind, needs: None }
    }

    /// The same, which only a host with this feature is asked.
    pub(super) const fn needing(self, feature: Feature) -> Self {
        Self { needs: Some(feature), ..self }
    }

    fn most(self, configured: Duration) -> Duration {
        match self.kind {
            Kind::List => configured.min(LIST_TIMEOUT),
            Kind::Spawn => configured.saturating_mul(3),
            Kind::Read | Kind::Change => configured,
            Kind::End => LONGEST_WAIT,
        }
    }

    /// Whether it changes something on the host.
    fn changes(self) -> bool {
        !matches!(self.kind, Kind::List | Kind::Read)
    }

    /// Whether its answer may wait for something to happen on the host.
    fn waits(self) -> bool {
        matches!(self.kind, Kind::End | Kind::Spawn)
    }

    fn attempts(self) -> u32 {
        match self.kind {
            Kind::List | Kind::Read => READ_ATTEMPTS,
            Kind::Change | Kind::End | Kind::Spawn => CHANGE_ATTEMPTS,
        }
    }
}

impl Core {
    /// Calls the host.
    ///
    /// # Errors
    /// What the host refused, in our words; or that it was not reached, or not in time, or lacks a feature.
    pub(super) async fn call<Q, A, F>(
        &self,
        ctx: &CallContext,
        method: Method,
        message: Q,
        send: impl Fn(Client, Request<Q>) -> F,
    ) -> Result<A>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let until = budget(ctx, method.most(self.timeout())).map_err(|e| e.with("runtime_id", &self.runtime_id))?;
        let began = Instant::now();
        let name = name_of::<Q>();
        let span = Span::begin(ctx, name, &self.runtime_id);
        let mut recover = Recover::new(method.attempts());
        let mut failed = None;
        let answer = loop {
            // Held while the attempt is under way: where it is a probe, there is no other.
            let mut pass = match self.guard.admit() {
                Ok(pass) => pass,
                // Nothing was asked, and nothing is to be told: the guard has said so.
                Err(wait) if failed.is_none() => {
                    self.measures.ended(name, SPARED);
                    span.end(SPARED, 0);
                    return Err(self.spared(wait));
                }
                Err(wait) => break Err(failed.unwrap_or_else(|| self.spared(wait))),
            };
            let tried = Instant::now();
            let error = match self.attempt(&span, method, until, message.clone(), &send, &mut pass).await {
                Ok(answer) => break Ok(answer),
                Err(error) => error,
            };
            if method.changes() && pass.was_sent() {
                recover.doubts(&error);
            }
            drop(pass);
            let Some(pause) = recover.pause(&error, tried.elapsed()) else { break Err(error) };
            if !self.guard.may_retry() || Instant::now() + pause + LEAST > until {
                break Err(error);
            }
            failed = Some(error);
            self.measures.retried();
            sleep(pause).await;
        };
        let answer = answer.map_err(|last| recover.verdict(last));
        span.end(self.measures.called(name, &answer, began), recover.made());
        self.told::<Q, A>(method, &answer, &recover, began, until);
        answer
    }

    /// One round trip.
    async fn attempt<Q, A, F>(
        &self,
        span: &Span,
        method: Method,
        until: Instant,
        message: Q,
        send: &impl Fn(Client, Request<Q>) -> F,
        pass: &mut Pass,
    ) -> Result<A>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let places = if method.waits() { &self.waiting } else { &self.in_flight };
        let _place = timeout_at(until, places.acquire()).await.map_err(|_| self.busy())?;
        let connection = self.connection(until, pass).await?;
        self.has(&connection, method.needs)?;
        let mut request = authorized(&self.control, message);
        let began = Instant::now();
        request.set_timeout(until.saturating_duration_since(began));
        if let Some(parent) = span.parent() {
            request.metadata_mut().insert(TRACEPARENT, parent);
        }
        pass.sent();
        pass.waits(!method.waits());
        match timeout_at(until, send(connection.client.clone(), request)).await {
            Ok(Ok(answer)) => {
                self.health.heard();
                pass.succeeded();
                Ok(answer.into_inner())
            }
            Ok(Err(status)) => Err(self.failed(&connection, &status, None, pass)),
            Err(_) => Err(too_late(&self.runtime_id)),
        }
        .inspect_err(|error| {
            // Whose clock said so, ours or the host's, is a matter of chance.
            if error.reason() == Reason::RemoteRuntimeTimeout {
                pass.unanswered(began);
            }
        })
    }

    /// The connection, made anew where there is none. That it cannot be made is told by who makes it; a probe that waited
    /// for it says so as well.
    async fn connection(&self, until: Instant, pass: &mut Pass) -> Result<Connection> {
        let began = Instant::now();
        pass.waits(pass.is_probe());
        let connection = self.control.connection(until).await;
        match &connection {
            Err(error) if pass.is_probe() && error.reason() == Reason::RemoteRuntimeNetworkError => {
                pass.failed(Trouble::Unreached);
            }
            Err(error) if pass.is_probe() && error.reason() == Reason::RemoteRuntimeTimeout => pass.unanswered(began),
            Ok(_) | Err(_) => pass.waits(false),
        }
        connection
    }

    /// Nothing that needs a feature is sent to a host without it.
    fn has(&self, connection: &Connection, needs: Option<Feature>) -> Result<()> {
        let lacks = needs.map(Feature::as_str).filter(|feature| !connection.features.iter().any(|it| it == feature));
        lacks.map_or(Ok(()), |feature| {
            Err(Error::new(Reason::RemoteRuntimeUnsupported, format!("the host lacks the feature {feature}"))
                .with("runtime_id", &self.runtime_id)
                .with("feature", &feature))
        })
    }

    /// One line for a call that failed or was slow. What the caller did wrong is its own business.
    fn told<Q, A>(&self, method: Method, answer: &Result<A>, recover: &Recover, began: Instant, until: Instant) {
        let (took, attempts) = (began.elapsed(), recover.made());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let slow = if method.waits() { (until - began) / 2 } else { SLOW };
        let (runtime_id, method) = (&self.runtime_id, name_of::<Q>());
        match answer.as_ref().map_err(Error::reason) {
            Err(reason) if is_trouble(reason) => {
                let reason = reason.as_str();
                tracing::warn!(%runtime_id, method, attempts, took_ms, reason, "a call to a host failed");
            }
            Err(reason) => {
                let reason = reason.as_str();
                tracing::debug!(%runtime_id, method, attempts, took_ms, reason, "a host refused a call");
            }
            Ok(_) if took > slow => {
                tracing::warn!(%runtime_id, method, attempts, took_ms, "a call to a host was slow");
            }
            Ok(_) => {}
        }
    }

    /// The host has been in trouble, and is asked nothing for a while.
    pub(super) fn spared(&self, wait: Duration) -> Error {
        unreachable(&self.runtime_id).retry_after(wait)
    }

    /// All the calls that a host takes at once are under way, and none ended in time.
    fn busy(&self) -> Error {
        Error::new(Reason::Overloaded, "too many calls to this host are under way")
            .with("runtime_id", &self.runtime_id)
            .retry_after(Duration::from_secs(1))
    }

    /// What a status means; one that was made here, out of a broken connection, ends that.
    pub(super) fn failed(
        &self,
        connection: &Connection,
        status: &Status,
        worker_id: Option<&WorkerId>,
        pass: &mut Pass,
    ) -> Error {
        let error = from_status(status, &self.runtime_id, worker_id);
        match (error.reason(), error.fault(), status.source()) {
            // Somebody before the host says that it is not there.
            (Reason::RemoteRuntimeNetworkError, None, None) => {
                self.health.failed(&error);
                pass.failed(Trouble::Unanswered);
            }
            (Reason::RemoteRuntimeNetworkError, None, Some(_)) => {
                let is_news = connection.give_up();
                if is_news {
                    self.health.failed(&error);
                }
                if is_news || pass.is_probe() {
                    pass.failed(Trouble::Unanswered);
                }
            }
            // Of this call alone: the connection goes on, and so do the others on it.
            (_, Some(Fault::BrokenOff), _) => pass.failed(Trouble::Unanswered),
            // Where the time is over, only who knows how long it was can say what that means. What could not be sent says
            // nothing of the host.
            (Reason::RemoteRuntimeTimeout, ..) | (_, Some(Fault::Client), _) => pass.waits(false),
            (Reason::RemoteRuntimeAuthFailed, ..) => {
                self.health.failed(&error);
                pass.answered();
            }
            _ => {
                self.health.heard();
                pass.answered();
            }
        }
        error
    }
}

/// What a method is called: its request is named after it.
fn name_of<Q>() -> &'static str {
    let name = std::any::type_name::<Q>();
    let name = name.rsplit("::").next().unwrap_or(name);
    name.strip_suffix("Request").unwrap_or(name)
}

/// Whether a call failed because something is wrong between here and the host, or with it.
fn is_trouble(reason: Reason) -> bool {
    use Reason::{RemoteRuntimeAuthFailed, RemoteRuntimeUnsupported, RemoteRuntimeWrongIdentity};
    reason.class() == ErrorClass::Unknown
        || matches!(reason, RemoteRuntimeAuthFailed | RemoteRuntimeUnsupported | RemoteRuntimeWrongIdentity)
}

/// A request that says who asks.
pub(super) fn authorized<Q>(link: &Link, message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    if let Some(authorization) = link.authorization() {
        request.metadata_mut().insert("authorization", authorization);
    }
    request
}
