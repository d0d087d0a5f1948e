//! The directory of a bundle. What lies there before is read with care: a stick was in other hands.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use outpost_contract::bundle::{BundleIndex, CHUNKS_DIRECTORY, DESIRED_DIRECTORY, INDEX_BYTES, INDEX_FILE};
use outpost_contract::home::ANSWERS_DIRECTORY;
use outpost_contract::{Blake3, TenantId};
use rustix::fs::OFlags;

use super::BundleError;
use crate::files::{self, FileError, failed};
use crate::fleet::FleetError;

/// A directory that is a bundle or becomes one.
#[derive(Debug)]
pub(super) struct Stick {
    root: PathBuf,
}

impl Stick {
    /// Takes a directory; it is made if it is not there. Nothing of a bundle that is there is changed yet.
    pub(super) fn open(root: &Path, tenant: &TenantId) -> Result<Self, FleetError> {
        fs::create_dir_all(root).map_err(failed("create", root))?;
        let stick = Self { root: root.to_owned() };
        let path = root.join(INDEX_FILE);
        match read(&path, INDEX_BYTES as u64) {
            Ok(bytes) => {
                let index = BundleIndex::parse(&bytes);
                let index = index.map_err(|error| BundleError::NotABundle(path, error.to_string()))?;
                if index.tenant != *tenant {
                    return Err(BundleError::OtherTenant(root.to_owned(), index.tenant).into());
                }
            }
            Err(error) if error.source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(BundleError::NotABundle(path, error.source.to_string()).into()),
        }
        for name in [CHUNKS_DIRECTORY, DESIRED_DIRECTORY, ANSWERS_DIRECTORY] {
            let path = root.join(name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(failed("create", &path)(error).into());
                }
                _ => {}
            }
            // A link would have the bundle written somewhere else.
            if !fs::symlink_metadata(&path).map_err(failed("read", &path))?.is_dir() {
                return Err(BundleError::NotADirectory(path).into());
            }
        }
        Ok(stick)
    }

    /// True if the chunk is there and whole: sticks lose power and age.
    pub(super) fn has_chunk(&self, id: &Blake3, bytes: u32) -> Result<bool, FleetError> {
        let path = self.root.join(CHUNKS_DIRECTORY).join(id.to_hex());
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() && found.len() == u64::from(bytes) => {}
            Ok(found) if found.is_dir() => return Err(failed("replace", &path)(ErrorKind::IsADirectory.into()).into()),
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("read", &path)(error).into()),
        }
        // What cannot be read is written again.
        Ok(read(&path, u64::from(bytes)).is_ok_and(|bytes| blake3::hash(&bytes).as_bytes() == &id.0))
    }

    /// Refuses before anything is written if it would not fit.
    pub(super) fn check_room(&self, needed: u64) -> Result<(), FleetError> {
        let free = files::free_bytes(&self.root)?;
        if free < needed {
            return Err(BundleError::Space { directory: self.root.display().to_string(), needed, free }.into());
        }
        Ok(())
    }

    /// From here on the bundle is unfinished.
    pub(super) fn unfinish(&self) -> Result<(), FleetError> {
        let path = self.root.join(INDEX_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &path)(error).into()),
            _ => Ok(files::settle(&self.root)?),
        }
    }

    /// Writes one file of the bundle, beside and then renamed. It is durable once [`finish`](Self::finish) returns.
    pub(super) fn write(&self, directory: &str, name: &str, bytes: &[u8]) -> Result<(), FleetError> {
        let path = self.root.join(directory).join(name);
        let beside = path.with_extension("new");
        let _ = fs::remove_file(&beside);
        let made = OpenOptions::new().write(true).create_new(true).open(&beside);
        made.and_then(|mut file| file.write_all(bytes)).map_err(failed("write", &beside))?;
        fs::rename(&beside, &path).map_err(failed("rename to", &path))?;
        Ok(())
    }

    /// Removes one file of the bundle, if it is there.
    pub(super) fn remove(&self, directory: &str, name: &str) -> Result<(), FleetError> {
        let path = self.root.join(directory).join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &path)(error).into()),
            _ => Ok(()),
        }
    }

    /// Makes everything durable, then the table of contents.
    pub(super) fn finish(&self, index: &BundleIndex) -> Result<(), FleetError> {
        files::settle(&self.root)?;
        files::write(&self.root.join(INDEX_FILE), &index.to_bytes())?;
        Ok(files::settle(&self.root)?)
    }
}

/// Reads a plain file of at most `most` bytes: no link, and nothing that would have the reader wait or never end.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed("open", path))?;
    let refused = |why: &str| failed("read", path)(std::io::Error::other(why.to_owned()));
    if !file.metadata().map_err(failed("read", path))?.is_file() {
        return Err(refused("it is not a plain file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > most { Err(refused("it is longer than it may be")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let (link, pipe) = (dir.path().join("link"), dir.path().join("pipe"));
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(read(&link, 100).is_err());
        assert!(read(&pipe, 100).unwrap_err().to_string().contains("not a plain file"));
        files::write(&dir.path().join("file"), &[7; 100]).unwrap();
        assert_eq!(read(&dir.path().join("file"), 100).unwrap(), [7; 100]);
        assert!(read(&dir.path().join("file"), 99).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn a_link_in_the_place_of_a_directory_and_a_strangers_file_are_refused() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tenant = "acme".parse().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join(CHUNKS_DIRECTORY)).unwrap();
        let error = Stick::open(dir.path(), &tenant).unwrap_err().to_string();
        assert!(error.contains("chunks` is not a directory"), "{error}");
        fs::remove_file(dir.path().join(CHUNKS_DIRECTORY)).unwrap();
        files::write(&dir.path().join(INDEX_FILE), b"{\"name\": \"a web page\"}").unwrap();
        let error = Stick::open(dir.path(), &tenant).unwrap_err().to_string();
        assert!(error.contains("is not a bundle of ours"), "{error}");
    }
}
