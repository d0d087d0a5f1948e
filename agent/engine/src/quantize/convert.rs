//! One tensor from one format to another in pieces, and the file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;

use crate::blocks;
use crate::blocks::encode::{cost_of, encode, encode_weighted};
use crate::gguf::{Format, Gguf, TensorEntry};

/// Weights that one thread converts at a time: whole blocks of every format.
const PIECE: usize = 4_096;
/// Pieces between two writes: at most 16 MiB, in F32.
const PIECES_AT_ONCE: usize = 1_024;

/// Writes a tensor's bytes in a format; `wrote` hears of every part. A tensor that has the format already is copied. With
/// `importance`, errors cost in each column what it says.
pub(super) fn tensor(
    gguf: &Gguf,
    tensor: &TensorEntry,
    to: Format,
    importance: Option<&[f32]>,
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
    let mut written = Vec::new();
    for (part, first) in stored.chunks(from_bytes * PIECES_AT_ONCE).zip((0..).step_by(PIECES_AT_ONCE)) {
        let weights = part.len() / tensor.format.block_bytes() as usize * tensor.format.block_weights() as usize;
        written.resize(weights / to.block_weights() as usize * to.block_bytes() as usize, 0);
        part.par_chunks(from_bytes)
            .zip(written.par_chunks_mut(to_bytes))
            .enumerate()
            .try_for_each_init(
                || vec![0.0; PIECE],
                |wide, (at, (from, into))| {
                    let wide = widened(tensor.format, scale, from, wide)?;
                    match importance {
                        Some(importance) => encode_weighted(to, wide, &costs(importance, first + at, wide.len()), into),
                        None => encode(to, wide, into),
                    }
                    Ok(())
                },
            )
            .map_err(|NotFinite| not_finite(tensor))?;
        out.write_all(&written)?;
        wrote(written.len() as u64);
    }
    Ok(())
}

/// A tensor's blocks in a format, and the sum of what the errors of its weights cost: 1 each without `importance`.
pub(super) fn encoded(
    gguf: &Gguf,
    tensor: &TensorEntry,
    to: Format,
    importance: Option<&[f32]>,
) -> io::Result<(Vec<u8>, f64)> {
    let (stored, scale) = (gguf.bytes(tensor), gguf.scale(tensor));
    let stored = &stored[..stored.len() - tensor.format.tail_bytes() as usize];
    let (from_bytes, to_bytes) = (piece_bytes(tensor.format), piece_bytes(to));
    let mut blocks = vec![0; to.bytes_for(tensor.weights()).unwrap_or(0) as usize];
    let pieces = stored.par_chunks(from_bytes).zip(blocks.par_chunks_mut(to_bytes)).enumerate();
    let costs_of = |at, weights| importance.map_or_else(|| vec![1.0; weights], |all| costs(all, at, weights));
    let errors: Result<Vec<f64>, NotFinite> = pieces
        .map_init(
            || [vec![0.0; PIECE], vec![0.0; PIECE]],
            |[wide, again], (at, (from, into))| {
                let wide = widened(tensor.format, scale, from, wide)?;
                let costs = costs_of(at, wide.len());
                match importance {
                    Some(_) => encode_weighted(to, wide, &costs, into),
                    None => encode(to, wide, into),
                }
                let again = &mut again[..wide.len()];
                blocks::widen(to, into, again);
                Ok(cost_of(wide, again, &costs))
            },
        )
        .collect();
    // Added in their order, so that the sum is the same whatever the number of threads.
    let errors = errors.map_err(|NotFinite| not_finite(tensor))?;
    Ok((blocks, errors.iter().sum()))
}

/// A weight that no format can hold.
struct NotFinite;

/// What a user is told of it.
fn not_finite(tensor: &TensorEntry) -> io::Error {
    io::Error::other(format!(
        "tensor `{}` has a weight that is no finite number; the input is damaged, fetch it again",
        tensor.name
    ))
}

/// The weights of some blocks, at the begin of `wide`.
fn widened<'wide>(
    format: Format,
    scale: f32,
    blocks: &[u8],
    wide: &'wide mut [f32],
) -> Result<&'wide [f32], NotFinite> {
    let wide = &mut wide[..blocks.len() / format.block_bytes() as usize * format.block_weights() as usize];
    blocks::widen(format, blocks, wide);
    if scale != 1.0 {
        wide.iter_mut().for_each(|weight| *weight *= scale);
    }
    if wide.iter().all(|weight| weight.is_finite()) { Ok(wide) } else { Err(NotFinite) }
}

/// What the weights of a piece cost: columns follow each other, row after row, wherever the piece begins.
fn costs(importance: &[f32], piece: usize, weights: usize) -> Vec<f32> {
    let first = piece * PIECE % importance.len();
    importance.iter().cycle().skip(first).take(weights).copied().collect()
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
