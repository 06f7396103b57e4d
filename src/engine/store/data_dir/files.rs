//! Small files that are read and replaced whole.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::engine::store::disk::{Disk, DiskFile};

/// Puts a file in place of what is there, whole or not at all. What is in it may depend on the inode that it has.
pub(super) fn replace(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    contents: impl FnOnce(u64) -> Vec<u8>,
) -> io::Result<Arc<dyn DiskFile>> {
    let temporary = dir.join(format!("{name}.new"));
    match disk.remove(&temporary) {
        // Left by one that was killed.
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let file = disk.create(&temporary)?;
    file.write_at(&contents(file.identity()?.inode), 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &dir.join(name))?;
    disk.sync_dir(dir)?;
    Ok(file)
}

pub(super) fn is_segment(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "seg")
}

pub(super) fn contents(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    whole(&*disk.open(path, false)?)
}

/// A small file, whole.
pub(super) fn whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    const LARGEST: u64 = 4_096;
    let mut bytes = vec![0; usize::try_from(file.length()?.min(LARGEST)).unwrap_or_default()];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
