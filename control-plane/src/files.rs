//! Files that a power cut leaves whole: written beside, made durable, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A file or directory could not be used: what was tried, on what, and what the system said.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} `{path}`: {source}")]
pub struct FileError {
    /// What was tried, as in `read`.
    pub act: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

/// Says what failed where; for `map_err`.
pub(crate) fn failed(act: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { act, path, source }
}

/// Refuses a directory that everybody may write into, as `/tmp`: made private, it would shut out who works in it.
pub(crate) fn check_not_everybodys(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o1002 != 0) {
        let why = std::io::Error::other("everybody may write there: name a directory of its own within it");
        return Err(failed("protect", path)(why));
    }
    Ok(())
}

/// Makes a directory that only this user can enter.
pub(crate) fn private_directory(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(failed("protect", path))
}

/// Bytes that this user may still write on the file system of a directory.
pub(crate) fn free_bytes(directory: &Path) -> Result<u64, FileError> {
    let room = rustix::fs::statvfs(directory).map_err(|error| failed("measure", directory)(error.into()))?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Makes everything that was written on the file system of a directory durable in one pass: an fsync for each of thousands of
/// small files takes a stick minutes.
pub(crate) fn settle(directory: &Path) -> Result<(), FileError> {
    let opened = File::open(directory).map_err(failed("open", directory))?;
    rustix::fs::syncfs(&opened).map_err(|error| failed("make durable", directory)(error.into()))
}

/// Writes a file that others may read. Once this returns, a power cut leaves the new file, and before it the old one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with_mode(path, bytes, 0o644)
}

/// Writes a secret: readable by this user only.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = path.with_extension("new");
    // What an interrupted write left behind could have other permissions.
    let _ = fs::remove_file(&beside);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(&beside).map_err(failed("create", &beside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &beside))?;
    rename(&beside, path)
}

/// Moves a durable file to its name, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(failed("rename to", to))?;
    // A bare name lies in the directory that we are in.
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("make durable", directory))
}

/// Reads a whole file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > most {
        let source = std::io::Error::other(format!("it has more than the {most} bytes that are expected"));
        return Err(FileError { act: "read", path: path.to_owned(), source });
    }
    Ok(bytes)
}

/// Reads a text file of at most `most` bytes.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, most)?).map_err(|_| FileError {
        act: "read",
        path: path.to_owned(),
        source: std::io::Error::other("it is not text"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_everybody_works_in_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        mode(0o1777);
        let refused = check_not_everybodys(dir.path()).unwrap_err();
        assert!(refused.source.to_string().contains("everybody may write there"), "{refused}");
        mode(0o755);
        check_not_everybodys(dir.path()).unwrap();
        check_not_everybodys(&dir.path().join("not there yet")).unwrap();
    }

    #[test]
    fn a_secret_is_for_this_user_only_even_after_an_interrupted_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.key");
        fs::write(dir.path().join("a.new"), "left behind").unwrap();
        write_private(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_text(&path, 6).unwrap(), "secret");
        assert!(read(&path, 5).unwrap_err().to_string().contains("more than the 5 bytes"));
    }
}
