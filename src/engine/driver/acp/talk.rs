//! The conversation with an agent: the handshake, then one turn after the other, until either side has enough.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    CancelNotification, ContentBlock, PromptRequest, RequestPermissionRequest, SessionId, StopReason, TextContent,
};
use agent_client_protocol::{Agent, Client, Error, Lines};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::pipe::Output;
use super::super::{Delivery, Reply, Report};
use super::brief;
use super::greet::Past;
use super::leave::{Heard, Leave, Question};
use super::teller::Teller;
use super::wire::{Waiting, Wire, incoming, outgoing, updates};
use crate::engine::profile::Permissions;
use crate::model::{TurnEndReason, TurnId};

/// How much of an agent's error is told, in bytes.
pub(super) const ERROR: usize = 512;

/// What a conversation is told from outside.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    /// The turn is to be broken off, and no other one begun.
    pub stopping: CancellationToken,
    /// Nothing more is written.
    pub closing: CancellationToken,
}

/// What a conversation needs.
#[derive(Debug)]
pub(super) struct Talk {
    pub handle: Handle,
    pub cwd: PathBuf,
    /// What is known of the runs before.
    pub past: Past,
    pub permissions: Permissions,
    /// How many questions the runs before have asked.
    pub asked: u64,
    /// How long the agent may take until it has a session.
    pub handshake: Duration,
    pub inputs: mpsc::Receiver<Delivery>,
    /// Answers to what the agent asks.
    pub answers: mpsc::Receiver<Reply>,
    /// The turn that is to be broken off.
    pub interrupted: watch::Receiver<Option<TurnId>>,
    pub report: mpsc::Sender<Report>,
    pub signals: Signals,
}

/// How a conversation ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// How the agent broke the protocol, if it did.
    pub broken: Option<String>,
    /// What it was at, if it was at something.
    pub doing: Option<String>,
    /// The agent closed its output.
    pub closed: bool,
}

/// Why a conversation does not go on.
#[derive(Debug)]
pub(super) enum Why {
    /// It was to end.
    Stopped,
    /// The agent closed its output.
    Closed,
    /// Nobody takes what is told.
    Unheard,
    /// The agent broke the protocol.
    Broken(String),
}

/// Speaks with an agent to the end.
pub(super) async fn converse<W, R>(stdin: W, stdout: Output<R>, talk: Talk) -> Ended
where
    W: AsyncWrite + Unpin + Send + 'static,
    R: AsyncRead + Unpin + Send + 'static,
{
    let Talk { handle, cwd, past, permissions, asked, handshake, inputs, answers, interrupted, report, signals } = talk;
    let wire = Arc::new(Wire::default());
    let (updates, heard) = updates();
    let lines = Lines::new(
        outgoing(stdin, Arc::clone(&wire), signals.closing.clone()),
        incoming(stdout, Arc::clone(&wire), updates, signals.closing.clone()),
    );
    let (desk, leave) = Leave::new(permissions, answers, Arc::clone(&wire), asked);
    let over = CancellationToken::new();
    // Once this is dropped, what was to be written is written, and the agent's input is closed.
    let _over = over.clone().drop_guard();
    let (hand, handed) = oneshot::channel();
    handle.spawn(
        Client
            .v1()
            .on_receive_request(
                async move |asked: RequestPermissionRequest, responder, _connection| {
                    desk.take(asked, responder);
                    Ok(())
                },
                agent_client_protocol::on_receive_request!(),
            )
            .connect_with(lines, async move |connection: ConnectionTo<Agent>| {
                // Whoever waits for it may have gone.
                let _ = hand.send(connection);
                over.cancelled().await;
                Ok(())
            }),
    );
    let Ok(agent) = handed.await else {
        let broken = Some("no conversation with the agent could begin".to_owned());
        return Ended { broken, ..Ended::default() };
    };
    let mut conversation = Conversation {
        agent,
        wire,
        heard,
        interrupted,
        signals,
        leave,
        teller: Teller::new(report.clone()),
        report,
        doing: None,
    };
    let why = match conversation.greet(cwd, past, Instant::now() + handshake).await {
        Ok(session) => conversation.turns(session, inputs).await,
        Err(why) => why,
    };
    conversation.leave.close();
    // What it said to no turn is told, too. A task that is gone hears nothing.
    let _ = conversation.teller.over().await;
    let _ = conversation.teller.finish().await;
    let (broken, closed) = match why {
        Why::Broken(how) => (Some(how), false),
        Why::Closed => (None, true),
        Why::Stopped | Why::Unheard => (None, false),
    };
    Ended { broken, closed, doing: conversation.doing }
}

pub(super) struct Conversation {
    pub(super) agent: ConnectionTo<Agent>,
    wire: Arc<Wire>,
    pub(super) heard: mpsc::Receiver<Waiting>,
    interrupted: watch::Receiver<Option<TurnId>>,
    signals: Signals,
    leave: Leave,
    pub(super) report: mpsc::Sender<Report>,
    pub(super) teller: Teller,
    doing: Option<String>,
}

impl Conversation {
    /// Waits for an answer of the handshake, which must not be an error.
    pub(super) async fn answer<T>(
        &mut self,
        what: &str,
        until: Instant,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Why> {
        let disagrees =
            |error: Error| Why::Broken(format!("the agent did not agree to {what}: {}", brief(&error.message, ERROR)));
        self.reply(what, until, answer).await?.map_err(disagrees)
    }

    /// Waits for an answer of the handshake. What the agent tells meanwhile is of no turn.
    pub(super) async fn reply<T>(
        &mut self,
        what: &str,
        until: Instant,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, Why> {
        let (heard, asked, stopping) = (&mut self.heard, &mut self.leave, &self.signals.stopping);
        let listening = async {
            let mut answer = pin!(answer);
            loop {
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => return Err(Why::Stopped),
                    Some(_) = heard.recv() => {}
                    asked = asked.next() => if let Heard::Question(question) = asked { question.refuse() },
                    answer = &mut answer => return Ok(answer),
                }
            }
        };
        let doing = || format!("it was asked {what} and nothing else since");
        match timeout_at(until, listening).await {
            Ok(Err(why)) => Err(why),
            Ok(Ok(Ok(answer))) => Ok(Ok(answer)),
            Ok(Ok(Err(error))) => match self.over() {
                Some(why) => {
                    self.doing = Some(doing());
                    Err(why)
                }
                None => Ok(Err(error)),
            },
            Err(_) => Err(Why::Broken(format!("the agent did not answer {what} in time"))),
        }
    }

    /// Gives it one input after the other.
    async fn turns(&mut self, session: SessionId, mut inputs: mpsc::Receiver<Delivery>) -> Why {
        let stopping = self.signals.stopping.clone();
        loop {
            let done = tokio::select! {
                biased;
                () = stopping.cancelled() => Err(Why::Stopped),
                () = due(self.teller.due()) => self.teller.tell().await,
                heard = self.leave.next() => self.unasked(heard).await,
                update = self.heard.recv() => match update {
                    Some(update) => self.hear(&session, update).await,
                    None => Err(self.over().unwrap_or(Why::Closed)),
                },
                input = inputs.recv() => match input {
                    Some(input) => self.turn(&session, input).await,
                    None => Err(Why::Stopped),
                },
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    async fn turn(&mut self, session: &SessionId, input: Delivery) -> Result<(), Why> {
        self.teller.begin(input.turn_id.clone()).await?;
        let prompt = vec![ContentBlock::Text(TextContent::new(input.content))];
        let answer = self.agent.send_request(PromptRequest::new(session.clone(), prompt)).block_task();
        let mut answer = pin!(answer);
        let stopping = self.signals.stopping.clone();
        let mut broken_off = false;
        let answer = loop {
            tokio::select! {
                biased;
                () = unwanted(&stopping, &mut self.interrupted, &input.turn_id), if !broken_off => {
                    broken_off = true;
                    // A connection that is gone tells so by its answer.
                    let _ = self.agent.send_notification(CancelNotification::new(session.clone()));
                    self.leave.cancel();
                }
                heard = self.leave.next() => match heard {
                    Heard::Question(question) if broken_off => question.cancel(),
                    Heard::Question(question) => self.ask(session, question).await?,
                    Heard::Reply(reply) => self.leave.settle(reply),
                },
                () = due(self.teller.due()) => self.teller.tell().await?,
                Some(update) = self.heard.recv() => self.hear(session, update).await?,
                answer = &mut answer => break answer,
            }
        };
        // Who has answered waits for nothing more.
        self.leave.cancel();
        // What it told before its answer came before it.
        while let Ok(update) = self.heard.try_recv() {
            self.hear(session, update).await?;
        }
        let error = match answer {
            Ok(answer) => return self.teller.end(reason(answer.stop_reason)).await,
            Err(error) => error,
        };
        let why = self.over();
        if why.is_some() {
            self.doing = Some(self.teller.doing());
            self.teller.over().await?;
        } else {
            let words = brief(&error.message, ERROR);
            self.teller.remark(format!("The agent answered with an error: {words}")).await?;
        }
        self.teller.end(if broken_off { TurnEndReason::Cancelled } else { TurnEndReason::Failed }).await?;
        why.map_or(Ok(()), Err)
    }

    /// Leaves a question to somebody else to answer. What the agent told before it comes before it.
    async fn ask(&mut self, session: &SessionId, question: Box<Question>) -> Result<(), Why> {
        while let Ok(update) = self.heard.try_recv() {
            self.hear(session, update).await?;
        }
        let title = question.title.clone().or_else(|| self.teller.title(&question.call_id)).unwrap_or_default();
        match self.leave.open(question) {
            Ok((approval_id, options)) => self.teller.asks(approval_id, title, options).await,
            Err(why) => self.teller.refused(why).await,
        }
    }

    /// Refuses an agent that asks while it is at nothing.
    async fn unasked(&mut self, heard: Heard) -> Result<(), Why> {
        match heard {
            Heard::Question(question) => {
                question.refuse();
                self.teller.refused("it was at no input").await
            }
            Heard::Reply(reply) => {
                self.leave.settle(reply);
                Ok(())
            }
        }
    }

    /// Tells an update on; its place is free once that is done.
    async fn hear(&mut self, session: &SessionId, (update, _place): Waiting) -> Result<(), Why> {
        if *update.session == *session.0 { self.teller.take(update.news).await } else { Ok(()) }
    }

    /// Why nothing more comes from the agent, if that is so.
    fn over(&self) -> Option<Why> {
        let broken = self.wire.fault().map(|how| Why::Broken(how.to_owned()));
        broken.or_else(|| self.wire.is_closed().then_some(Why::Closed))
    }
}

fn reason(stop: StopReason) -> TurnEndReason {
    match stop {
        StopReason::MaxTokens => TurnEndReason::MaxTokens,
        StopReason::MaxTurnRequests => TurnEndReason::MaxTurnRequests,
        StopReason::Refusal => TurnEndReason::Refusal,
        StopReason::Cancelled => TurnEndReason::Cancelled,
        // A reason that a later version of the library knows ends the turn all the same.
        StopReason::EndTurn | _ => TurnEndReason::EndTurn,
    }
}

/// Waits until a turn is to be broken off: by itself, or with its worker.
async fn unwanted(stopping: &CancellationToken, interrupted: &mut watch::Receiver<Option<TurnId>>, turn_id: &TurnId) {
    let is_meant = |turn: &Option<TurnId>| turn.as_ref() == Some(turn_id);
    tokio::select! {
        () = stopping.cancelled() => {}
        Ok(_) = interrupted.wait_for(is_meant) => {}
    }
}

/// Waits for an instant; for ever, where there is none.
async fn due(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
