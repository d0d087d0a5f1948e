//! The secret that API keys are hashed with: made once, for the owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::ApiKeyError;

const FILE: &str = "keys.pepper";
const BYTES: usize = 32;

/// The secret in `directory`; a new one if there is none. Of two processes that make one at once, one wins for both.
pub(super) fn read_or_create(directory: &Path) -> Result<Vec<u8>, ApiKeyError> {
    let path = directory.join(FILE);
    let fault = |act, source| ApiKeyError::Pepper { act, path: path.clone(), source };
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(directory, &path).map_err(|source| fault("make", source))?;
            read(&path).map_err(|source| fault("read", source))
        }
        other => other.map_err(|source| fault("read", source)),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("others may read it (mode {mode:o}): make it 600, and make new keys");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let bytes = fs::read(path)?;
    if bytes.len() == BYTES { Ok(bytes) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "it is not 32 bytes")) }
}

/// Written beside and linked into place, which fails if another process was first: the name is only ever whole.
fn create(directory: &Path, path: &Path) -> io::Result<()> {
    let mut random = [0_u8; BYTES + 8];
    getrandom::fill(&mut random).map_err(|cause| io::Error::other(cause.to_string()))?;
    let (secret, suffix) = random.split_at(BYTES);
    let beside = directory.join(format!(".{FILE}.{}.tmp", hex::encode(suffix)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(secret).and_then(|()| file.sync_all()))
        .and_then(|()| match fs::hard_link(&beside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
    // What stays after a failure here is swept with the other `.tmp` files.
    let _ = fs::remove_file(&beside);
    written.and_then(|()| File::open(directory)?.sync_all())
}
