//! Copies of a data directory in which something is wrong, under the real binary. That nothing is ever silently missing,
//! wherever a record is cut and whichever bit is flipped, is shown beside the log (`src/engine/store/log/tests`), byte by
//! byte; here it is shown for a few that a server starts all the same, serves the others and says whom it hit.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::load::{LANES, Load};
use crate::scene::{Scene, Setting};
use crate::server::Server;
use crate::support::{Chance, run, until};

/// How many bits are flipped, and at how many bytes the end is cut.
const FLIPS: usize = 12;
const CUTS: usize = 6;

/// A copy.
struct Copy {
    dir: TempDir,
}

impl Copy {
    fn of(data: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let copy = Self { dir };
        copy_all(data, &copy.data());
        copy
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The one segment of the runtime's log, and how much of it is used.
    fn segment(&self) -> (PathBuf, u64) {
        let path = self.data().join("log/00000000000000000001.seg");
        let used = fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
        (path, used as u64 + 1)
    }

    fn flip(&self, chance: &mut Chance) -> String {
        let (path, used) = self.segment();
        let (at, mask) = (chance.below(usize::try_from(used).unwrap()) as u64, 1 << chance.below(8));
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ mask], at).unwrap();
        format!("bit {mask:#x} of byte {at}")
    }

    fn cut(&self, chance: &mut Chance) -> String {
        let (path, used) = self.segment();
        let at = used - 1 - chance.below(600) as u64;
        OpenOptions::new().write(true).open(path).unwrap().set_len(at).unwrap();
        format!("cut at {at}")
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// What a server that starts on a copy has of each worker: whether it is quarantined, or else how many of the inputs that
/// were acknowledged it has, all from the first one on.
async fn found(scene: &Scene, server: &Server) -> Vec<Option<usize>> {
    let mut found = Vec::new();
    for book in &scene.books {
        let worker = book.worker.through(server.client());
        let now = worker.get().await;
        let mark = now.diagnostics.iter().find(|it| it.code == "worker_quarantined");
        found.push(match mark {
            Some(mark) => {
                assert!(mark.message.contains("log/00000000000000000001.seg: offset "), "{mark:?}");
                None
            }
            None => Some(book.beginning(&worker.transcript(256).await)),
        });
    }
    found
}

/// Starts a server on a copy to which this was done.
async fn on_a_copy(scene: &Scene, harm: impl FnOnce(&Copy) -> String) -> (String, Vec<Option<usize>>, Option<i32>) {
    let copy = Copy::of(scene.server.data());
    let what = harm(&copy);
    let verified = run(&["store", "verify", copy.data().to_str().unwrap()]).await;
    let mut server = scene.server_at(&copy.data());
    server.start().await;
    let found = found(scene, &server).await;
    server.kill().await;
    println!("{what}: {found:?}, {:?}", String::from_utf8_lossy(&verified.stderr).trim());
    (what, found, verified.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_a_flipped_bit_or_without_its_end_serves_all_but_whom_it_hit() {
    let mut scene = Scene::new(Setting::default()).await;
    let load = Load::new();
    let some = async |_: &mut Server| {
        until("some inputs", || async { (load.acknowledged() >= 60).then_some(()) }).await;
    };
    scene.tell(&load, "before", some).await;
    scene.server.kill().await;
    let all: Vec<_> = scene.books.iter().map(|book| Some(book.accepted())).collect();

    let mut hit = 0;
    let mut chance = crate::support::chance();
    for _ in 0..FLIPS {
        let (what, found, verified) = on_a_copy(&scene, |copy| copy.flip(&mut chance)).await;
        let other = found.iter().zip(&all).filter(|(found, all)| found != all).count();
        let quarantined = found.iter().filter(|found| found.is_none()).count();
        assert!(other == quarantined && quarantined <= 1, "{what}: {found:?} of {all:?}");
        assert!(quarantined == 0 || verified == Some(1), "{what}: found by the server, and not by `verify`");
        hit += quarantined;
    }
    println!("{hit} of {FLIPS} flips hit a worker");
    for _ in 0..CUTS {
        // What is cut off was written last: one group of what was on its way at once.
        let (what, found, _) = on_a_copy(&scene, |copy| copy.cut(&mut chance)).await;
        let (found, all) = (found.into_iter().collect::<Option<Vec<_>>>(), all.iter().flatten());
        let found = found.unwrap_or_else(|| panic!("{what}: an end that is missing is no damage"));
        let lost = all.sum::<usize>() - found.iter().sum::<usize>();
        assert!(lost <= LANES * scene.books.len(), "{what}: {lost} inputs are lost with the end");
    }
}
