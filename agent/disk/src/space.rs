//! How much room a disk has left, and keeping some of it back.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::DiskError;

/// What zeros are written in, where a file system cannot set room aside by itself.
const BLOCK_BYTES: usize = 64 * 1024;

/// A file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its size.
    pub total_bytes: u64,
    /// What this process may still write.
    pub free_bytes: u64,
}

/// The file system of `path`. A path that does not exist yet is asked about through its nearest existing parent.
///
/// # Errors
/// If no parent exists or the file system does not answer.
pub fn room(path: impl AsRef<Path>) -> Result<Room, DiskError> {
    let path = path.as_ref();
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or_else(|| Path::new("."));
    let answer = rustix::fs::statvfs(existing).map_err(|cause| DiskError::io("measure", existing, cause.into()))?;
    Ok(Room {
        total_bytes: answer.f_blocks.saturating_mul(answer.f_frsize),
        free_bytes: answer.f_bavail.saturating_mul(answer.f_frsize),
    })
}

/// Bytes that this process may still write on the file system of `path`; as [`room`].
///
/// # Errors
/// As [`room`].
pub fn free_bytes(path: impl AsRef<Path>) -> Result<u64, DiskError> {
    room(path).map(|room| room.free_bytes)
}

/// Makes `path` a file of so many bytes that the disk really holds: room that is given back by removing the file. What a
/// power cut leaves of it is a shorter file; nothing in it matters.
///
/// # Errors
/// If it cannot be made; nothing stays then. [`DiskError::Full`] when there is not so much room.
pub fn set_aside(path: impl AsRef<Path>, bytes: u64) -> Result<(), DiskError> {
    let path = path.as_ref();
    let made = File::create(path).and_then(|mut file| {
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(&mut file, bytes),
            answer => Ok(answer?),
        }
    });
    made.map_err(|source| {
        // Best effort: the error that matters is the one being returned.
        let _ = std::fs::remove_file(path);
        DiskError::io("set room aside in", path, source)
    })
}

fn write_zeros(file: &mut File, bytes: u64) -> io::Result<()> {
    let zeros = [0; BLOCK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(BLOCK_BYTES as u64);
        file.write_all(&zeros[..usize::try_from(length).unwrap_or(BLOCK_BYTES)])?;
        left -= length;
    }
    file.sync_all()
}

/// Lets go of what the kernel holds of a file in memory, as far as it is on the disk, so that who reads next is told what
/// the disk has. A file that is not there holds nothing. Systems that cannot do so are left alone.
///
/// # Errors
/// If the file cannot be opened.
pub fn forget_cached(path: impl AsRef<Path>) -> Result<(), DiskError> {
    let path = path.as_ref();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(DiskError::io("open", path, source)),
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
        .map_err(|cause| DiskError::io("read anew", path, cause.into()))?;
    drop(file);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_room_of_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        assert!(free_bytes(directory.path()).unwrap() > 0);
        assert!(free_bytes(directory.path().join("not/yet")).unwrap() > 0);
        assert!(free_bytes("not-yet-here").unwrap() > 0);
        let room = room(directory.path()).unwrap();
        assert!(room.total_bytes >= room.free_bytes);
    }

    #[test]
    fn what_is_set_aside_takes_its_room_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        let on_disk = || {
            let metadata = std::fs::metadata(&path).unwrap();
            (metadata.len(), metadata.blocks() * 512)
        };
        set_aside(&path, 1 << 20).unwrap();
        assert!(on_disk().0 == 1 << 20 && on_disk().1 >= 1 << 20, "{:?}", on_disk());
        write_zeros(&mut File::create(&path).unwrap(), 100_000).unwrap();
        assert!(on_disk().0 == 100_000 && on_disk().1 >= 100_000, "{:?}", on_disk());
    }

    #[test]
    fn more_than_the_disk_has_is_not_set_aside_and_nothing_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        assert!(set_aside(&path, 1 << 60).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_file_reads_the_same_after_the_kernel_let_go_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        forget_cached(&path).unwrap();
        crate::atomic::write(&path, "on the disk").unwrap();
        forget_cached(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"on the disk");
    }
}
