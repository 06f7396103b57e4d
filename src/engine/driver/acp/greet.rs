//! The handshake: which protocol is spoken, and which session the agent goes on with. A run that follows another one
//! takes up its session again where the agent can do that; where not, it says that the agent remembers nothing.

use std::path::PathBuf;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::schema::{
    Implementation, InitializeRequest, LoadSessionRequest, NewSessionRequest, SessionId,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::super::Report;
use super::brief;
use super::talk::{Conversation, ERROR, Why};

/// The longest id of a session that is kept, in bytes; it is the agent's own text.
const MAX_SESSION: usize = 1024;

/// What a run leaves to the next one.
#[derive(Serialize, Deserialize)]
struct Kept {
    session: String,
}

/// What is known of the runs before.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub session: Option<SessionId>,
    /// There was one.
    pub any: bool,
}

impl Past {
    /// What the runs before this one, the `generation`-th, have left. What cannot be read is as good as nothing.
    pub(super) fn read(state: &[u8], generation: u64) -> Self {
        let kept = serde_json::from_slice::<Kept>(state).ok().filter(|kept| kept.session.len() <= MAX_SESSION);
        Self { session: kept.map(|kept| SessionId::from(kept.session)), any: generation > 1 }
    }
}

/// What is left to the next run: nothing, where the session's id is too long.
fn state(session: &SessionId) -> Bytes {
    let session = session.0.to_string();
    if session.len() > MAX_SESSION {
        return Bytes::new();
    }
    serde_json::to_vec(&Kept { session }).unwrap_or_default().into()
}

impl Conversation {
    /// Agrees on the protocol, and begins a session or goes on with one.
    pub(super) async fn greet(&mut self, cwd: PathBuf, past: Past, until: Instant) -> Result<SessionId, Why> {
        let us = Implementation::new("workplane", env!("CARGO_PKG_VERSION"));
        let hello = InitializeRequest::new(ProtocolVersion::V1).client_info(us);
        let hello = self.agent.send_request(hello).block_task();
        let hello = self.answer("initialize", until, hello).await?;
        if hello.protocol_version != ProtocolVersion::V1 {
            return Err(Why::Broken("the agent speaks another version of the protocol than 1".to_owned()));
        }
        let loaded = match past.session {
            None => Err("its session is not known".to_owned()),
            Some(_) if !hello.agent_capabilities.load_session => Err("it cannot take up a session again".to_owned()),
            Some(session) => self.load(session, cwd.clone(), until).await?,
        };
        let (session, lost) = match loaded {
            Ok(session) => (session, None),
            Err(why) => (self.begin(cwd, until).await?, Some(why).filter(|_| past.any)),
        };
        self.tell(Report::State(state(&session))).await?;
        self.tell(Report::Ready).await?;
        if let Some(why) = lost {
            let words =
                format!("This is a new run of the agent, and it remembers nothing of what was said before: {why}.");
            self.teller.remark(words).await?;
        }
        Ok(session)
    }

    async fn begin(&mut self, cwd: PathBuf, until: Instant) -> Result<SessionId, Why> {
        let session = self.agent.send_request(NewSessionRequest::new(cwd)).block_task();
        Ok(self.answer("session/new", until, session).await?.session_id)
    }

    /// Takes up a session again, or says why that did not go: so much time is left to begin another one.
    async fn load(
        &mut self,
        session: SessionId,
        cwd: PathBuf,
        until: Instant,
    ) -> Result<Result<SessionId, String>, Why> {
        let now = Instant::now();
        let half = now + until.saturating_duration_since(now) / 2;
        let load = self.agent.send_request(LoadSessionRequest::new(session.clone(), cwd)).block_task();
        let answer = timeout_at(half, self.reply("session/load", until, load)).await;
        // What it told meanwhile was told before.
        while self.heard.try_recv().is_ok() {}
        Ok(match answer {
            Ok(answer) => answer?.map(|_| session).map_err(|error| brief(&error.message, ERROR)),
            Err(_) => Err("it did not take up its session in time".to_owned()),
        })
    }

    async fn tell(&mut self, report: Report) -> Result<(), Why> {
        // The worker's task is gone only if the whole runtime is.
        self.report.send(report).await.map_err(|_| Why::Unheard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_kept_whatever_its_id_is_as_long_as_that_is_short() {
        for id in ["s-1", "a \"b\"\n\u{1b}[2J", &"x".repeat(MAX_SESSION)] {
            let past = Past::read(&state(&SessionId::from(id.to_owned())), 2);
            assert_eq!(past.session.map(|session| session.0.to_string()).as_deref(), Some(id));
        }
        assert!(state(&SessionId::from("x".repeat(MAX_SESSION + 1))).is_empty());
        for nothing in [&b""[..], b"{}", b"\xff", b"{\"session\": 7}"] {
            assert_eq!(Past::read(nothing, 2).session, None);
        }
    }
}
