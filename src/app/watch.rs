//! Files that are looked after while a server runs: what has changed is read again, and put in force whole. What cannot
//! be read changes nothing, and is told once.
//!
//! They are looked at four times a second, on a thread that may wait for a disk, and read once two looks in a row found
//! the same: so nothing is taken that is still being written, and what was written is in force within a second.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::expiry::Reminders;
use crate::config::{BadFile, FileKind};
use crate::metrics::WatchedFile;
use crate::tls::CertificateDer;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Puts in force what was read.
pub(super) type Apply = Box<dyn FnOnce() + Send>;

/// Files that are read together.
pub(super) struct Group {
    /// What they are, for people.
    what: String,
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<Apply, BadFile> + Send + Sync>,
    showing: Option<(PathBuf, Showing)>,
}

/// The certificate that is in force.
type Showing = Box<dyn Fn() -> Option<CertificateDer<'static>> + Send + Sync>;

/// What tells that a file is another one than before: who it is, how long, and when it and its mode were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([i128; 5]);

/// How the files of a group were found; `None` where one is not there.
type Stamps = Vec<Option<Stamp>>;

/// What is known of a group.
#[derive(Debug, Clone, Default)]
struct Known {
    /// As the files were when they were read last.
    read: Option<Stamps>,
    /// As they were at the last look.
    seen: Stamps,
    /// When they are read once more, changed or not: they were too early.
    again: Option<SystemTime>,
}

/// A look at one group.
struct Look {
    seen: Stamps,
    /// Where it was time to read.
    read: Option<Result<Apply, BadFile>>,
}

/// Looks after groups of files.
pub(super) struct Watch {
    groups: Arc<Vec<Group>>,
    known: Vec<Known>,
    due: Instant,
    reminders: Reminders,
    /// Whether it was said that it has begun.
    told: bool,
}

impl Group {
    /// Files that `read` reads; what that returns puts in force what they say.
    pub(super) fn new(
        what: impl Into<String>,
        files: impl Into<Vec<PathBuf>>,
        read: impl Fn() -> Result<Apply, BadFile> + Send + Sync + 'static,
    ) -> Self {
        Self { what: what.into(), files: files.into(), read: Box::new(read), showing: None }
    }

    /// The certificate of this file is shown: it is told in time that it runs out.
    pub(super) fn showing(
        self,
        file: PathBuf,
        showing: impl Fn() -> Option<CertificateDer<'static>> + Send + Sync + 'static,
    ) -> Self {
        Self { showing: Some((file, Box::new(showing))), ..self }
    }

    fn look(&self, known: &Known) -> Look {
        let seen = self.stamps();
        let is_due = known.again.is_some_and(|at| at <= SystemTime::now());
        if known.seen != seen || known.read.as_ref() == Some(&seen) && !is_due {
            return Look { seen, read: None };
        }
        let read = (self.read)();
        // Changed while they were read: another look will do.
        let settled = self.stamps() == seen;
        Look { seen, read: settled.then_some(read) }
    }

    fn stamps(&self) -> Stamps {
        self.files.iter().map(|file| Stamp::of(file)).collect()
    }
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok()?;
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Some(Self([
            found.dev().into(),
            found.ino().into(),
            found.len().into(),
            nanos(found.mtime(), found.mtime_nsec()),
            nanos(found.ctime(), found.ctime_nsec()),
        ]))
    }
}

impl Watch {
    /// Looks after these. They are all read once at the beginning: what changed since they were read before is not missed.
    pub(super) fn new(groups: Vec<Group>) -> Self {
        let known = vec![Known::default(); groups.len()];
        Self { groups: Arc::new(groups), known, due: Instant::now(), reminders: Reminders::default(), told: false }
    }

    /// Goes on for ever. Where it is dropped it may be called again, and nothing is missed.
    pub(super) async fn follow(&mut self) -> Infallible {
        loop {
            sleep_until(self.due).await;
            let (groups, known) = (Arc::clone(&self.groups), self.known.clone());
            let look = move || groups.iter().zip(&known).map(|(group, known)| group.look(known)).collect::<Vec<_>>();
            // Without a look there is nothing to be done; a panic has been told.
            let looks = spawn_blocking(look).await.unwrap_or_default();
            for ((group, known), look) in self.groups.iter().zip(&mut self.known).zip(looks) {
                known.take(group, look);
            }
            self.remind();
            self.tell();
            self.due = Instant::now() + EVERY;
        }
    }

    /// Says which certificates run out.
    fn remind(&mut self) {
        for group in self.groups.iter() {
            if let Some((file, showing)) = &group.showing
                && let Some(certificate) = showing()
            {
                self.reminders.tell(&group.what, file, &certificate);
            }
        }
    }

    /// Says once that from now on every change is news.
    fn tell(&mut self) {
        if !self.told && !self.known.is_empty() && self.known.iter().all(|known| known.read.is_some()) {
            let files = self.groups.iter().map(|group| group.files.len()).sum::<usize>();
            tracing::info!(files, "files are looked after: what changes is read again");
            self.told = true;
        }
    }
}

impl Known {
    fn take(&mut self, group: &Group, Look { seen, read }: Look) {
        self.seen = seen;
        let Some(read) = read else { return };
        let is_first = self.read.replace(self.seen.clone()).is_none();
        let what = &group.what;
        self.again = None;
        match read {
            Ok(apply) => {
                apply();
                if !is_first {
                    tracing::info!(what, "a file has changed, and was read again");
                }
            }
            Err(bad) => {
                self.again = bad.usable_from;
                counted(bad.kind).refused();
                tracing::error!(what, problem = %bad, "a file cannot be used: what was read before stays in force");
            }
        }
    }
}

fn counted(kind: FileKind) -> WatchedFile {
    match kind {
        FileKind::Tokens => WatchedFile::Tokens,
        FileKind::Certificate => WatchedFile::Certificate,
        FileKind::Authority => WatchedFile::Authority,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use parking_lot::Mutex;
    use tokio::sync::Notify;

    use super::*;

    /// What was put in force, and how often a file was read.
    #[derive(Default)]
    struct Told {
        in_force: Mutex<Vec<String>>,
        reads: Mutex<u32>,
        news: Notify,
    }

    fn group(file: &Path, told: &Arc<Told>) -> Group {
        let (path, told) = (file.to_owned(), Arc::clone(told));
        Group::new("a file", [file.to_owned()], move || {
            *told.reads.lock() += 1;
            told.news.notify_one();
            let bad = |said: String| BadFile::of_tokens(&path, said);
            let text = fs::read_to_string(&path).map_err(|error| bad(error.to_string()))?;
            if text.is_empty() {
                return Err(bad("is empty".to_owned()));
            }
            if text == "early" && *told.reads.lock() < 2 {
                let mut early = bad("is early".to_owned());
                early.usable_from = Some(SystemTime::UNIX_EPOCH);
                return Err(early);
            }
            let told = Arc::clone(&told);
            Ok(Box::new(move || {
                told.in_force.lock().push(text);
                told.news.notify_one();
            }))
        })
    }

    impl Told {
        async fn until(&self, done: impl Fn(&Self) -> bool) {
            while !done(self) {
                self.news.notified().await;
            }
        }
    }

    #[tokio::test]
    async fn what_has_changed_is_put_in_force_and_what_is_broken_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "one").unwrap();
        let told = Arc::new(Told::default());
        let mut watch = Watch::new(vec![group(&file, &told)]);
        let watching = tokio::spawn(async move { watch.follow().await });
        told.until(|told| *told.in_force.lock() == ["one"]).await;

        fs::write(&file, "").unwrap();
        told.until(|told| *told.reads.lock() == 2).await;
        fs::remove_file(&file).unwrap();
        told.until(|told| *told.reads.lock() == 3).await;

        // In place of it, as who exchanges files with care does it, and of the same length.
        let other = directory.path().join("other");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &file).unwrap();
        told.until(|told| *told.in_force.lock() == ["one", "two"]).await;
        watching.abort();
    }

    /// Puts these files where they are looked for, as the kubelet puts a Secret there: all of them at once.
    fn mount(mounted: &Path, generation: &str, files: &[(&str, &str)]) {
        let (data, next, made) = (mounted.join("..data"), mounted.join("..data_tmp"), format!("..{generation}"));
        fs::create_dir(mounted.join(&made)).unwrap();
        for (name, text) in files {
            fs::write(mounted.join(&made).join(name), text).unwrap();
            // It is there from the first time on.
            _ = symlink(Path::new("..data").join(name), mounted.join(name));
        }
        let before = fs::read_link(&data);
        symlink(&made, &next).unwrap();
        fs::rename(&next, &data).unwrap();
        if let Ok(before) = before {
            fs::remove_dir_all(mounted.join(before)).unwrap();
        }
    }

    #[tokio::test]
    async fn what_kubernetes_mounts_is_followed_and_files_of_one_secret_are_exchanged_together() {
        let directory = tempfile::tempdir().unwrap();
        let mounted = directory.path().to_owned();
        mount(&mounted, "1", &[("tls.crt", "one"), ("tls.key", "one")]);
        let told = Arc::new(Told::default());
        let (files, telling) = (["tls.crt", "tls.key"].map(|name| mounted.join(name)), Arc::clone(&told));
        let group = Group::new("a pair", files.clone(), move || {
            let [certificate, key] = files.clone().map(|file| fs::read_to_string(file).unwrap_or_default());
            let told = Arc::clone(&telling);
            Ok(Box::new(move || {
                told.in_force.lock().push(format!("{certificate} {key}"));
                told.news.notify_one();
            }))
        });
        let mut watch = Watch::new(vec![group]);
        let watching = tokio::spawn(async move { watch.follow().await });
        told.until(|told| *told.in_force.lock() == ["one one"]).await;
        mount(&mounted, "2", &[("tls.crt", "two"), ("tls.key", "two")]);
        told.until(|told| *told.in_force.lock() == ["one one", "two two"]).await;
        watching.abort();
    }

    #[test]
    fn what_is_still_being_written_is_not_read_and_what_was_read_is_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let told = Arc::new(Told::default());
        let (group, mut known) = (group(&file, &told), Known::default());
        let mut look = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&file, text).unwrap();
            }
            let look = group.look(&known);
            let was_read = look.read.is_some();
            known.take(&group, look);
            was_read
        };
        let looks = [Some("a"), Some("ab"), Some("abc"), None, None, Some("b"), None, None].map(&mut look);
        assert_eq!(looks, [false, false, false, true, false, false, true, false]);
        assert_eq!(*told.in_force.lock(), ["abc", "b"]);
    }
    #[test]
    fn what_was_read_too_early_is_read_again_once_its_time_has_come() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "early").unwrap();
        let told = Arc::new(Told::default());
        let (group, mut known) = (group(&file, &told), Known::default());
        for _ in 0..4 {
            let look = group.look(&known);
            known.take(&group, look);
        }
        assert_eq!((&*told.in_force.lock(), *told.reads.lock()), (&vec!["early".to_owned()], 2));
    }
}
