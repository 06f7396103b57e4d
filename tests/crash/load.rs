//! Clients that send input after input, each again and again under its id until somebody answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::join_all;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use workplane::proto::v1::SendInputRequest;

use crate::book::{Book, Outcome, Sent};
use crate::support::{Chance, Worker, refusal, until};

/// How many send to one worker at once.
pub(crate) const LANES: usize = 3;

/// What a load is told and tells.
#[derive(Debug, Default)]
pub(crate) struct Load {
    acknowledged: AtomicU32,
    over: AtomicBool,
    /// Its disk is made to fail: who is told of it sends again.
    disk_fails: bool,
    failed: AtomicU32,
}

impl Load {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// On a server whose disk is made to fail.
    pub(crate) fn on_a_disk_that_fails() -> Arc<Self> {
        Arc::new(Self { disk_fails: true, ..Self::default() })
    }

    /// How often somebody was told that the store has failed.
    pub(crate) fn failed(&self) -> u32 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many inputs were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u32 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Nobody begins another one; what was begun is sent until it is answered.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sends to all of these workers until it is over, and writes into their books what became of it.
    pub(crate) async fn run(&self, books: &mut [Book], name: &str, chance: &mut Chance) {
        let mut lanes = Vec::new();
        for (at, book) in books.iter().enumerate() {
            for lane in 0..LANES {
                // What differs between lanes is drawn before they run: a seed repeats it, however they run.
                let texts = (0..16).map(|_| {
                    let length = chance.length(2_000);
                    chance.text(length, is_of_a_line)
                });
                let texts: Vec<_> = texts.collect();
                let (worker, name) = (book.worker.clone(), format!("{name}-{at}-{lane}"));
                lanes.push(async move { (at, self.lane(worker, lane, &name, &texts).await) });
            }
        }
        for (at, sent) in join_all(lanes).await {
            books[at].sent.extend(sent);
        }
    }

    async fn lane(&self, worker: Worker, lane: usize, name: &str, texts: &[String]) -> Vec<Sent> {
        let mut sent: Vec<Sent> = Vec::new();
        while !self.is_over() {
            let request_id = format!("{name}-{}", sent.len());
            let content = format!("{request_id} {}", texts[sent.len() % texts.len()]);
            let request = SendInputRequest { request_id, ..worker.input(&content) };
            let outcome = self.send(&worker, &request).await;
            let refused = outcome == Outcome::Refused;
            sent.push(Sent { lane, request, outcome });
            if refused {
                break;
            }
        }
        sent
    }

    /// Sends until somebody answers.
    async fn send(&self, worker: &Worker, request: &SendInputRequest) -> Outcome {
        let answer = until("an answer to an input", || async {
            match worker.try_send(request.clone()).await {
                Ok(answer) => Some(answer),
                Err(status) => {
                    let disk_failed = self.disk_fails && refusal_of_the_store(&status);
                    self.failed.fetch_add(u32::from(disk_failed), Ordering::Relaxed);
                    assert!(disk_failed || may_be_asked_again(&status), "{}: {status:?}", request.request_id);
                    None
                }
            }
        });
        let outcome = Outcome::of(&answer.await);
        if outcome != Outcome::Refused {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// A program that reads lines says this as it was told.
fn is_of_a_line(c: char) -> bool {
    c != '\n'
}

/// Asks until somebody answers.
pub(crate) async fn asked<T, F>(what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, Status>>,
{
    until(what, || async {
        let answer = ask().await;
        answer.map_err(|status| assert!(may_be_asked_again(&status), "{what}: {status:?}")).ok()
    })
    .await
}

/// Whether the store says that it failed: that nothing was done, or that it does not know.
fn refusal_of_the_store(status: &Status) -> bool {
    let told = [(Code::Internal, "STORE_ERROR"), (Code::Unavailable, "REMOTE_RUNTIME_NETWORK_ERROR")];
    status.get_error_details().error_info().is_some() && told.contains(&refusal(status).is())
}

/// Whether the outcome is open, or the moment was wrong: whoever has the request id sends again.
pub(crate) fn may_be_asked_again(status: &Status) -> bool {
    let ours = status.get_error_details().error_info().is_some();
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => true,
        // What the client's own stack says of a connection that broke.
        Code::Unknown | Code::Internal => !ours,
        _ => false,
    }
}
