//! How the codes of sixteen rows lie in lines, so that four codes of each row make one vector.
//!
//! A group is 32 columns of sixteen rows. As bytes it would be eight lines: line `j` has the codes of columns
//! `4j … 4j + 3`, four bytes for each row in turn. Narrow codes share lines:
//!
//! ```text
//! four bits  line j of 4: columns 4j … in the low, columns 16 + 4j … in the high half of each byte
//! fifth bit  one line more: bit j of each byte belongs to line j of 8
//! two bits   line j of 2: bits 2i and 2i + 1 belong to line 4j + i of 8
//! six bits   four bits, then two bits
//! ```
//! Reading has loops and no closures: a closure is compiled for no instructions at all before it comes into the kernel that calls
//! it, and what it calls then stays a call.

use super::simd::{LANES, Line, Simd};

/// Lines of a group whose codes are bytes.
pub(crate) const LINES: usize = 8;

/// One way to lay out codes. Lines come in the order of groups.
pub(crate) trait Codes {
    /// Lines that a group takes.
    const LINES: usize;
    /// The codes are signed bytes; otherwise they are below 64.
    const SIGNED: bool = false;
    /// Writes the codes of a group, 32 of each row.
    fn write(codes: &[[u8; 32]; LANES], lines: &mut [Line]);
    /// One part of each of the group's eight lines.
    fn read<S: Simd>(simd: S, lines: &[Line], part: usize) -> [S::Whole; LINES];
}

/// The codes of line `line` of 8.
fn columns(codes: &[[u8; 32]; LANES], line: usize) -> Line {
    let mut columns = [0; 64];
    for (to, row) in columns.as_chunks_mut::<4>().0.iter_mut().zip(codes) {
        *to = row.as_chunks::<4>().0[line];
    }
    columns
}

/// Adds bits of a line's codes to another line.
fn put(to: &mut Line, codes: &Line, bits: impl Fn(u8) -> u8) {
    to.iter_mut().zip(codes).for_each(|(to, code)| *to |= bits(*code));
}

/// Signed bytes.
#[derive(Debug)]
pub(crate) struct Bytes;

impl Codes for Bytes {
    const LINES: usize = 8;
    const SIGNED: bool = true;

    fn write(codes: &[[u8; 32]; LANES], lines: &mut [Line]) {
        lines.iter_mut().enumerate().for_each(|(at, line)| *line = columns(codes, at));
    }

    #[inline(always)]
    fn read<S: Simd>(simd: S, lines: &[Line], part: usize) -> [S::Whole; LINES] {
        let mut codes = [simd.whole(0); LINES];
        for at in 0..LINES {
            codes[at] = simd.line(&lines[at], part);
        }
        codes
    }
}

/// Four bits.
#[derive(Debug)]
pub(crate) struct Four;

impl Codes for Four {
    const LINES: usize = 4;

    fn write(codes: &[[u8; 32]; LANES], lines: &mut [Line]) {
        for (at, line) in lines.iter_mut().enumerate() {
            put(line, &columns(codes, at), |code| code & 15);
            put(line, &columns(codes, at + 4), |code| code << 4);
        }
    }

    #[inline(always)]
    fn read<S: Simd>(simd: S, lines: &[Line], part: usize) -> [S::Whole; LINES] {
        let mut codes = [simd.whole(0); LINES];
        for (at, line) in lines[..4].iter().enumerate() {
            let line = simd.line(line, part);
            codes[at] = simd.and(line, 15);
            codes[at + 4] = simd.and(simd.down::<4>(line), 15);
        }
        codes
    }
}

/// Five bits.
#[derive(Debug)]
pub(crate) struct Five;

impl Codes for Five {
    const LINES: usize = 5;

    fn write(codes: &[[u8; 32]; LANES], lines: &mut [Line]) {
        Four::write(codes, &mut lines[..4]);
        for at in 0..LINES {
            put(&mut lines[4], &columns(codes, at), |code| (code >> 4 & 1) << at);
        }
    }

    #[inline(always)]
    fn read<S: Simd>(simd: S, lines: &[Line], part: usize) -> [S::Whole; LINES] {
        let mut codes = Four::read(simd, lines, part);
        let fifth = simd.line(&lines[4], part);
        let fifths = [
            simd.up::<4>(fifth),
            simd.up::<3>(fifth),
            simd.up::<2>(fifth),
            simd.up::<1>(fifth),
            fifth,
            simd.down::<1>(fifth),
            simd.down::<2>(fifth),
            simd.down::<3>(fifth),
        ];
        for at in 0..LINES {
            codes[at] = simd.or(codes[at], simd.and(fifths[at], 16));
        }
        codes
    }
}

/// Six bits.
#[derive(Debug)]
pub(crate) struct Six;

impl Codes for Six {
    const LINES: usize = 6;

    fn write(codes: &[[u8; 32]; LANES], lines: &mut [Line]) {
        Four::write(codes, &mut lines[..4]);
        let upper = codes.map(|row| row.map(|code| code >> 4));
        Two::write(&upper, &mut lines[4..]);
    }

    #[inline(always)]
    fn read<S: Simd>(simd: S, lines: &[Line], part: usize) -> [S::Whole; LINES] {
        let mut codes = Four::read(simd, lines, part);
        for (at, line) in lines[4..6].iter().enumerate() {
            let line = simd.line(line, part);
            let upper = [simd.up::<4>(line), simd.up::<2>(line), line, simd.down::<2>(line)];
            for part in 0..4 {
                codes[4 * at + part] = simd.or(codes[4 * at + part], simd.and(upper[part], 48));
            }
        }
        codes
    }
}

/// Two bits.
#[derive(Debug)]
pub(crate) struct Two;

impl Codes for Two {
    const LINES: usize = 2;

    fn write(codes: &[[u8; 32]; LANES], lines: &mut [Line]) {
        for at in 0..LINES {
            put(&mut lines[at / 4], &columns(codes, at), |code| (code & 3) << (2 * (at % 4)));
        }
    }

    #[inline(always)]
    fn read<S: Simd>(simd: S, lines: &[Line], part: usize) -> [S::Whole; LINES] {
        let mut codes = [simd.whole(0); LINES];
        for (at, line) in lines[..2].iter().enumerate() {
            let line = simd.line(line, part);
            let all = [line, simd.down::<2>(line), simd.down::<4>(line), simd.down::<6>(line)];
            for (code, bits) in codes[4 * at..4 * at + 4].iter_mut().zip(all) {
                *code = simd.and(bits, 3);
            }
        }
        codes
    }
}
