//! Where a file is cut: where its tensors begin, so that a release that changes few tensors changes few chunks.

use outpost_contract::limits::CHUNK_BYTES;

/// Cut points that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cut point {cut} is not above the one before it and below the file's {length} bytes")]
pub struct InvalidCuts {
    /// The first bad one.
    pub cut: u64,
    /// Bytes of the file.
    pub length: u64,
}

/// Gives the length of each chunk, in order: up to the next cut, and at most 256 KiB.
#[derive(Debug)]
pub(crate) struct Chunker<'a> {
    cuts: &'a [u64],
    position: u64,
    length: u64,
}

impl<'a> Chunker<'a> {
    /// `cuts` are offsets, rising, inside the file.
    pub(crate) fn new(cuts: &'a [u64], length: u64) -> Result<Self, InvalidCuts> {
        let mut before = 0;
        for &cut in cuts {
            if cut <= before || cut >= length {
                return Err(InvalidCuts { cut, length });
            }
            before = cut;
        }
        Ok(Self { cuts, position: 0, length })
    }
}

impl Iterator for Chunker<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.cuts.first().is_some_and(|&cut| cut <= self.position) {
            self.cuts = &self.cuts[1..];
        }
        let end = self.cuts.first().copied().unwrap_or(self.length);
        let part = (end - self.position).min(CHUNK_BYTES as u64);
        self.position += part;
        (part > 0).then_some(part as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_outside_the_file_or_out_of_order_are_refused() {
        assert!(Chunker::new(&[0], 10).is_err());
        assert!(Chunker::new(&[10], 10).is_err());
        assert!(Chunker::new(&[5, 5], 10).is_err());
        assert!(Chunker::new(&[5, 6], 10).is_ok());
    }

    proptest! {
        #[test]
        fn chunks_add_up_and_every_cut_begins_one(cuts in proptest::collection::btree_set(1_u64..3_000_000, 0..20)) {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let mut begins = vec![0_u64];
            for part in Chunker::new(&cuts, 3_000_000).unwrap() {
                prop_assert!((1..=CHUNK_BYTES).contains(&part));
                begins.push(begins.last().unwrap() + part as u64);
            }
            prop_assert_eq!(begins.pop(), Some(3_000_000));
            prop_assert!(cuts.iter().all(|cut| begins.contains(cut)));
        }
    }
}
