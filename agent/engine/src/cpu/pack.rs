//! Weights rearranged once, when a model is loaded: sixteen rows to a tile, so that one vector has a number of each row.
//!
//! ```text
//! block formats   tile: runs of groups, each its scales and then its lines of codes     (layouts.rs, codes.rs, scales.rs)
//! F32, F16, BF16  tile: sixteen weights of column 0, sixteen of column 1 …              (tile.rs)
//! ```

use std::ops::Range;

use memmap2::MmapMut;

use super::Cpu;
use super::activations::GROUP;
use super::codes::Codes;
use super::layouts::{self, Layout, Visitor};
use super::scales::Scales;
use super::shares::Shares;
use super::simd::{LANES, Line, Scalar};
use super::tile::{Brain, Element, Half, Single, run_bytes};
use crate::gguf::Format;

/// A packed matrix.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(super) format: Format,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) tile_bytes: usize,
    memory: MmapMut,
}

/// Bytes of a file that are in memory while a matrix is packed, beside what was packed of it: a table may be half of a model.
const READ_TOGETHER: usize = 8 << 20;

/// Tiles begin where lines of the cache do.
const ALIGNED: usize = size_of::<Line>();

impl Packed {
    /// Bytes of the tiles of such a matrix; `None` where the format or the shape has no kernel.
    pub(crate) fn bytes(format: Format, rows: usize, columns: usize) -> Option<u64> {
        let tiles = rows.div_ceil(LANES) as u64;
        tile_bytes(format, columns).map(|bytes| tiles.saturating_mul(bytes as u64))
    }

    /// Packs rows of blocks, and says of each stretch of them when it was read; `None` where the format or the shape has no
    /// kernel.
    ///
    /// # Errors
    /// Fails when the system gives no memory.
    pub(crate) fn new(
        cpu: &Cpu,
        format: Format,
        rows: usize,
        columns: usize,
        bytes: &[u8],
        mut was_read: impl FnMut(Range<usize>),
    ) -> std::io::Result<Option<Self>> {
        let Some(tile_bytes) = tile_bytes(format, columns) else { return Ok(None) };
        let tiles = rows.div_ceil(LANES);
        let mut memory = MmapMut::map_anon(tiles * tile_bytes)?;
        #[cfg(target_os = "linux")]
        // Fewer, larger pages where the kernel has them; it is free to have none.
        let _ = memory.advise(memmap2::Advice::HugePage);
        let row_bytes = bytes.len() / rows;
        let to = Shares::new(&mut memory);
        /// Tiles that one thread packs at a time.
        const TOGETHER: usize = 8;
        let together = (READ_TOGETHER / (LANES * row_bytes).max(1)).max(TOGETHER);
        for begin in (0..tiles).step_by(together) {
            let end = tiles.min(begin + together);
            cpu.team.each((end - begin).div_ceil(TOGETHER), |piece| {
                for tile in begin + piece * TOGETHER..end.min(begin + (piece + 1) * TOGETHER) {
                    #[expect(unsafe_code, reason = "each piece writes tiles of its own; see SAFETY")]
                    // SAFETY: pieces are disjoint ranges of tiles.
                    let to = unsafe { to.range(tile * tile_bytes..(tile + 1) * tile_bytes) };
                    let from = tile * LANES * row_bytes;
                    let until = bytes.len().min(from + LANES * row_bytes);
                    pack_tile(format, &bytes[from..until], row_bytes, to);
                }
            });
            was_read(begin * LANES * row_bytes..bytes.len().min(end * LANES * row_bytes));
        }
        Ok(Some(Self { format, rows, columns, tile_bytes, memory }))
    }

    /// The same tiles so many times over.
    ///
    /// # Errors
    /// Fails when the system gives no memory.
    pub(crate) fn repeated(&self, cpu: &Cpu, times: usize) -> std::io::Result<Self> {
        let one = self.memory.len();
        let mut memory = MmapMut::map_anon(one * times)?;
        #[cfg(target_os = "linux")]
        // As above.
        let _ = memory.advise(memmap2::Advice::HugePage);
        let to = Shares::new(&mut memory);
        cpu.team.each(times, |piece| {
            #[expect(unsafe_code, reason = "each piece writes a copy of its own; see SAFETY")]
            // SAFETY: pieces are disjoint ranges.
            let to = unsafe { to.range(piece * one..(piece + 1) * one) };
            to.copy_from_slice(&self.memory);
        });
        Ok(Self { rows: self.tiles() * LANES * times, memory, ..*self })
    }

    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    pub(super) fn tile(&self, tile: usize) -> &[u8] {
        &self.memory[tile * self.tile_bytes..(tile + 1) * self.tile_bytes]
    }

    /// Widens one row to F32, to the numbers of its blocks in the file: once packed, a model needs its file no more.
    pub(crate) fn row(&self, index: usize, output: &mut [f32]) {
        let (tile, lane) = (self.tile(index / LANES), index % LANES);
        match self.format {
            Format::F32 => widen_column::<Single>(tile, lane, output),
            Format::F16 => widen_column::<Half>(tile, lane, output),
            Format::BF16 => widen_column::<Brain>(tile, lane, output),
            format => {
                layouts::visit(format, WidenRow { tile, lane, output });
            }
        }
    }

    /// Whether it is multiplied with groups of codes, not with F32.
    pub(crate) fn takes_codes(&self) -> bool {
        element_bytes(self.format).is_none()
    }
}

/// Bytes of a weight of a format that has no blocks.
pub(super) fn element_bytes(format: Format) -> Option<usize> {
    match format {
        Format::F32 => Some(4),
        Format::F16 | Format::BF16 => Some(2),
        _ => None,
    }
}

fn tile_bytes(format: Format, columns: usize) -> Option<usize> {
    struct TileBytes(usize);
    impl Visitor for TileBytes {
        type Output = Option<usize>;
        fn layout<L: Layout>(self) -> Option<usize> {
            let (groups, run) = (self.0 / GROUP, L::Scales::RUN);
            let rest = match groups % run {
                0 => 0,
                rest => run_bytes::<L>(rest),
            };
            let whole = self.0.is_multiple_of(GROUP * L::Scales::GROUPS);
            whole.then(|| groups / run * run_bytes::<L>(run) + rest)
        }
    }
    let bytes = match element_bytes(format) {
        Some(bytes) => columns * LANES * bytes,
        None => layouts::visit(format, TileBytes(columns))??,
    };
    Some(bytes.next_multiple_of(ALIGNED))
}

/// Packs up to sixteen rows; what is missing stays zero.
fn pack_tile(format: Format, rows: &[u8], row_bytes: usize, to: &mut [u8]) {
    match element_bytes(format) {
        Some(2) => interleave::<2>(rows, row_bytes, to),
        Some(_) => interleave::<4>(rows, row_bytes, to),
        None => {
            layouts::visit(format, PackTile { rows, row_bytes, to });
        }
    }
}

fn interleave<const BYTES: usize>(rows: &[u8], row_bytes: usize, to: &mut [u8]) {
    for (at, row) in rows.chunks_exact(row_bytes).enumerate() {
        let columns = to.as_chunks_mut::<BYTES>().0.as_chunks_mut::<LANES>().0;
        for (column, weight) in columns.iter_mut().zip(row.as_chunks::<BYTES>().0) {
            column[at] = *weight;
        }
    }
}

struct PackTile<'a> {
    rows: &'a [u8],
    row_bytes: usize,
    to: &'a mut [u8],
}

impl Visitor for PackTile<'_> {
    type Output = ();

    fn layout<L: Layout>(self) {
        let groups = self.row_bytes / L::BLOCK * L::Scales::GROUPS;
        for (run, to) in self.to.chunks_mut(run_bytes::<L>(L::Scales::RUN)).enumerate() {
            let first = run * L::Scales::RUN;
            let (scales, lines) = to.split_at_mut(L::Scales::RUN_BYTES);
            let lines = lines.as_chunks_mut::<ALIGNED>().0.chunks_exact_mut(L::Codes::LINES);
            for (group, lines) in (first..groups).zip(lines) {
                let mut codes = [[0; GROUP]; LANES];
                for (row, codes) in self.rows.chunks_exact(self.row_bytes).zip(&mut codes) {
                    L::codes(block_of::<L>(row, group), group % L::Scales::GROUPS, codes);
                }
                L::Codes::write(&codes, lines);
            }
            let blocks = (first..groups).step_by(L::Scales::GROUPS);
            for (group, scales) in blocks.zip(scales.chunks_exact_mut(L::Scales::BYTES)) {
                for (at, row) in self.rows.chunks_exact(self.row_bytes).enumerate() {
                    L::scales(block_of::<L>(row, group), at, scales);
                }
            }
        }
    }
}

fn widen_column<E: Element>(tile: &[u8], lane: usize, output: &mut [f32]) {
    for (weight, sixteen) in output.iter_mut().zip(E::sixteen(tile)) {
        *weight = E::load(Scalar, sixteen, 0)[lane];
    }
}

/// One row of a tile, back from its lane.
struct WidenRow<'a> {
    tile: &'a [u8],
    lane: usize,
    output: &'a mut [f32],
}

impl Visitor for WidenRow<'_> {
    type Output = ();

    fn layout<L: Layout>(self) {
        let zero = L::ZERO.map_or(0, |power| 1 << power);
        let mut groups = self.output.as_chunks_mut::<GROUP>().0.iter_mut();
        for run in self.tile.chunks(run_bytes::<L>(L::Scales::RUN)) {
            let (scales, lines) = run.split_at(L::Scales::RUN_BYTES);
            let lines = lines.as_chunks::<ALIGNED>().0.chunks_exact(L::Codes::LINES);
            for (at, (lines, weights)) in lines.zip(groups.by_ref().take(L::Scales::RUN)).enumerate() {
                let block = &scales[at / L::Scales::GROUPS * L::Scales::BYTES..][..L::Scales::BYTES];
                let scale = L::Scales::read(Scalar, block, at % L::Scales::GROUPS, 0);
                let codes = L::Codes::read(Scalar, lines, 0).map(|line| line[self.lane].to_le_bytes());
                for (column, (weight, code)) in weights.iter_mut().zip(codes.as_flattened()).enumerate() {
                    let code = if L::Codes::SIGNED { i32::from(code.cast_signed()) } else { i32::from(*code) - zero };
                    let product = scale.scales[2 * column / GROUP][self.lane] * code as f32;
                    *weight = if L::Scales::LEAST { product + scale.least[self.lane] } else { product };
                }
            }
        }
    }
}

/// The block of a row that a group belongs to.
fn block_of<L: Layout>(row: &[u8], group: usize) -> &[u8] {
    &row[group / L::Scales::GROUPS * L::BLOCK..][..L::BLOCK]
}
