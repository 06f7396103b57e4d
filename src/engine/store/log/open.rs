//! Opens a log: what the scan found is made good as far as that can be done, and the writer goes on behind it.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::RwLock;

use super::clean::Cleaning;
use super::damage::Findings;
use super::format::Seal;
use super::group::Group;
use super::measures::Measures;
use super::queue::Queue;
use super::room::Room;
use super::scan::{Scanned, Tail, scan};
use super::segment::Active;
use super::settle::Settle;
use super::shared::{Shared, State, segment_path};
use super::stage::Stage;
use super::trouble::Trouble;
use super::types::{LogId, LogOptions, Recovered};
use super::window::read_full;
use super::writer::{Head, Writer};
use crate::engine::store::disk::{Disk, DiskLock};

/// Places that are told one by one.
const TOLD: usize = 100;
/// Torn tails that are kept to be looked at.
const KEPT_ASIDE: usize = 16;

impl Scanned {
    pub(super) fn recovered(&self) -> Recovered {
        let Findings { damage, notes, .. } = &self.findings;
        Recovered { damage: damage.clone(), notes: notes.clone(), last_position: self.position - 1 }
    }

    pub(super) fn into_shared(self, log: LogId) -> Shared {
        let Self { index, segments, ends, .. } = self;
        Shared {
            log,
            state: RwLock::new(State { index, segments, ends, groups: 0, submissions: 0 }),
            failing: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }
}

/// Everything that a log is made of, but its thread.
pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path, mut options: LogOptions) -> io::Result<(Writer, Recovered)> {
    options.segment_bytes = options.segment_bytes.clamp(1 << 13, 128 << 20);
    disk.create_dir(dir)?;
    let lock = disk.lock(&dir.join("LOCK"))?;
    let mut scanned = scan(&*disk, dir, options.numbered_tag)?;
    let recovered = scanned.recovered();
    tell(dir, &recovered);
    // Where something is wrong, nothing is thrown away that somebody may want to look at.
    if recovered.damage.is_empty() {
        remove_leftovers(&*disk, dir, &scanned.leftovers);
    }
    let tail = scanned.tail.take();
    let (fresh, marked) = (tail.is_none(), tail.as_ref().is_none_or(|tail| tail.marked));
    let active = match tail {
        Some(tail) => secure(&*disk, dir, &tail, &mut scanned)?,
        None => None,
    };
    let mut writer = writer(disk, dir, options, scanned, active, lock);
    writer.marked = marked;
    if writer.active.is_none() {
        let begun = writer.begin_segment(0, Room::Ordinary);
        match begun {
            // Reading goes on, and every commit tries again.
            Err(error) if !fresh => tracing::error!("{}: nothing can be written for now: {error}", dir.display()),
            begun => begun?,
        }
    }
    Ok((writer, recovered))
}

fn tell(dir: &Path, recovered: &Recovered) {
    recovered.notes.iter().take(TOLD).for_each(|note| tracing::info!("{note}"));
    for damage in recovered.damage.iter().take(TOLD) {
        let owner = damage.owner.map(|owner| format!(" (of {owner})")).unwrap_or_default();
        tracing::error!("{damage}{owner}");
    }
    let rest = recovered.damage.len().saturating_sub(TOLD);
    if rest > 0 {
        tracing::error!("{}: {rest} more places are damaged", dir.display());
    }
    if !recovered.damage.is_empty() {
        tracing::error!(
            "{}: what is damaged is told at every start, and its segments are kept, until each worker that was hit is deleted \
             (`workplane workers delete`), or what can be read is copied into a new directory (`workplane store salvage`)",
            dir.display()
        );
    }
}

fn remove_leftovers(disk: &dyn Disk, dir: &Path, leftovers: &[u32]) {
    for number in leftovers {
        let path = segment_path(dir, *number);
        if let Err(error) = disk.remove(&path) {
            tracing::warn!("{}: offset 0: the segment is not needed any more and stays: {error}", path.display());
        }
    }
}

fn writer(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: LogOptions,
    scanned: Scanned,
    active: Option<Active>,
    lock: Box<dyn DiskLock>,
) -> Writer {
    let log = scanned.log.unwrap_or_else(|| LogId(rand::random()));
    let newest = scanned.segments.keys().next_back().copied().unwrap_or(0);
    let head = Head {
        newest,
        end: scanned.ends.get(&newest).copied().unwrap_or(0),
        oldest: scanned.oldest,
        position: scanned.position,
        ordinal: scanned.ordinal,
    };
    Writer {
        queue: Arc::new(Queue::new(options.queue_submissions, options.queue_bytes)),
        settle: Settle::on(options.settle_on.as_ref()),
        measures: Measures::of(options.name),
        cleaning: Cleaning::new(scanned.findings.pins.clone(), scanned.findings.is_unread),
        sync_took: Duration::ZERO,
        group: Group::new(Seal::new(log, newest)),
        shared: Arc::new(scanned.into_shared(log)),
        stage: Stage::default(),
        dir: dir.to_path_buf(),
        marked: true,
        trouble: Trouble::default(),
        failures: 0,
        is_full: false,
        lock: Some(lock),
        disk,
        options,
        head,
        active,
    }
}

/// Makes the end of the newest segment certain. `Some`: it can be gone on with.
fn secure(disk: &dyn Disk, dir: &Path, tail: &Tail, scanned: &mut Scanned) -> io::Result<Option<Active>> {
    let path = segment_path(dir, tail.number);
    let file = disk.open(&path, true)?;
    // Whoever is told of a fault is told of its place.
    let at =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: offset {}: {error}", path.display(), tail.end));
    if let Some(torn) = &tail.torn
        && let Err(error) = set_aside(disk, dir, &path, torn)
    {
        tracing::warn!("{}: offset {}: could not be set aside: {error}", path.display(), torn.start);
    }
    // It may be in memory only: a sync that failed before forgot it. Written again, it is synced in truth.
    if let Some(last) = &tail.last {
        let mut bytes = vec![0; usize::try_from(last.end - last.start).unwrap_or(0)];
        let read = read_full(&*file, &mut bytes, last.start).map_err(at)?;
        file.write_at(&bytes[..read], last.start).map_err(at)?;
    }
    file.sync_data().map_err(at)?;
    disk.sync_dir(dir)?;
    let Some(header) = tail.header.filter(|_| tail.resumable) else {
        // Zeros at most: room that was taken ahead, and is wanted for the next segment.
        trim_zeros(&*file, tail.torn.as_ref().map_or(tail.end, |torn| torn.end));
        return Ok(None);
    };
    let active = Active::resume(tail.number, path.clone(), file, tail.end)?;
    if tail.last.is_none() {
        active.begin(disk, dir, &header)?;
    }
    let segment = super::shared::Segment { path, file: Arc::clone(&active.file) };
    scanned.segments.insert(tail.number, Arc::new(segment));
    Ok(Some(active))
}

fn trim_zeros(file: &dyn crate::engine::store::disk::DiskFile, end: u64) {
    if file.length().is_ok_and(|length| length > end) {
        // It only saves room.
        let _ = file.truncate(end);
    }
}

/// Keeps the bytes of a write that was cut short, for those who want to know.
fn set_aside(disk: &dyn Disk, dir: &Path, path: &Path, torn: &Range<u64>) -> io::Result<()> {
    let aside = dir.join("aside");
    disk.create_dir(&aside)?;
    let kept = disk.list(&aside)?;
    for old in kept.iter().take((kept.len() + 1).saturating_sub(KEPT_ASIDE)) {
        disk.remove(old)?;
    }
    let file = disk.open(path, false)?;
    let mut bytes = vec![0; usize::try_from(torn.end - torn.start).unwrap_or(0)];
    let read = read_full(&*file, &mut bytes, torn.start)?;
    let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let path = aside.join(format!("{name}-{:010}.torn", torn.start));
    let copy = match disk.create(&path) {
        // It was set aside before.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        copy => copy?,
    };
    let written = copy.write_at(&bytes[..read], 0).and_then(|()| copy.sync_data());
    if written.is_err() {
        // Half of it is of no use, and takes room that the log may need.
        disk.remove(&path)?;
    }
    written.and_then(|()| disk.sync_dir(&aside))
}
