//! `workplane store`: what can be done with a data directory whose server does not run.

use std::io::{self, Write};
use std::path::Path;

use crate::cli::{Failure, StoreAction, StoreCommand};
use crate::engine::store::disk::RealDisk;
use crate::engine::store::{CareError, Finding, Salvaged, Verified, salvage, verify};
use crate::model::RuntimeId;
use crate::proto::ProtoRecords;
use crate::registry::check_kept;

/// Does what was asked. What is found goes to standard output.
///
/// # Errors
/// [`Failure::Usage`] where it could not be done, [`Failure::Other`] where something is damaged.
pub fn store(command: StoreCommand) -> Result<(), Failure> {
    match command.action {
        StoreAction::Verify { dir } => verify_dir(&dir),
        StoreAction::Salvage { dir, new, runtime_id } => salvage_dir(&dir, &new, runtime_id.as_ref()),
    }
}

fn verify_dir(dir: &Path) -> Result<(), Failure> {
    let verified = verify(&RealDisk, dir, &ProtoRecords, &check_kept).map_err(not_done)?;
    let Verified { segments, bytes, workers, events, records, findings, notes } = &verified;
    let mut output = io::stdout().lock();
    for note in notes {
        writeln!(output, "note: {note}")?;
    }
    print(&mut output, findings)?;
    let dir = dir.display();
    writeln!(
        output,
        "{dir}: {workers} workers, {events} events, {records} records; {segments} segments, {bytes} bytes"
    )?;
    match findings.len() {
        0 => Ok(writeln!(output, "{dir}: sound")?),
        count => Err(Failure::Other(format!("{dir}: damaged in {}", places(count)))),
    }
}

fn salvage_dir(dir: &Path, new: &Path, runtime_id: Option<&RuntimeId>) -> Result<(), Failure> {
    if is_within(new, dir) {
        let (dir, new) = (dir.display(), new.display());
        return Err(Failure::Usage(format!("{new}: is within {dir}, in which nothing is changed: name another place")));
    }
    let Salvaged { workers, events, records, left } =
        salvage(&RealDisk, dir, new, runtime_id, &ProtoRecords, &check_kept).map_err(not_done)?;
    let mut output = io::stdout().lock();
    print(&mut output, &left)?;
    writeln!(output, "{}: {workers} workers, {events} events, {records} records are served from it", new.display())?;
    match left.len() {
        0 => Ok(writeln!(output, "{}: all was copied", dir.display())?),
        count => Err(Failure::Other(format!("{}: left behind in {}", dir.display(), places(count)))),
    }
}

/// Whether a directory that may not be there yet lies in another one, or in one of its logs.
fn is_within(new: &Path, dir: &Path) -> bool {
    let Ok(new) = std::path::absolute(new) else { return false };
    let Some(there) = new.ancestors().find_map(|above| above.canonicalize().ok()) else { return false };
    let parts = [dir.to_owned(), dir.join("log"), dir.join("control")];
    parts.iter().filter_map(|part| part.canonicalize().ok()).any(|part| there.starts_with(part))
}

fn print(output: &mut impl Write, findings: &[Finding]) -> io::Result<()> {
    findings.iter().try_for_each(|Finding { place, worker_id }| match worker_id {
        Some(worker_id) => writeln!(output, "{place} ({worker_id})"),
        None => writeln!(output, "{place}"),
    })
}

fn places(count: usize) -> String {
    if count == 1 { "1 place".to_owned() } else { format!("{count} places") }
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped over errors")]
fn not_done(error: CareError) -> Failure {
    let CareError::Unfinished { new, source: _ } = &error else { return Failure::Usage(error.to_string()) };
    // It was empty: all that is in it was made here. One that cannot go itself, like a mount point, is empty again.
    let removed = std::fs::remove_dir_all(new);
    let left = removed.is_err() && new.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    let end = if left { "remove it before it is made again" } else { "what was made of it was removed" };
    Failure::Usage(format!("{error}; {end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_of_a_copy_that_could_not_be_finished_is_removed() {
        let top = tempfile::tempdir().unwrap();
        let new = top.path().join("new");
        std::fs::create_dir_all(new.join("log")).unwrap();
        std::fs::write(new.join("log/00000000000000000001.seg"), "half").unwrap();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let told = not_done(CareError::Unfinished { new: new.clone(), source: Box::new(full.into()) }).to_string();
        let place = format!("{}: the copy could not be finished: no storage space", new.display());
        assert!(told.starts_with(&place) && told.ends_with("; what was made of it was removed"), "{told}");
        assert!(!new.exists());
    }
}
