//! The record of what a worker was told and said.

use std::time::SystemTime;

use super::error::{Error, Reason, Result};
use super::event::TurnId;

/// The largest page of a transcript, in items, and the default (acceptance 2).
pub const TRANSCRIPT_PAGE_MAX: usize = 256;

/// Who speaks in an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The worker's user.
    User,
    /// The worker.
    Assistant,
    /// Neither: an instruction, or a notice.
    System,
}

/// One item of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptItem {
    /// Its place in this transcript, from 1.
    pub sequence: u64,
    /// Who speaks.
    pub role: Role,
    /// What is said; at most 128 KiB.
    pub content: String,
    /// The sequence of the event that appended it.
    pub event_id: u64,
    /// When, by the host's clock.
    pub created_at: SystemTime,
    /// The turn it belongs to; may be empty.
    pub turn_id: TurnId,
    /// The next item goes on with the same text.
    pub continues: bool,
    /// How many bytes of the text were dropped by a limit.
    pub truncated_bytes: u64,
}

/// The size of a transcript page for what was asked.
///
/// # Errors
/// Negative names the field; more than [`TRANSCRIPT_PAGE_MAX`] is [`Reason::LimitTooLarge`] with both numbers.
pub fn transcript_limit(asked: i32) -> Result<usize> {
    match usize::try_from(asked) {
        Err(_) => Err(Error::field("limit", "must not be negative")),
        Ok(0) => Ok(TRANSCRIPT_PAGE_MAX),
        Ok(limit) if limit <= TRANSCRIPT_PAGE_MAX => Ok(limit),
        Ok(limit) => Err(Error::field_as(
            Reason::LimitTooLarge,
            "limit",
            format!("{limit} is more than the maximum of {TRANSCRIPT_PAGE_MAX}"),
        )
        .with("limit", &limit)
        .with("max", &TRANSCRIPT_PAGE_MAX)),
    }
}
