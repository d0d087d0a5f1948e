//! Files that are either the old content or the new, whatever happens in between.
//!
//! Write beside, fsync the file, rename over the name, fsync the directory. After [`write()`] returns, the new content
//! survives a power cut; before it returns, a power cut leaves the old content (and perhaps a `.….tmp` file that
//! [`sweep`] removes).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::DiskError;

/// What a half-written file is called until it is whole.
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Replaces the content of `path` durably; readable by everybody that the umask allows.
///
/// # Errors
/// If any step fails; the old content is then still in place. [`DiskError::Full`] when space is what is missing.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), DiskError> {
    replace(path.as_ref(), bytes.as_ref(), 0o644)
}

/// Replaces the content of `path` durably; readable by its owner only (mode 0600).
///
/// # Errors
/// As [`write()`].
pub fn write_private(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), DiskError> {
    replace(path.as_ref(), bytes.as_ref(), 0o600)
}

/// Moves a finished file into place durably. Its own content must have been synced by the caller's `sync_all`.
///
/// # Errors
/// If the rename or the fsync of the directory fails.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<(), DiskError> {
    let to = to.as_ref();
    fs::rename(from.as_ref(), to).map_err(|source| DiskError::io("rename into place", to, source))?;
    sync_directory(parent(to))
}

/// Removes `path` durably. A file that is not there is removed already.
///
/// # Errors
/// If the file cannot be unlinked or the directory cannot be synced.
pub fn remove(path: impl AsRef<Path>) -> Result<(), DiskError> {
    let path = path.as_ref();
    match fs::remove_file(path) {
        Ok(()) => sync_directory(parent(path)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DiskError::io("remove", path, source)),
    }
}

/// Removes what interrupted writes left in `directory`; returns how many. Call it at start, before any write.
///
/// # Errors
/// If the directory cannot be listed or a leftover cannot be removed.
pub fn sweep(directory: impl AsRef<Path>) -> Result<usize, DiskError> {
    let directory = directory.as_ref();
    let entries = fs::read_dir(directory).map_err(|source| DiskError::io("list", directory, source))?;
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(|source| DiskError::io("list", directory, source))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX) {
            fs::remove_file(entry.path()).map_err(|source| DiskError::io("remove", &entry.path(), source))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Makes the names in `directory` durable.
///
/// # Errors
/// If the directory cannot be opened or synced.
pub fn sync_directory(directory: impl AsRef<Path>) -> Result<(), DiskError> {
    let directory = directory.as_ref();
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|source| DiskError::io("sync the directory", directory, source))
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let beside = temporary_name(path)?;
    let written = write_beside(&beside, bytes, mode).and_then(|()| rename(&beside, path));
    if written.is_err() {
        // Best effort: the error that matters is the one being returned, and `sweep` takes what stays.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_beside(beside: &Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(beside)
        .map_err(|source| DiskError::io("create", beside, source))?;
    file.write_all(bytes).map_err(|source| DiskError::io("write", beside, source))?;
    file.sync_all().map_err(|source| DiskError::io("sync", beside, source))
}

/// A name in the same directory (so that the rename stays on one file system) that no other writer uses.
fn temporary_name(path: &Path) -> Result<PathBuf, DiskError> {
    let name = path.file_name().ok_or_else(|| {
        DiskError::io(
            "write",
            path,
            io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name"),
        )
    })?;
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random)
        .map_err(|cause| DiskError::io("name a file beside", path, io::Error::other(cause.to_string())))?;
    let beside = format!(".{}.{}{TEMPORARY_SUFFIX}", name.to_string_lossy(), hex::encode(random));
    Ok(path.with_file_name(beside))
}

/// The directory a file lies in; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn new_content_replaces_the_old_and_leaves_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        write(&path, "old").unwrap();
        write(&path, "new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn private_files_are_for_their_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write(&path, "was public").unwrap();
        write_private(&path, "secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_failed_write_keeps_the_old_content() {
        let directory = tempfile::tempdir().unwrap();
        // A directory in the way of the rename makes the last step fail, after the new content was written.
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::File::create(path.join("inside")).unwrap();
        let error = write(&path, "new").unwrap_err();
        assert!(error.to_string().contains("rename into place"), "{error}");
        assert!(path.join("inside").exists());
        assert_eq!(sweep(directory.path()).unwrap(), 0, "the half-written file was removed");
    }

    #[test]
    fn what_a_power_cut_left_is_swept_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        fs::File::create(directory.path().join(".state.json.0011223344556677.tmp")).unwrap();
        write(directory.path().join("state.json"), "kept").unwrap();
        assert_eq!(sweep(directory.path()).unwrap(), 1);
        assert_eq!(fs::read(directory.path().join("state.json")).unwrap(), b"kept");
    }

    #[test]
    fn removing_twice_is_fine() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gone");
        write(&path, "x").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_path_without_a_file_name_is_refused() {
        assert!(write("/", "x").is_err());
    }
}
