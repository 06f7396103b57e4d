//! Files that are looked after while a server runs: what has changed is read again, and put in force whole. What cannot
//! be read changes nothing, and is told once.
//!
//! They are looked at four times a second, on a thread that may wait for a disk, and read once two looks in a row found
//! the same: so nothing is taken that is still being written, and what was written is in force within a second.

use std::convert::Infallible;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Puts in force what was read.
pub(super) type Apply = Box<dyn FnOnce() + Send>;

/// Files that are read together.
pub(super) struct Group {
    /// What they are, for people.
    what: String,
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<Apply, String> + Send + Sync>,
}

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
}

/// A look at one group.
struct Look {
    seen: Stamps,
    /// Where it was time to read.
    read: Option<Result<Apply, String>>,
}

/// Looks after groups of files.
pub(super) struct Watch {
    groups: Arc<Vec<Group>>,
    known: Vec<Known>,
    due: Instant,
    /// Whether it was said that it has begun.
    told: bool,
}

impl Group {
    /// Files that `read` reads; what that returns puts in force what they say.
    pub(super) fn new(
        what: impl Into<String>,
        files: impl Into<Vec<PathBuf>>,
        read: impl Fn() -> Result<Apply, String> + Send + Sync + 'static,
    ) -> Self {
        Self { what: what.into(), files: files.into(), read: Box::new(read) }
    }

    fn look(&self, known: &Known) -> Look {
        let seen = self.stamps();
        if known.seen != seen || known.read.as_ref() == Some(&seen) {
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
        Self { groups: Arc::new(groups), known, due: Instant::now(), told: false }
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
            self.tell();
            self.due = Instant::now() + EVERY;
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
        match read {
            Ok(apply) => {
                apply();
                if !is_first {
                    tracing::info!(what, "a file has changed, and was read again");
                }
            }
            Err(problem) => {
                tracing::error!(what, problem, "a file cannot be used: what was read before stays in force");
            }
        }
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
            let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
            if text.is_empty() {
                return Err("is empty".to_owned());
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
}
