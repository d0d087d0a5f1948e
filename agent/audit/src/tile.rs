//! Where things lie in a tiled log (c2sp.org/tlog-tiles): names of files and bounds of subtrees, no hashing.
//!
//! ```text
//! tile/<level>/<number>             256 hashes of 32 bytes, each over 256^level records
//! tile/<level>/<number>.p/<width>   the last tile of a level, if it is not full
//! tile/entries/<number>[.p/<width>] the 256 records below tile <number> of level 0
//!
//! 1234067 is written x001/x234/067
//! ```

/// Hashes in a full tile, records in a full bundle.
pub(crate) const WIDTH: u64 = 256;

/// The signed head of the log.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// What a file in the tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// Records.
    Entries,
    /// Hashes over 256^level records each.
    Level(u32),
}

/// The name of tile or bundle `number`; `width` is below 256 where it is the last one and not full.
pub(crate) fn path(row: Row, number: u64, width: u64) -> String {
    let row = match row {
        Row::Entries => "entries".to_owned(),
        Row::Level(level) => level.to_string(),
    };
    let mut name = format!("{:03}", number % 1000);
    let mut rest = number / 1000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
    format!("tile/{row}/{name}{partial}")
}

/// How wide each tile of a level is in a log of `size` records: full ones, then what is left.
pub(crate) fn widths(size: u64, level: u32) -> impl Iterator<Item = (u64, u64)> {
    let hashes = 256_u64.checked_pow(level).map_or(0, |span| size / span);
    (0..hashes.div_ceil(WIDTH)).map(move |number| (number, (hashes - number * WIDTH).min(WIDTH)))
}

/// A perfect subtree: the records `position << height` to `(position + 1) << height`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subtree {
    pub(crate) height: u32,
    pub(crate) position: u64,
}

/// The fewest perfect subtrees that cover the records `from..to`, from left to right.
pub(crate) fn cover(mut from: u64, to: u64) -> Vec<Subtree> {
    let mut subtrees = Vec::new();
    while from < to {
        let height = from.trailing_zeros().min((to - from).ilog2());
        subtrees.push(Subtree { height, position: from >> height });
        from += 1 << height;
    }
    subtrees
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(path(Row::Level(0), 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path(Row::Level(0), 273, 112), "tile/0/273.p/112");
        assert_eq!(path(Row::Entries, 0, 256), "tile/entries/000");
        assert_eq!(path(Row::Entries, 1000, 1), "tile/entries/x001/000.p/1");
    }

    #[test]
    fn a_log_of_70000_has_the_tiles_that_the_specification_counts() {
        let of = |level| widths(70_000, level).collect::<Vec<_>>();
        assert_eq!((of(0).len(), of(0)[273]), (274, (273, 112)));
        assert_eq!(of(1), [(0, 256), (1, 17)]);
        assert_eq!(of(2), [(0, 1)]);
        assert_eq!(of(3), []);
        assert_eq!(widths(256, 1).collect::<Vec<_>>(), [(0, 1)]);
        assert_eq!(widths(0, 0).count(), 0);
        assert_eq!(widths(u64::MAX, 8).count(), 0);
    }

    proptest! {
        #[test]
        fn a_cover_is_aligned_and_without_gaps(from in 0_u64..1 << 40, length in 0_u64..1 << 40) {
            let mut next = from;
            for Subtree { height, position } in cover(from, from + length) {
                prop_assert_eq!(position << height, next);
                next += 1 << height;
            }
            prop_assert_eq!(next, from + length);
        }
    }
}
