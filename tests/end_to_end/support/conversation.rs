//! What was said, told alike whichever way it was read.

use workplane::proto::v1::{TranscriptItem, TranscriptRole};

use super::Frame;

/// A transcript item, without what only its storage knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) sequence: u64,
    pub(crate) role: TranscriptRole,
    pub(crate) content: String,
    pub(crate) event_id: u64,
}

/// What an item says.
pub(crate) fn line_of(item: &TranscriptItem) -> Line {
    Line { sequence: item.sequence, role: item.role(), content: item.content.clone(), event_id: item.event_id }
}

/// What the frames of an observation say. Each item's event is the frame that it came with.
pub(crate) fn lines_of(frames: &[Frame]) -> Vec<Line> {
    let items = frames.iter().filter_map(|frame| Some((frame.sequence, frame.item()?)));
    let lines = items.map(|(sequence, item)| {
        assert_eq!(item.event_id, sequence, "an item names its own event");
        line_of(item)
    });
    lines.collect()
}
