//! A directory with one file per chunk, named by the chunk's id: what a stick carries.

use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use outpost_contract::Chunk;
use rustix::fs::OFlags;

use super::{Deliver, Source, SourceError};

/// Chunks in `<dir>/<64 hexadecimal digits>`.
#[derive(Debug, Clone)]
pub struct DirectorySource {
    dir: PathBuf,
}

impl DirectorySource {
    /// Reads from `dir`; it need not exist until something is fetched.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }
}

#[async_trait]
impl Source for DirectorySource {
    fn name(&self) -> String {
        format!("directory `{}`", self.dir.display())
    }

    fn is_here(&self) -> bool {
        true
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        let mut missing = 0;
        for chunk in wanted {
            let (path, most) = (self.dir.join(chunk.id.to_hex()), chunk.bytes);
            let read = tokio::task::spawn_blocking(move || read_plain_file(&path, most)).await;
            let unavailable = |detail: String| SourceError::Unavailable {
                origin: self.name(),
                detail: format!("`{}`: {detail}", chunk.id),
            };
            match read.map_err(|stopped| unavailable(stopped.to_string()))? {
                Ok(bytes) => deliver.send((chunk.id, bytes)).await.map_err(|_| SourceError::Closed)?,
                Err(error) if error.kind() == ErrorKind::NotFound => missing += 1,
                Err(error) => return Err(unavailable(error.to_string())),
            }
        }
        if missing == 0 { Ok(()) } else { Err(SourceError::Missing { origin: self.name(), missing }) }
    }
}

/// Reads a file that somebody else may have put there: no link, nothing that would have the reader wait (a pipe, a
/// device). One byte more than wanted is enough to see that it is too long; an endless one costs no memory.
///
/// # Errors
/// If it cannot be read, or is anything but a plain file.
pub fn read_plain_file(path: &Path, most: u32) -> std::io::Result<Bytes> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other("it is not a plain file"));
    }
    let mut bytes = Vec::with_capacity(most as usize + 1);
    file.take(u64::from(most) + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_pipes_and_directories_are_not_read_and_nothing_is_read_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::io::Write::write_all(&mut File::create(path("file")).unwrap(), &[7; 100]).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for refused in ["endless", "link", "pipe", ".", "nothing"] {
            assert!(read_plain_file(&path(refused), 100).is_err(), "{refused}");
        }
        assert_eq!(read_plain_file(&path("file"), 100).unwrap().len(), 100);
        assert_eq!(read_plain_file(&path("file"), 9).unwrap().len(), 10);
    }
}
