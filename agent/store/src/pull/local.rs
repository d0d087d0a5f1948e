//! Copies chunks that whole or partial files here already hold, so that a re-release travels only as what changed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;

use outpost_contract::{Blake3, Chunk};

use super::{Arrival, Bitmap, Pull};
use crate::StoreError;

impl Pull {
    /// Best effort: what cannot be read or is no longer what it was is fetched instead.
    pub(super) fn copy_local_chunks(&mut self) -> Result<(), StoreError> {
        let wanted = self.wanted();
        if wanted.is_empty() {
            return Ok(());
        }
        let in_partials = self.chunks_of_other_partials()?;
        let mut open = OpenFiles::default();
        let mut buffer = vec![0; outpost_contract::limits::CHUNK_BYTES];
        for chunk in wanted {
            let (path, offset) = match self.store.inner.index.locate(chunk.id, chunk.bytes)? {
                Some((file, offset)) => (self.store.inner.layout.model(file), offset),
                None => match in_partials.get(&chunk.id) {
                    Some((file, offset)) => (self.store.inner.layout.part(*file), *offset),
                    None => continue,
                },
            };
            let piece = &mut buffer[..chunk.bytes as usize];
            let Some(file) = open.get(path) else { continue };
            if file.read_exact_at(piece, offset).is_err() {
                continue;
            }
            let before = self.progress.present_bytes;
            if self.take(chunk.id, piece)? == Arrival::Written {
                self.progress.copied_bytes += self.progress.present_bytes - before;
            }
        }
        self.commit()
    }

    fn chunks_of_other_partials(&self) -> Result<HashMap<Blake3, (Blake3, u64)>, StoreError> {
        let mut found = HashMap::new();
        for partial in self.store.inner.index.partials()? {
            let manifest = partial.manifest;
            if manifest.blake3 == self.manifest.blake3 {
                continue;
            }
            let bitmap = Bitmap::from_bytes(&partial.present, manifest.chunks.len());
            let mut offset = 0;
            for (index, Chunk { id, bytes }) in manifest.chunks.into_iter().enumerate() {
                if bitmap.get(index) {
                    found.insert(id, (manifest.blake3, offset));
                }
                offset += u64::from(bytes);
            }
        }
        Ok(found)
    }
}

/// Each file is opened once, not once per chunk.
#[derive(Default)]
struct OpenFiles(HashMap<std::path::PathBuf, Option<File>>);

impl OpenFiles {
    fn get(&mut self, path: std::path::PathBuf) -> Option<&File> {
        match self.0.entry(path) {
            Entry::Occupied(entry) => entry.into_mut().as_ref(),
            Entry::Vacant(entry) => {
                let file = File::open(entry.key()).ok();
                entry.insert(file).as_ref()
            }
        }
    }
}
