//! The data directory: whose it is, whether it is free, how much room it has, and how fast its disk is.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access, statfs, statvfs};
use rustix::process::geteuid;
use tokio::time::Instant;

use super::Finding;
use crate::engine::store::disk::RealDisk;
use crate::engine::store::{DataDir, DataDirError, DirRole};
use crate::model::RuntimeId;

const WHAT: &str = "data_dir";
/// What a directory needs to open at all, and with what there is little to come (docs/operations.md).
const LEAST_ROOM: u64 = 8 << 20;
const LITTLE_ROOM: u64 = 1 << 30;
/// How often the disk is asked, and for how much, as a small commit would.
const SYNCS: usize = 50;
const SYNCED: [u8; 4096] = [0x5a; 4096];
/// A sync that takes longer is felt by whoever waits for an acknowledgement.
const SLOW_MOST: Duration = Duration::from_millis(10);
const SLOW_SOME: Duration = Duration::from_millis(50);
/// The kind of file system that is memory: statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// What there is to say of it, and whether a process has it.
pub(super) fn of(dir: Option<&Path>, role: DirRole, runtime_id: Option<&RuntimeId>) -> (Vec<Finding>, bool) {
    let Some(dir) = dir else {
        let seen = "none is named: state is kept in memory, and gone when the process ends";
        return (vec![Finding::warn(WHAT, seen, "name one, unless nothing of it is to last")], false);
    };
    let (state, in_use) = state(dir, role, runtime_id);
    let mut findings = vec![state];
    match existing(dir) {
        Some(there) => {
            findings.extend(access_to(&there, dir));
            findings.push(room(&there));
            findings.push(speed(&there));
        }
        None => findings.push(Finding::fail(WHAT, "nothing above it is there", "mount what it is to lie on")),
    }
    (findings, in_use)
}

/// Whose it is.
fn state(dir: &Path, role: DirRole, runtime_id: Option<&RuntimeId>) -> (Finding, bool) {
    let name = dir.display();
    if !dir.exists() {
        return (Finding::ok(WHAT, format!("{name} is not there yet, and is made at the first start")), false);
    }
    match DataDir::owner(&RealDisk, dir) {
        Ok(None) => (Finding::ok(WHAT, format!("{name} is new")), false),
        Ok(Some((has, _))) if has != role => {
            let seen = format!("{name} belongs to `workplane {}`", has.as_str());
            (Finding::fail(WHAT, seen, "name another directory"), false)
        }
        Ok(Some((_, Some(has)))) if runtime_id.is_some_and(|asked| *asked != has) => {
            let advice = "name that one as runtime_id, none, or another directory";
            (Finding::fail(WHAT, format!("{name} belongs to the runtime {has}"), advice), false)
        }
        Ok(Some((_, has))) => {
            let of = has.map(|id| format!(" of the runtime {id}")).unwrap_or_default();
            (Finding::ok(WHAT, format!("{name}: state{of}, which no process has open")), false)
        }
        Err(error @ DataDirError::InUse { .. }) => {
            (Finding::warn(WHAT, error.to_string(), "stop that one before another one is started on it"), true)
        }
        Err(error) => (Finding::fail(WHAT, error.to_string(), "see Backup and restore in docs/operations.md"), false),
    }
}

/// The directory, or what it would be made in.
fn existing(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    dir.ancestors().find(|above| above.is_dir()).map(Path::to_owned)
}

/// Whether it can be used by who looks, who is taken for who will start the server.
fn access_to(there: &Path, dir: &Path) -> Option<Finding> {
    let (owner, we) = (there.metadata().ok()?.uid(), geteuid().as_raw());
    let what = "data_dir owner";
    let name = there.display();
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let advice = format!("give it to the user that runs the server, or look as that one: chown {we} {name}");
        return Some(Finding::fail(
            what,
            format!("{name} belongs to user {owner}, and user {we} cannot write to it"),
            advice,
        ));
    }
    if there == dir && owner != we {
        let advice = "look as the user that runs the server";
        return Some(Finding::warn(what, format!("{name} belongs to user {owner}, and this is user {we}"), advice));
    }
    None
}

fn room(there: &Path) -> Finding {
    const WHAT: &str = "disk room";
    let left = match statvfs(there) {
        Ok(of) => of.f_bavail.saturating_mul(of.f_frsize),
        Err(error) => return Finding::warn(WHAT, format!("not to be learnt: {error}"), "look with df"),
    };
    let seen = format!("{} MiB are free at {}", left >> 20, there.display());
    if left < LEAST_ROOM {
        Finding::fail(WHAT, seen, "make room: a store does not open with less than 8 MiB")
    } else if left < LITTLE_ROOM {
        Finding::warn(WHAT, seen, "make room, or bound what is kept with [retention]: a full store takes nothing new")
    } else {
        Finding::ok(WHAT, seen)
    }
}

/// How long what an acknowledgement waits for takes.
fn speed(there: &Path) -> Finding {
    const WHAT: &str = "disk sync";
    let mut times = match Scratch::new(there).and_then(|mut scratch| scratch.time()) {
        Ok(times) => times,
        Err(error) => {
            let seen = format!("nothing can be written to {}: {error}", there.display());
            return Finding::fail(WHAT, seen, "see to it that the user of the server can write there");
        }
    };
    times.sort_unstable();
    let (half, most) = (times[SYNCS / 2 - 1], times[SYNCS * 99 / 100]);
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let seen = format!("{SYNCS} syncs of 4 KiB: p50 {:.2} ms, p99 {:.2} ms", ms(half), ms(most));
    if statfs(there).is_ok_and(|of| of.f_type == TMPFS) {
        Finding::warn(
            WHAT,
            format!("{seen}, in memory (tmpfs)"),
            "name a directory on a disk: this one is gone with the machine",
        )
    } else if half > SLOW_MOST || most > SLOW_SOME {
        let advice = "a slow disk: every acknowledgement waits for a sync; a local SSD takes well under 10 ms";
        Finding::warn(WHAT, seen, advice)
    } else {
        Finding::ok(WHAT, seen)
    }
}

/// A file that is gone with the value.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new(dir: &Path) -> io::Result<Self> {
        let path = dir.join(format!(".workplane-doctor-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, file })
    }

    fn time(&mut self) -> io::Result<Vec<Duration>> {
        let one = |_| {
            let began = Instant::now();
            self.file.write_all(&SYNCED)?;
            self.file.sync_data()?;
            Ok(began.elapsed())
        };
        (0..SYNCS).map(one).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It was made here, and by this name alone.
        let _ = std::fs::remove_file(&self.path);
    }
}
