//! What a data directory promises, on a real disk.

use std::fs;

use super::*;
use crate::engine::store::disk::RealDisk;

fn open(dir: &Path, role: DirRole, asked: Option<&str>) -> Result<DataDir, DataDirError> {
    let asked = asked.map(|id| RuntimeId::new(id).unwrap());
    DataDir::open(Arc::new(RealDisk), dir, role, asked.as_ref())
}

/// A directory that was opened and is served.
fn host(dir: &Path) -> DataDir {
    settled(dir, DirRole::Host, None)
}

fn settled(dir: &Path, role: DirRole, asked: Option<&str>) -> DataDir {
    let mut dir = open(dir, role, asked).unwrap();
    dir.settle(&[]).unwrap();
    dir
}

#[test]
fn a_runtime_without_an_id_keeps_the_one_that_was_made_for_it() {
    // acceptance 36
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("data");
    let first = host(&dir);
    let (id, incarnation) = (first.runtime_id().cloned(), first.incarnation());
    assert!(id.is_some());
    drop(first);
    let again = host(&dir);
    assert_eq!((again.runtime_id().cloned(), again.incarnation()), (id.clone(), incarnation));
    drop(again);
    assert_eq!(open(&dir, DirRole::Host, id.as_ref().map(RuntimeId::as_str)).unwrap().incarnation(), incarnation);
}

#[test]
fn another_runtime_and_the_other_role_are_refused_by_name() {
    // acceptance 130
    let top = tempfile::tempdir().unwrap();
    drop(open(top.path(), DirRole::Host, Some("host-a")).unwrap());
    let refused = open(top.path(), DirRole::Host, Some("host-b")).unwrap_err().to_string();
    assert!(refused.contains("the runtime host-a, and not to host-b"), "{refused}");
    let refused = open(top.path(), DirRole::ControlPlane, Some("host-a")).unwrap_err().to_string();
    assert!(refused.contains("`workplane runtime`, and not to `workplane serve`"), "{refused}");
    assert!(refused.starts_with(&top.path().display().to_string()));
}

#[test]
fn a_control_plane_notes_its_embedded_runtime_once_it_has_one() {
    let top = tempfile::tempdir().unwrap();
    let plane = |asked| open(top.path(), DirRole::ControlPlane, asked);
    let first = plane(None).unwrap();
    assert_eq!(first.runtime_id(), None);
    let incarnation = first.incarnation();
    drop(first);
    drop(settled(top.path(), DirRole::ControlPlane, Some("here")));
    assert_eq!(plane(None).unwrap().runtime_id().unwrap().as_str(), "here");
    assert!(plane(Some("there")).is_err());
    assert_eq!(plane(Some("here")).unwrap().incarnation(), incarnation);
}

#[test]
fn one_process_has_it_at_a_time_and_is_named() {
    let top = tempfile::tempdir().unwrap();
    let first = host(top.path());
    let refused = open(top.path(), DirRole::Host, None).unwrap_err();
    let DataDirError::InUse { dir, pid } = &refused else { panic!("{refused}") };
    assert_eq!((dir.as_path(), *pid), (top.path(), Some(std::process::id())));
    fs::write(top.path().join("LOCK"), "nobody\n").unwrap();
    let refused = open(top.path(), DirRole::Host, None).unwrap_err().to_string();
    assert!(refused.ends_with("is in use by another process"), "{refused}");
    drop(first);
    host(top.path());
}

#[test]
fn on_an_orderly_end_no_process_is_named_any_more() {
    let top = tempfile::tempdir().unwrap();
    let lock = top.path().join("LOCK");
    let first = host(top.path());
    assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{}\n", std::process::id()));
    drop(first);
    assert_eq!(fs::read_to_string(&lock).unwrap(), "");
    open(top.path(), DirRole::ControlPlane, None).unwrap_err();
    assert_eq!(fs::read_to_string(&lock).unwrap(), "");
}

/// All that is in a directory but its own lock, by path.
fn all(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for path in RealDisk.list(dir).unwrap() {
        if path.is_dir() {
            all.extend(self::all(&path));
        } else {
            all.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    all.retain(|(path, _)| *path != dir.join("LOCK"));
    all
}

#[test]
fn without_its_lock_a_directory_is_held_by_that_of_each_log() {
    let top = tempfile::tempdir().unwrap();
    for log in LOGS {
        let dir = top.path().join(log);
        RealDisk.create_dir(&dir.join(log)).unwrap();
        let mut first = host(&dir);
        drop(first);
        first = host(&dir);
        let running = first.disk().lock(&dir.join(log).join("LOCK")).unwrap();
        fs::remove_file(dir.join("LOCK")).unwrap();
        let before = all(&dir);
        let refused = open(&dir, DirRole::Host, None).unwrap_err();
        let DataDirError::InUse { pid, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*pid, Some(std::process::id()));
        assert!(matches!(DataDir::hold_to_read(&RealDisk, &dir), Err(DataDirError::InUse { .. })));
        assert_eq!(all(&dir), before, "nothing was changed");
        drop((first, running));
        host(&dir);
    }
}

#[test]
fn what_is_refused_is_left_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let top = tempfile::tempdir().unwrap();
    let (old, new) = (top.path().join("old"), top.path().join("new"));
    drop(host(&old));
    RealDisk.create_dir(&new.join("log")).unwrap();
    fs::copy(old.join("identity"), new.join("identity")).unwrap();
    fs::set_permissions(new.join("log"), fs::Permissions::from_mode(0o777)).unwrap();
    let before = all(&new);
    for _ in 0..2 {
        let refused = open(&new, DirRole::Host, None).unwrap_err().to_string();
        assert!(refused.contains("others can write to this directory"), "{refused}");
        assert_eq!(all(&new), before);
    }
}

#[test]
fn a_copy_is_another_incarnation_from_its_first_start_on() {
    let top = tempfile::tempdir().unwrap();
    let (old, new) = (top.path().join("old"), top.path().join("new"));
    let first = host(&old);
    let (id, incarnation) = (first.runtime_id().cloned(), first.incarnation());
    drop(first);
    RealDisk.create_dir(&new).unwrap();
    fs::copy(old.join("identity"), new.join("identity")).unwrap();
    let copy = host(&new);
    assert_ne!(copy.incarnation(), incarnation);
    assert_eq!(copy.runtime_id().cloned(), id);
    let drawn = copy.incarnation();
    drop(copy);
    assert_eq!(host(&new).incarnation(), drawn);
    assert_eq!(host(&old).incarnation(), incarnation);
    // Moved within its file system it is the same.
    fs::rename(&old, top.path().join("moved")).unwrap();
    assert_eq!(host(&top.path().join("moved")).incarnation(), incarnation);
}

#[test]
fn formats_that_are_not_known_are_refused_in_plain_words_and_left_alone() {
    // acceptance 130
    let top = tempfile::tempdir().unwrap();
    let refused = |version: u32| {
        let text = format!("workplane data directory\nversion {version}\n");
        fs::write(top.path().join("identity"), &text).unwrap();
        let refused = open(top.path(), DirRole::Host, None).unwrap_err();
        assert_eq!(fs::read_to_string(top.path().join("identity")).unwrap(), text);
        refused
    };
    assert!(matches!(refused(0), DataDirError::Older { version: 0, .. }));
    let newer = refused(2);
    assert!(matches!(newer, DataDirError::Newer { version: 2, .. }));
    assert!(newer.to_string().contains("has format 2, and this program knows up to 1"), "{newer}");
}

#[test]
fn what_is_no_directory_is_said_to_be_none() {
    // acceptance 130
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("file");
    fs::write(&file, "precious").unwrap();
    let refused = open(&file, DirRole::Host, None).unwrap_err().to_string();
    assert!(refused.ends_with("file: not a directory"), "{refused}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_hit_identity_is_mended_and_a_lost_one_is_never_made_up() {
    // acceptance 130
    let top = tempfile::tempdir().unwrap();
    let first = host(top.path());
    let incarnation = first.incarnation();
    drop(first);
    let file = top.path().join("identity");
    let good = fs::read(&file).unwrap();
    let mut hit = good.clone();
    hit[100] ^= 1;
    fs::write(&file, &hit).unwrap();
    // Damage does not touch the file as writing does.
    fs::remove_file(top.path().join("witness")).unwrap();
    assert_eq!(host(top.path()).incarnation(), incarnation);
    assert_eq!(fs::read(&file).unwrap().len(), good.len());
    assert_eq!(Identity::decode(&fs::read(&file).unwrap()).unwrap().damaged_at, None);

    fs::write(&file, "rubbish").unwrap();
    let refused = open(top.path(), DirRole::Host, None).unwrap_err().to_string();
    assert!(refused.contains("identity: offset 0: it is damaged"), "{refused}");
    fs::remove_file(&file).unwrap();
    fs::create_dir(top.path().join("log")).unwrap();
    fs::write(top.path().join("log/00000000000000000001.seg"), "").unwrap();
    let refused = open(top.path(), DirRole::Host, None).unwrap_err().to_string();
    assert!(refused.contains("it is missing, though there is a log"), "{refused}");
}
