//! Makes the manifest of a file: cut where the caller says (tensor boundaries), and every 256 KiB between the cuts.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use outpost_contract::limits::{CHUNK_BYTES, MODEL_BYTES};
use outpost_contract::{Blake3, Chunk, Manifest, Sha256};
use sha2::Digest as _;

use crate::StoreError;

/// Reads the file once and describes it.
///
/// `cuts` are byte offsets at which a chunk must begin, in any order: give the tensor offsets of a GGUF file, so that a
/// release which only changes the header shares all weight chunks with the one before. Offsets of 0 or beyond the end are
/// ignored. The result holds for the bytes read; a file that grows meanwhile is refused.
///
/// # Errors
/// [`StoreError::Io`] if the file cannot be read or changes, [`StoreError::Manifest`] if it is empty or above the limit.
pub fn of_file(path: &Path, cuts: &[u64]) -> Result<Manifest, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let bytes = file.metadata().map_err(StoreError::io("examine", path))?.len();
    if bytes == 0 || bytes > MODEL_BYTES {
        return Err(outpost_contract::blob::InvalidManifest::Size(bytes, MODEL_BYTES).into());
    }
    let mut whole_blake3 = blake3::Hasher::new();
    let mut whole_sha256 = sha2::Sha256::new();
    let mut chunks = Vec::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let lengths = lengths(bytes, cuts);
    for length in lengths {
        let piece = &mut buffer[..length];
        file.read_exact(piece).map_err(StoreError::io("read", path))?;
        whole_blake3.update(piece);
        whole_sha256.update(&*piece);
        chunks.push(Chunk { id: digest(piece), bytes: length as u32 });
    }
    if file.read(&mut buffer[..1]).map_err(StoreError::io("read", path))? != 0 {
        let grown = std::io::Error::other("the file grew while it was read");
        return Err(StoreError::io("read", path)(grown));
    }
    let manifest = Manifest {
        v: 1,
        bytes,
        blake3: Blake3(*whole_blake3.finalize().as_bytes()),
        sha256: Sha256(whole_sha256.finalize().into()),
        chunking: if cuts.is_empty() { "fixed" } else { "gguf-tensor" }.to_owned(),
        chunks,
    };
    manifest.check()?;
    Ok(manifest)
}

/// BLAKE3 of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> Blake3 {
    Blake3(*blake3::hash(bytes).as_bytes())
}

/// Lengths of the chunks, in order; they add up to `bytes`.
fn lengths(bytes: u64, cuts: &[u64]) -> Vec<usize> {
    let mut ends: Vec<u64> = cuts.iter().copied().filter(|&cut| cut > 0 && cut < bytes).collect();
    ends.push(bytes);
    ends.sort_unstable();
    ends.dedup();
    let mut lengths = Vec::new();
    let mut start = 0;
    for end in ends {
        while start < end {
            let length = (end - start).min(CHUNK_BYTES as u64);
            lengths.push(length as usize);
            start += length;
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_always_add_up_and_begin_at_every_cut(bytes in 1u64..3_000_000, cuts in prop::collection::vec(0u64..3_500_000, 0..8)) {
            let lengths = lengths(bytes, &cuts);
            prop_assert_eq!(lengths.iter().map(|&length| length as u64).sum::<u64>(), bytes);
            prop_assert!(lengths.iter().all(|&length| (1..=CHUNK_BYTES).contains(&length)));
            let starts: Vec<u64> = lengths.iter().scan(0, |at, &length| { let start = *at; *at += length as u64; Some(start) }).collect();
            for cut in cuts.into_iter().filter(|&cut| cut < bytes) {
                prop_assert!(starts.contains(&cut));
            }
        }
    }

    #[test]
    fn a_changed_header_leaves_all_tensor_chunks_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let tensors = vec![7; 600_000];
        let make = |name: &str, header: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, [header, &tensors].concat()).unwrap();
            of_file(&path, &[header.len() as u64]).unwrap()
        };
        let (old, new) = (make("old", b"header"), make("new", b"a longer header"));
        assert_eq!(old.chunks[1..], new.chunks[1..]);
        assert_ne!(old.chunks[0], new.chunks[0]);
        assert_ne!(old.blake3, new.blake3);
    }

    #[test]
    fn an_empty_file_has_no_manifest() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(of_file(file.path(), &[]), Err(StoreError::Manifest(_))));
    }
}
