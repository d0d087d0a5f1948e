//! What weights are multiplied with: rows of F32, and the same in whole numbers of eight bits, 32 to a scale.

use super::Cpu;
use super::panel::{self, Panel};
use super::shares::Shares;
use super::simd::{Kernel, LANES, Simd};

/// Inputs that share a scale.
pub(crate) const GROUP: usize = 32;

/// 32 inputs, `code · scale` each: one line of a processor's cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Group {
    /// From −127 to 127, four to a multiplication.
    pub(crate) codes: [[i8; 4]; 8],
    pub(crate) scale: f32,
    /// The sum of all codes, times the scale.
    pub(crate) scaled_sum: f32,
    /// The sum of all codes, negative: what formats that centre their codes begin with.
    pub(crate) minus_sum: i32,
    /// The same of either half.
    pub(crate) minus_sums: [i32; 2],
}

/// The rows that a pass multiplies matrices with.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    columns: usize,
    /// (tokens, columns)
    rows: Vec<f32>,
    /// (tokens, columns / 32); empty until a matrix asks for them.
    groups: Vec<Group>,
    /// The groups of sixteen tokens each, as many as are whole: (tokens / 16, columns / 32). Empty where no matrix products
    /// are to be had.
    panels: Vec<Panel>,
}

impl Activations {
    /// No rows yet.
    pub(crate) const fn new() -> Self {
        Self { columns: 0, rows: Vec::new(), groups: Vec::new(), panels: Vec::new() }
    }

    /// No rows yet, and room for so many of so many columns.
    pub(crate) fn with_room(tokens: usize, columns: usize) -> Self {
        Self {
            rows: Vec::with_capacity(tokens * columns),
            groups: Vec::with_capacity(tokens * (columns / GROUP)),
            ..Self::new()
        }
    }

    /// Takes rows of so many columns, overwriting what was there.
    pub(crate) fn set(&mut self, rows: &[f32], columns: usize) {
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.columns = columns;
        self.groups.clear();
    }

    /// The rows, to be written: (tokens, columns).
    pub(crate) fn rows_mut(&mut self, tokens: usize, columns: usize) -> &mut [f32] {
        self.columns = columns;
        self.groups.clear();
        self.rows.resize(tokens * columns, 0.0);
        &mut self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn tokens(&self) -> usize {
        self.rows.len().checked_div(self.columns).unwrap_or(0)
    }

    pub(crate) fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// (tokens, columns / 32). Empty before [`Activations::quantise`].
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// (tokens / 16, columns / 32). Empty before [`Activations::quantise`].
    pub(crate) fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// Makes the groups, once for all matrices that these rows are multiplied with.
    pub(crate) fn quantise(&mut self, cpu: &Cpu) {
        if !self.groups.is_empty() {
            return;
        }
        /// Rows that one thread takes at a time.
        const TOGETHER: usize = panel::TOKENS;
        let (tokens, columns) = (self.tokens(), self.columns);
        let per_row = columns / GROUP;
        self.groups.resize(tokens * per_row, Group::default());
        let panels = if cpu.has_matrices() { tokens / panel::TOKENS } else { 0 };
        self.panels.resize(panels * per_row, Panel::default());
        let (rows, groups, panels) = (&self.rows, Shares::new(&mut self.groups), Shares::new(&mut self.panels));
        cpu.team.each(tokens.div_ceil(TOGETHER), |piece| {
            let (from, to) = (piece * TOGETHER, tokens.min((piece + 1) * TOGETHER));
            #[expect(unsafe_code, reason = "each piece writes the groups of its own rows; see SAFETY")]
            // SAFETY: pieces are disjoint ranges of rows.
            let groups = unsafe { groups.range(from * per_row..to * per_row) };
            cpu.run(Quantise { numbers: rows[from * columns..to * columns].as_chunks().0, groups });
            let panel = from / panel::TOKENS * per_row;
            if panel < panels.length() {
                #[expect(unsafe_code, reason = "each piece writes the panels of its own rows; see SAFETY")]
                // SAFETY: a piece's rows are those of one panel, no other piece's.
                let panels = unsafe { panels.range(panel..panel + per_row) };
                for (token, groups) in groups.chunks_exact(per_row).enumerate() {
                    panels.iter_mut().zip(groups).for_each(|(panel, group)| panel.set(token, group));
                }
            }
        });
    }
}

struct Quantise<'a> {
    numbers: &'a [[f32; GROUP]],
    groups: &'a mut [Group],
}

impl Kernel for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (numbers, group) in self.numbers.iter().zip(self.groups) {
            quantise(simd, numbers, group);
        }
    }
}

/// To the nearest of 255 numbers, the largest input becoming ±127.
#[inline(always)]
fn quantise<S: Simd>(simd: S, numbers: &[f32; GROUP], group: &mut Group) {
    let halves: &[[f32; LANES]] = numbers.as_chunks().0;
    let mut largest = [0.0f32; LANES];
    for part in 0..S::PARTS {
        let absolute = |half: &[f32; LANES]| {
            let number = simd.load(half, part);
            simd.larger(number, simd.subtract(simd.float(0.0), number))
        };
        simd.store(simd.larger(absolute(&halves[0]), absolute(&halves[1])), &mut largest, part);
    }
    let largest = largest.iter().fold(0.0f32, |most, number| if *number > most { *number } else { most });
    let scale = largest / 127.0;
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut sums = [0; 2];
    for half in 0..2 {
        let mut wide = [0i32; LANES];
        for part in 0..S::PARTS {
            let scaled = simd.multiply(simd.load(&halves[half], part), simd.float(inverse));
            simd.store_whole(simd.round(scaled), &mut wide, part);
        }
        let codes = &mut group.codes.as_flattened_mut()[half * LANES..(half + 1) * LANES];
        codes.iter_mut().zip(&wide).for_each(|(code, wide)| *code = *wide as i8);
        sums[half] = wide.iter().sum::<i32>();
    }
    let [first, second] = sums;
    group.scale = scale;
    group.minus_sums = [-first, -second];
    group.minus_sum = -(first + second);
    group.scaled_sum = scale * (first + second) as f32;
}
