//! One tensor from one format to another in pieces, and the file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;

use crate::blocks;
use crate::blocks::encode::encode;
use crate::gguf::{Format, Gguf, TensorEntry};

/// Weights that one thread converts at a time: whole blocks of every format.
const PIECE: usize = 4_096;
/// Pieces between two writes: at most 16 MiB, in F32.
const PIECES_AT_ONCE: usize = 1_024;

/// Writes a tensor's bytes in a format; `wrote` hears of every part. A tensor that has the format already is copied.
pub(super) fn tensor(
    gguf: &Gguf,
    tensor: &TensorEntry,
    to: Format,
    out: &mut dyn Write,
    wrote: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let stored = gguf.bytes(tensor);
    if tensor.format == to {
        return stored.chunks(PIECE * PIECES_AT_ONCE).try_for_each(|part| {
            out.write_all(part)?;
            wrote(part.len() as u64);
            Ok(())
        });
    }
    let scale = gguf.scale(tensor);
    let stored = &stored[..stored.len() - tensor.format.tail_bytes() as usize];
    // Rows are whole blocks of both formats and so is a piece, so the tensor may be cut without regard to its rows.
    let (from_bytes, to_bytes) = (piece_bytes(tensor.format), piece_bytes(to));
    let mut encoded = Vec::new();
    for part in stored.chunks(from_bytes * PIECES_AT_ONCE) {
        let weights = part.len() / tensor.format.block_bytes() as usize * tensor.format.block_weights() as usize;
        encoded.resize(weights / to.block_weights() as usize * to.block_bytes() as usize, 0);
        part.par_chunks(from_bytes)
            .zip(encoded.par_chunks_mut(to_bytes))
            .try_for_each_init(
                || vec![0.0; PIECE],
                |wide, (from, into)| piece(tensor.format, scale, from, wide, to, into),
            )
            .map_err(|NotFinite| {
                io::Error::other(format!(
                    "tensor `{}` has a weight that is no finite number; the input is damaged, fetch it again",
                    tensor.name
                ))
            })?;
        out.write_all(&encoded)?;
        wrote(encoded.len() as u64);
    }
    Ok(())
}

/// A weight that no format can hold.
struct NotFinite;

fn piece(
    format: Format,
    scale: f32,
    from: &[u8],
    wide: &mut [f32],
    to: Format,
    into: &mut [u8],
) -> Result<(), NotFinite> {
    let weights = from.len() / format.block_bytes() as usize * format.block_weights() as usize;
    let wide = &mut wide[..weights];
    blocks::widen(format, from, wide);
    if scale != 1.0 {
        wide.iter_mut().for_each(|weight| *weight *= scale);
    }
    if !wide.iter().all(|weight| weight.is_finite()) {
        return Err(NotFinite);
    }
    encode(to, wide, into);
    Ok(())
}

fn piece_bytes(format: Format) -> usize {
    PIECE / format.block_weights() as usize * format.block_bytes() as usize
}

/// Writes beside, flushes to the disk, renames, flushes the directory.
pub(crate) fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it has no file name"))?.to_string_lossy();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let beside = directory.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = BufWriter::new(File::create(&beside)?);
        fill(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // What is left of it is of no use; that removing may fail too changes nothing.
        let _ = fs::remove_file(&beside);
    }
    written
}
