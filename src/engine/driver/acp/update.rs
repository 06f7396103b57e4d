//! What an agent tells of its work, read no further than it is told on: whatever else is in it costs nothing, and a kind of
//! update that is not known here is none of ours.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::brief;
use crate::model::ToolStatus;

/// The longest title of a use of a tool, in bytes.
const MAX_TITLE: usize = 256;
/// The longest id of the agent's own that is taken as it is, in bytes.
const MAX_ID: usize = 128;

/// What an agent tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    pub session: String,
    pub news: News,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// It goes on saying this.
    Said(String),
    /// It goes on thinking this.
    Thought(String),
    /// It uses a tool, or says more of it.
    Tool { call_id: String, title: Option<String>, status: Option<ToolStatus> },
    /// Something that is not told on.
    Other,
}

impl News {
    /// What it is, in words of ours.
    pub(super) const fn words(&self) -> &'static str {
        match self {
            Self::Said(_) => "a piece of its answer",
            Self::Thought(_) => "a thought",
            Self::Tool { .. } => "the use of a tool",
            Self::Other => "an update that is not told on",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    update: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind<'a> {
    #[serde(borrow)]
    session_update: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    content: Content<'a>,
}

#[derive(Deserialize)]
struct Content<'a> {
    /// Absent from what is no text.
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow)]
    tool_call_id: Cow<'a, str>,
    #[serde(borrow)]
    title: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

/// Reads the parameters of a `session/update`; nothing where they are not those of one.
pub(super) fn read(params: &str) -> Option<Update> {
    let Params { session_id, update } = serde_json::from_str(params).ok()?;
    let update = update.get();
    let Kind { session_update } = serde_json::from_str(update).ok()?;
    let text = || serde_json::from_str::<Chunk<'_>>(update).ok().and_then(|chunk| chunk.content.text);
    let news = match &*session_update {
        "agent_message_chunk" => text().map(|text| News::Said(text.into_owned())),
        "agent_thought_chunk" => text().map(|text| News::Thought(text.into_owned())),
        "tool_call" | "tool_call_update" => serde_json::from_str(update).ok().map(tool),
        _ => None,
    };
    Some(Update { session: session_id.into_owned(), news: news.unwrap_or(News::Other) })
}

fn tool(from: Tool<'_>) -> News {
    let Tool { tool_call_id, title, status } = from;
    let status = match status.as_deref() {
        Some("pending") => Some(ToolStatus::Pending),
        Some("in_progress") => Some(ToolStatus::InProgress),
        Some("completed") => Some(ToolStatus::Completed),
        Some("failed") => Some(ToolStatus::Failed),
        _ => None,
    };
    News::Tool { call_id: call_id(&tool_call_id), title: title.map(|title| brief(&title, MAX_TITLE)), status }
}

/// Whether an id of the agent's own carries nothing else.
pub(super) fn is_told_on(its: &str) -> bool {
    (1..=MAX_ID).contains(&its.len()) && its.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The agent's id of a use where it can be told on, and one made of it where it cannot.
pub(super) fn call_id(its: &str) -> String {
    use sha2::{Digest as _, Sha256};
    if is_told_on(its) {
        return its.to_owned();
    }
    let digest = Sha256::digest(its.as_bytes());
    digest.iter().take(16).fold("call-".to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(update: &str) -> Option<News> {
        read(&format!("{{\"sessionId\": \"s\", \"update\": {update}}}")).map(|update| update.news)
    }

    #[test]
    fn what_is_told_on_is_read_and_the_rest_is_not_looked_at() {
        let said =
            r#"{"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "a\u00e9"}, "x": [{}]}"#;
        assert_eq!(news(said), Some(News::Said("aé".to_owned())));
        let thought = r#"{"content": {"type": "text", "text": "hm"}, "sessionUpdate": "agent_thought_chunk"}"#;
        assert_eq!(news(thought), Some(News::Thought("hm".to_owned())));
        let image = r#"{"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "AA=="}}"#;
        assert_eq!(news(image), Some(News::Other));
        for unknown in [r#"{"sessionUpdate": "dance"}"#, r#"{"sessionUpdate": "agent_message_chunk", "content": 7}"#] {
            assert_eq!(news(unknown), Some(News::Other), "{unknown}");
        }
        for none in ["7", "{}", "null"] {
            assert_eq!(news(none), None, "{none}");
        }
    }

    #[test]
    fn an_agents_id_and_title_are_told_on_only_in_a_form_that_carries_nothing_else() {
        let tool = |id: &str, title: &str| {
            let update =
                serde_json::json!({"sessionUpdate": "tool_call", "toolCallId": id, "title": title, "status": "x"});
            let Some(News::Tool { call_id, title, status: None }) = news(&update.to_string()) else { panic!("a tool") };
            (call_id, title.unwrap())
        };
        assert_eq!(tool("call_1", "Read a file"), ("call_1".to_owned(), "Read a file".to_owned()));
        let (id, title) = tool("a\nb", &format!("\u{1b}[2J{}", "x".repeat(1_000)));
        assert!(id.starts_with("call-") && id.len() == 37, "{id}");
        assert!(title.len() <= MAX_TITLE && !title.contains('\u{1b}'), "{title}");
        assert_ne!(tool(&"y".repeat(200), "").0, tool(&"z".repeat(200), "").0);
    }
}
