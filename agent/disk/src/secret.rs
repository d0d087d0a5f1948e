//! Bytes that must not be shown: kept in a file for the owner only, and never printed.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{DiskError, atomic};

/// A key or a token. `Debug` prints `…`; there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes bytes as they are.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Fresh random bytes from the operating system.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn random(length: usize) -> Result<Self, DiskError> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes).map_err(|cause| {
            DiskError::io("get randomness from", Path::new("the operating system"), io::Error::other(cause.to_string()))
        })?;
        Ok(Self(bytes))
    }

    /// Reads a secret from its file.
    ///
    /// # Errors
    /// [`DiskError::Exposed`] if others may read the file; otherwise if it cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DiskError> {
        let path = path.as_ref();
        let read = |source| DiskError::io("read the secret", path, source);
        let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(DiskError::Exposed { path: path.to_owned(), mode });
        }
        std::fs::read(path).map(Self).map_err(read)
    }

    /// Reads the secret in `path`, or makes one with `make` and keeps it there.
    ///
    /// # Errors
    /// As [`read`](Self::read) and [`write`](Self::write), and whatever `make` says.
    pub fn read_or_create(
        path: impl AsRef<Path>,
        make: impl FnOnce() -> Result<Self, DiskError>,
    ) -> Result<Self, DiskError> {
        match Self::read(&path) {
            Err(error) if error.is_not_found() => {
                let fresh = make()?;
                fresh.write(path)?;
                Ok(fresh)
            }
            answer => answer,
        }
    }

    /// Keeps the secret in a file of mode 0600, durably.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), DiskError> {
        atomic::write_private(path, &self.0)
    }

    /// The bytes themselves, for the function that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_kept_for_its_owner_and_never_printed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let secret = Secret::read_or_create(&path, || Ok(Secret::new("hunter2"))).unwrap();
        assert_eq!(format!("{secret:?}"), "…");
        assert_eq!(Secret::read_or_create(&path, || Secret::random(32)).unwrap(), secret);
        assert_eq!(secret.expose(), b"hunter2");
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_cure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        atomic::write(&path, "hunter2").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let text = Secret::read(&path).unwrap_err().to_string();
        assert!(text.contains("chmod 600"), "{text}");
    }
}
