//! A folder that appears whole under its name, or not at all: written beside, fsynced, renamed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use outpost_disk::atomic;

use crate::AuditError;

/// A folder in the making; dropped before [`publish`](Self::publish), it leaves nothing.
#[derive(Debug)]
pub(super) struct Staging {
    target: PathBuf,
    beside: PathBuf,
    /// Every folder made, so that its names are synced too.
    folders: BTreeSet<PathBuf>,
    published: bool,
}

impl Staging {
    /// Begins the folder that will be `target`, which must not exist yet.
    pub(super) fn new(target: &Path) -> Result<Self, AuditError> {
        let name = target.file_name().ok_or_else(|| failed("make", target, &io::ErrorKind::InvalidInput.into()))?;
        if fs::symlink_metadata(target).is_ok() {
            let path = target.display();
            return Err(AuditError::Disk(format!("`{path}` exists already; name a path that does not")));
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|cause| AuditError::Disk(format!("no randomness: {cause}")))?;
        let beside = target.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), hex::encode(random)));
        DirBuilder::new().mode(0o700).create(&beside).map_err(|cause| failed("make", &beside, &cause))?;
        Ok(Self { target: target.to_owned(), folders: BTreeSet::from([beside.clone()]), beside, published: false })
    }

    /// A new file in the folder, and the folders above it. Its writer syncs it.
    pub(super) fn create(&mut self, relative: &str) -> Result<File, AuditError> {
        let path = self.beside.join(relative);
        let above = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.beside));
        let missing: Vec<PathBuf> =
            above.take_while(|folder| !self.folders.contains(*folder)).map(Path::to_owned).collect();
        for folder in missing.into_iter().rev() {
            DirBuilder::new().mode(0o700).create(&folder).map_err(|cause| failed("make", &folder, &cause))?;
            self.folders.insert(folder);
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        file.map_err(|cause| failed("make", &path, &cause))
    }

    /// A new file with this content, synced.
    pub(super) fn write(&mut self, relative: &str, bytes: &[u8]) -> Result<(), AuditError> {
        let mut file = self.create(relative)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|cause| failed("write", &self.beside.join(relative), &cause))
    }

    /// Makes the folder appear under its name, durably.
    pub(super) fn publish(mut self) -> Result<(), AuditError> {
        for folder in self.folders.iter().rev() {
            atomic::sync_directory(folder)?;
        }
        atomic::rename(&self.beside, &self.target)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published {
            // Best effort: the error that matters is the one that stopped the writer.
            let _ = fs::remove_dir_all(&self.beside);
        }
    }
}

/// Says which act failed on which file.
pub(super) fn failed(act: &str, path: &Path, cause: &io::Error) -> AuditError {
    let path = path.display();
    AuditError::Disk(match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("no space left to {act} `{path}`; free space on this disk and try again")
        }
        _ => format!("cannot {act} `{path}`: {cause}"),
    })
}
