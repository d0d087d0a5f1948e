//! How much room a disk has left.

use std::path::Path;

use crate::DiskError;

/// Bytes that this process may still write on the file system of `path`. A path that does not exist yet is asked
/// about through its nearest existing parent.
///
/// # Errors
/// If no parent exists or the file system does not answer.
pub fn free_bytes(path: impl AsRef<Path>) -> Result<u64, DiskError> {
    let path = path.as_ref();
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or_else(|| Path::new("."));
    let answer = rustix::fs::statvfs(existing).map_err(|cause| DiskError::io("measure", existing, cause.into()))?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_yet_has_the_room_of_its_parent() {
        let directory = tempfile::tempdir().unwrap();
        assert!(free_bytes(directory.path()).unwrap() > 0);
        assert!(free_bytes(directory.path().join("not/yet")).unwrap() > 0);
        assert!(free_bytes("not-yet-here").unwrap() > 0);
    }
}
