//! `workplane store`: what is said of a data directory, and what of it can be copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tonic::Code;

use crate::support::{Client, EMBEDDED, Running, Worker, refusal, run};

/// A control plane that keeps its state in a directory, and the worker that it has.
struct Bed {
    top: tempfile::TempDir,
    plane: Running,
    worker: Worker,
}

/// What a command said, and what it ended with.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Bed {
    /// One worker that was told three things.
    async fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let plane = start(&top.path().join("old")).await;
        let worker = Worker::spawn(Client::new(plane.address(), None), EMBEDDED, "builtin:coder").await;
        for content in ["the first thing", "the second thing", "the third thing"] {
            worker.send(content).await;
        }
        Self { top, plane, worker }
    }

    fn old(&self) -> PathBuf {
        self.top.path().join("old")
    }

    fn new_dir(&self) -> PathBuf {
        self.top.path().join("new")
    }

    async fn verify(&self, dir: &Path) -> Said {
        said(run(&["store", "verify", dir.to_str().unwrap()]).await)
    }

    async fn salvage(&self) -> Said {
        let (old, new) = (self.old(), self.new_dir());
        said(run(&["store", "salvage", old.to_str().unwrap(), new.to_str().unwrap()]).await)
    }

    /// The worker as a control plane on another directory has it.
    async fn in_copy(&self) -> (Running, Worker) {
        let plane = start(&self.new_dir()).await;
        let worker = self.worker.through(Client::new(plane.address(), None));
        (plane, worker)
    }
}

/// What the worker was told, as far as its transcript has it.
async fn told(worker: &Worker) -> Vec<String> {
    let contents = worker.transcript(256).await.into_iter().map(|item| item.content);
    contents.filter(|content| content.ends_with(" thing")).collect()
}

async fn start(dir: &Path) -> Running {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", dir.to_str().unwrap()];
    Running::start("a control plane", &arguments).await
}

fn said(Output { status, stdout, stderr }: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Changes a byte in the segment of the runtime's log, where `text` stands.
fn hit(dir: &Path, text: &str) {
    let segments = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    for segment in segments.filter(|path| path.extension().is_some_and(|it| it == "seg")) {
        let mut bytes = fs::read(&segment).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text.as_bytes()) {
            bytes[at] ^= 1;
            return fs::write(&segment, bytes).unwrap();
        }
    }
    panic!("nowhere in {}: {text}", dir.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_sound_after_a_kill_and_is_copied_whole() {
    // acceptance 132
    let mut bed = Bed::new().await;
    let running = bed.verify(&bed.old()).await;
    assert_eq!(running.code, Some(2), "{}", running.stdout);
    assert!(running.stderr.contains("is in use by another process (pid "), "{}", running.stderr);
    bed.plane.kill().await;

    let sound = bed.verify(&bed.old()).await;
    assert_eq!(sound.code, Some(0), "{}{}", sound.stdout, sound.stderr);
    assert!(sound.stdout.contains(": 1 workers, ") && sound.stdout.ends_with(": sound\n"), "{}", sound.stdout);
    let copied = bed.salvage().await;
    assert_eq!(copied.code, Some(0), "{}{}", copied.stdout, copied.stderr);
    assert!(copied.stdout.ends_with(": all was copied\n"), "{}", copied.stdout);
    assert_eq!(bed.verify(&bed.new_dir()).await.code, Some(0));
    let (_plane, worker) = bed.in_copy().await;
    assert_eq!(told(&worker).await, ["the first thing", "the second thing", "the third thing"]);

    let again = bed.salvage().await;
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains(": is not empty"), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_with_file_offset_and_worker_and_the_rest_is_copied() {
    // acceptance 132
    let mut bed = Bed::new().await;
    bed.plane.kill().await;
    hit(&bed.old(), "the second thing");
    let worker_id = format!("({})", bed.worker.worker_id);
    let damaged = bed.verify(&bed.old()).await;
    assert_eq!(damaged.code, Some(1), "{}{}", damaged.stdout, damaged.stderr);
    assert!(damaged.stdout.starts_with("log/00000000000000000001.seg: offset "), "{}", damaged.stdout);
    assert!(damaged.stdout.contains(&worker_id), "{}", damaged.stdout);
    assert!(damaged.stderr.ends_with(": damaged in 1 place\n"), "{}", damaged.stderr);

    let mut serving = start(&bed.old()).await;
    let endpoint = format!("http://{}", serving.address());
    let listed = said(run(&["workers", "--endpoint", &endpoint]).await).stdout;
    assert!(listed.contains("failed (quarantined)"), "{listed}");
    let refused = said(run(&["send", &bed.worker.worker_id, "more", "--endpoint", &endpoint]).await).stderr;
    assert!(refused.contains("workplane workers delete") && refused.contains("workplane store salvage"), "{refused}");
    serving.kill().await;
    // By one name in every line.
    let (log, uuid) = (serving.log(), bed.worker.worker_id.strip_prefix("worker-").unwrap());
    assert!(log.matches(uuid).count() > 1, "{log}");
    assert_eq!(log.matches(uuid).count(), log.matches(&bed.worker.worker_id).count(), "{log}");

    let copied = bed.salvage().await;
    assert_eq!(copied.code, Some(1), "{}{}", copied.stdout, copied.stderr);
    assert!(
        copied.stdout.contains("of which 1 cannot be read") && copied.stdout.contains(&worker_id),
        "{}",
        copied.stdout
    );
    let sound = bed.verify(&bed.new_dir()).await;
    assert_eq!(sound.code, Some(0), "{}", sound.stdout);
    // Readable as it stands: frames of the API.
    let left = bed.new_dir().join(format!("left-behind/{}.jsonl", bed.worker.worker_id));
    let left = fs::read_to_string(left).unwrap();
    assert!(left.lines().any(|line| line.contains("\"content\":\"the first thing\"")), "{left}");
    // The worker is served from behind what was damaged, and says that it begins there.
    let (plane, worker) = bed.in_copy().await;
    let refused = worker.page(0, 256).await.unwrap_err();
    assert_eq!(refusal(&refused).is(), (Code::OutOfRange, "CURSOR_EXPIRED"));
    let endpoint = format!("http://{}", plane.address());
    let rest = said(run(&["transcript", &worker.worker_id, "--start", "3", "--endpoint", &endpoint]).await);
    assert!(rest.stdout.contains("the third thing") && !rest.stdout.contains("the first thing"), "{}", rest.stdout);
    // A person is told what is missing, and what helps.
    for (arguments, told) in [
        (vec!["transcript"], "are no longer kept"),
        (vec!["observe", "--beginning"], "are no longer kept"),
        (vec!["transcript", "--start", "1"], "start is before the first item that is kept"),
        (vec!["transcript", "--start", "1"], "recovery: leave out --start"),
    ] {
        let line = [&arguments[..], &[&worker.worker_id, "--endpoint", &endpoint]].concat();
        let said = said(run(&line).await);
        assert!(said.stderr.contains(told), "{line:?}: {}", said.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_could_not_be_served_is_not_in_the_copy_and_all_of_it_can_be_read() {
    let mut bed = Bed::new().await;
    bed.plane.kill().await;
    // Its origin names its profile.
    hit(&bed.old(), "builtin:coder");
    let copied = bed.salvage().await;
    assert_eq!(copied.code, Some(1), "{}{}", copied.stdout, copied.stderr);
    assert!(
        copied.stdout.contains("0 workers, 0 events") && copied.stdout.contains("left-behind"),
        "{}",
        copied.stdout
    );
    let left = bed.new_dir().join(format!("left-behind/{}.jsonl", bed.worker.worker_id));
    let left = fs::read_to_string(left).unwrap();
    assert!(left.starts_with("{\"worker_row\":{") && left.contains("\"content\":\"the third thing\""), "{left}");
    let copy = bed.verify(&bed.new_dir()).await;
    assert_eq!(copy.code, Some(0), "{}", copy.stdout);
    let (_plane, worker) = bed.in_copy().await;
    assert_eq!(refusal(&worker.page(0, 1).await.unwrap_err()).is(), (Code::NotFound, "UNKNOWN_WORKER"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_does_not_go_into_its_source() {
    let mut bed = Bed::new().await;
    bed.plane.kill().await;
    let old = bed.old();
    for new in [old.join("sub"), old.join("log/sub"), old.join("log/../control/deep/sub")] {
        let said = said(run(&["store", "salvage", old.to_str().unwrap(), new.to_str().unwrap()]).await);
        assert_eq!(said.code, Some(2), "{}", said.stdout);
        assert!(said.stderr.contains("in which nothing is changed"), "{}", said.stderr);
        assert!(!new.exists());
    }
    assert_eq!(bed.verify(&old).await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_is_told_and_nobody_starts_without_it() {
    // acceptance 130
    for log in ["log", "control"] {
        let mut bed = Bed::new().await;
        bed.plane.kill().await;
        fs::remove_dir_all(bed.old().join(log)).unwrap();
        let damaged = bed.verify(&bed.old()).await;
        assert_eq!(damaged.code, Some(1), "{}{}", damaged.stdout, damaged.stderr);
        assert!(damaged.stdout.starts_with(&format!("{log}: offset 0: it is gone")), "{}", damaged.stdout);
        let old = bed.old();
        let refused = said(run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", old.to_str().unwrap()]).await);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
        assert!(refused.stderr.contains(&format!("/{log}: is gone")), "{}", refused.stderr);
        assert!(refused.stderr.contains("restore a backup"), "{}", refused.stderr);
        // What is left may be gone on with, if that is asked for.
        let copied = bed.salvage().await;
        assert!(copied.stdout.starts_with(&format!("{log}: offset 0: it is gone")), "{}", copied.stdout);
        let (_plane, worker) = bed.in_copy().await;
        if log == "control" {
            assert_eq!(told(&worker).await, ["the first thing", "the second thing", "the third thing"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_where_a_file_should_is_refused_and_holds_nobody_up() {
    let mut bed = Bed::new().await;
    bed.plane.kill().await;
    let (old, new) = (bed.old(), bed.new_dir());
    let (dir, new) = (old.to_str().unwrap(), new.to_str().unwrap());
    for file in ["identity", "LOCK", "witness", "log/LOCK", "log/00000000000000000001.seg", "control/LOCK"] {
        let (path, aside) = (old.join(file), bed.top.path().join("aside"));
        for kind in ["mkfifo", "mkdir"] {
            fs::rename(&path, &aside).unwrap();
            assert!(std::process::Command::new(kind).arg(&path).status().unwrap().success());
            for arguments in [
                &["store", "verify", dir][..],
                &["store", "salvage", dir, new],
                &["serve", "--listen", "127.0.0.1:0", "--data-dir", dir],
            ] {
                let said = said(run(arguments).await);
                assert!(matches!(said.code, Some(1 | 2)), "{kind} {file}: {arguments:?}: {}", said.stderr);
                assert!(said.stderr.contains(path.to_str().unwrap()), "{kind} {file}: {arguments:?}: {}", said.stderr);
            }
            if kind == "mkdir" {
                fs::remove_dir(&path).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            fs::rename(&aside, &path).unwrap();
        }
    }
    assert!(!Path::new(new).exists(), "nothing was copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_store_is_said_to_be_none() {
    let (top, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (dir, new) = (top.path().to_str().unwrap(), other.path().join("new"));
    for arguments in [&["store", "verify", dir][..], &["store", "salvage", dir, new.to_str().unwrap()]] {
        let said = said(run(arguments).await);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
        assert!(said.stderr.contains("there is no store in this directory"), "{}", said.stderr);
    }
    assert!(!new.exists(), "nothing is made for nothing");
}
