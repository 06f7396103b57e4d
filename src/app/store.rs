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
    let Salvaged { workers, events, records, left } =
        salvage(&RealDisk, dir, new, runtime_id, &ProtoRecords).map_err(not_done)?;
    let mut output = io::stdout().lock();
    print(&mut output, &left)?;
    writeln!(output, "{}: {workers} workers, {events} events, {records} records", new.display())?;
    match left.len() {
        0 => Ok(writeln!(output, "{}: all was copied", dir.display())?),
        count => Err(Failure::Other(format!("{}: left behind in {}", dir.display(), places(count)))),
    }
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
    Failure::Usage(error.to_string())
}
