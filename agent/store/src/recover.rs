//! What an unfinished act means when the store is opened again.
//!
//! A pull ends with: data durable → rename into `models/` → directory durable → rows of the index in one transaction.
//! So after a crash there can be a renamed file whose rows are missing (finish it), a partial file without a row
//! (worthless), a row without its file (forget it).

use std::fs;
use std::path::{Path, PathBuf};

use outpost_disk::atomic;

use crate::index::Index;
use crate::layout::{Layout, digest_of};
use crate::{StoreError, manifest};

pub(crate) fn run(layout: &Layout, index: &Index) -> Result<(), StoreError> {
    finish_renamed_pulls(layout, index)?;
    forget_files_that_are_gone(index)?;
    adopt_or_drop_unknown_models(layout, index)?;
    drop_unknown_partials(layout, index)
}

fn finish_renamed_pulls(layout: &Layout, index: &Index) -> Result<(), StoreError> {
    for partial in index.partials()? {
        let (file, whole) = (partial.manifest.blake3, layout.model(partial.manifest.blake3));
        if length(&whole) == Some(partial.manifest.bytes) {
            tracing::info!(%file, "finishing an install that was cut off after its rename");
            index.install(&partial.manifest)?;
        } else if length(&layout.part(file)).is_none() {
            index.forget_partial(file)?;
        }
    }
    Ok(())
}

fn forget_files_that_are_gone(index: &Index) -> Result<(), StoreError> {
    for stored in index.list()? {
        if length(&stored.path).is_none() {
            tracing::warn!(file = %stored.blake3, "a stored file is gone, forgetting it");
            index.forget(stored.blake3)?;
        }
    }
    Ok(())
}

/// Files named like ours that the index does not know: the index was lost, or a removal was cut off.
fn adopt_or_drop_unknown_models(layout: &Layout, index: &Index) -> Result<(), StoreError> {
    for path in entries(&layout.models)? {
        let Some(file) = digest_of(&path, "gguf") else { continue };
        if index.find(file)?.is_some() {
            continue;
        }
        match manifest::of_file(&path, &[]) {
            Ok(manifest) if manifest.blake3 == file => {
                tracing::info!(%file, "a whole file was not in the index, taking it up again");
                index.install(&manifest)?;
            }
            _ => {
                tracing::warn!(%file, "a file is not what its name says, removing it");
                atomic::remove(&path)?;
            }
        }
    }
    Ok(())
}

fn drop_unknown_partials(layout: &Layout, index: &Index) -> Result<(), StoreError> {
    for path in entries(&layout.partial)? {
        let known = match digest_of(&path, "part") {
            Some(file) => index.partial(file)?.is_some(),
            None => continue,
        };
        if !known {
            atomic::remove(&path)?;
        }
    }
    Ok(())
}

fn length(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let list = fs::read_dir(dir).map_err(StoreError::io("list", dir))?;
    list.map(|entry| entry.map(|entry| entry.path()).map_err(StoreError::io("list", dir))).collect()
}
