//! What a salvaged directory does not serve and could be read: a file for each worker, a JSON object a line, for people.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::slot::ORIGIN;
use super::unstamped;
use super::verify::CareError;
use crate::engine::store::disk::{Disk, DiskFile};
use crate::engine::store::log::{Slot, StoredEvent};
use crate::engine::store::{Kept, RecordCodec};
use crate::model::WorkerId;

/// Where it goes.
pub(super) struct LeftBehind<'s> {
    pub(super) disk: &'s dyn Disk,
    pub(super) codec: &'s dyn RecordCodec,
    /// The new directory.
    pub(super) new: &'s Path,
}

impl LeftBehind<'_> {
    /// Writes the records that say what a worker is, then events. Returns where, and how many events, if there is
    /// anything.
    pub(super) fn write<'v>(
        &self,
        worker_id: &WorkerId,
        own: impl Iterator<Item = (Slot, &'v [u8])>,
        events: impl Iterator<Item = StoredEvent>,
    ) -> Result<Option<(PathBuf, u64)>, CareError> {
        let own = own.map(|(slot, value)| {
            let kept = if slot == ORIGIN { Kept::Origin(value) } else { Kept::Row(value) };
            let name = if slot == ORIGIN { "worker_origin" } else { "worker_row" };
            (0, self.codec.text(&kept).unwrap_or_else(|| format!("{{\"{name}\":\"{}\"}}", STANDARD.encode(value))))
        });
        let mut lines = own.chain(events.map(|event| (1, self.event(worker_id, &event)))).peekable();
        if lines.peek().is_none() {
            return Ok(None);
        }
        let (path, file) = self.file(worker_id)?;
        let (mut offset, mut events) = (0, 0);
        for (event, mut line) in lines {
            line.push('\n');
            file.write_at(line.as_bytes(), offset)?;
            offset += line.len() as u64;
            events += event;
        }
        file.sync_data()?;
        Ok(Some((path, events)))
    }

    fn file(&self, worker_id: &WorkerId) -> Result<(PathBuf, Arc<dyn DiskFile>), CareError> {
        let dir = self.new.join("left-behind");
        self.disk.create_dir(&dir)?;
        let path = dir.join(format!("{worker_id}.jsonl"));
        let file = self.disk.create(&path)?;
        self.disk.sync_dir(&dir)?;
        Ok((path, file))
    }

    /// An event as the API's frame; its bytes in Base64 where it does not decode.
    fn event(&self, worker_id: &WorkerId, event: &StoredEvent) -> String {
        let StoredEvent { sequence, number: _, position: _, tag, payload } = event;
        let (sequence, tag) = (*sequence, *tag);
        let text = unstamped(payload).and_then(|(observed_at, body)| {
            self.codec.text(&Kept::Event { worker_id, sequence, observed_at, tag, body: &body })
        });
        text.unwrap_or_else(|| {
            format!("{{\"sequence\":{sequence},\"tag\":{tag},\"payload\":\"{}\"}}", STANDARD.encode(payload))
        })
    }
}
