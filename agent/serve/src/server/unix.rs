//! The Unix socket: made where nothing else is in the way, removed at the end.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A listening socket that takes its name away with it.
pub(super) struct OwnedListener {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl OwnedListener {
    /// Listens at `path`. A socket that a dead process left there is replaced; a living one, or anything else, is not.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        clear(path)?;
        let listener = UnixListener::bind(path)?;
        // Everybody of this machine may knock: who is let in is decided by the account that the kernel names.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for OwnedListener {
    fn drop(&mut self) {
        // What stays is replaced at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn clear(path: &Path) -> io::Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is in the way"));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process is listening there")),
        Err(_) => std::fs::remove_file(path),
    }
}
