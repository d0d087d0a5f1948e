//! Local files of a fetch: read up to a limit, and what fails says what was tried on which file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::HubError;

/// Says what failed where; for `map_err`.
pub(crate) fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            HubError::Full { path, detail: source.to_string() }
        }
        _ => HubError::File { act, path, source },
    }
}

/// Reads a whole file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, HubError> {
    let file = File::open(path).map_err(failed("open", path))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > most {
        return Err(failed("read", path)(io::Error::other(format!(
            "it has more than the {most} bytes that are expected"
        ))));
    }
    Ok(bytes)
}
