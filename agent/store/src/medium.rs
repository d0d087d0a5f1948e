//! The disk as the store sees it: free space, reservation, writes; a trait so that tests can fill it up.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// What a pull needs of the disk.
pub trait Medium: Send + Sync + std::fmt::Debug {
    /// Bytes that can still be written under `path`.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Gives `file` its full length and the blocks for it.
    ///
    /// # Errors
    /// What the system says; `StorageFull` if it does not fit.
    fn reserve(&self, file: &File, bytes: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealMedium;

impl Medium for RealMedium {
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        outpost_disk::space::free_bytes(path).map_err(io::Error::other)
    }

    fn reserve(&self, file: &File, bytes: u64) -> io::Result<()> {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            // Some file systems (FAT sticks, some network mounts) cannot reserve: the length alone is then the best there
            // is, and a full disk shows at a write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(bytes),
            other => other.map_err(io::Error::from),
        }
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
}
