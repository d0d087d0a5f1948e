//! A slot's file against what is written down of it: nobody else's, and every byte.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use outpost_contract::Blake3;

use crate::build::{Build, Slot};

/// What an account may have of a file beside its own: reading and running it, not writing.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where a slot's file lies.
pub(crate) fn file(directory: &Path, slot: Slot) -> PathBuf {
    directory.join(slot.name())
}

/// Holds a directory to this account: what others can write is not run.
pub(crate) fn is_own(directory: &Path) -> Result<(), String> {
    let found = directory.metadata().map_err(|error| format!("cannot be looked at: {error}"))?;
    belongs(&found)
}

/// Holds a slot's file to what is written down of it: the right owner, the right length, and every byte.
pub(crate) fn is_whole(file: &Path, build: &Build) -> Result<(), String> {
    let cannot = |error: io::Error| format!("its file cannot be read: {error}");
    let file = File::open(file).map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?;
    belongs(&found).map_err(|because| format!("its file {because}"))?;
    if found.len() != build.bytes {
        return Err(format!("its file is damaged: it has {} bytes of {}", found.len(), build.bytes));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(cannot)?;
    if Blake3(*hasher.finalize().as_bytes()) != build.blake3 {
        return Err("its file is damaged: its bytes are not those that were staged".to_owned());
    }
    Ok(())
}

fn belongs(found: &Metadata) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        return Err(format!("belongs to the user with id {}, and this one has {own}", found.uid()));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err("can be written by others".to_owned());
    }
    Ok(())
}
