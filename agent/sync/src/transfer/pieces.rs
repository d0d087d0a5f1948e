//! A chunk that comes in pieces, put together. What has come of it outlives the connection, so that a line that breaks again and
//! again costs no more than a piece each time.

use bytes::{Bytes, BytesMut};
use outpost_contract::Blake3;

/// The one chunk of which a part has come; chunks come one after the other.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    chunk: Option<Blake3>,
    bytes: BytesMut,
}

impl Assembly {
    /// Bytes of a chunk that are here.
    pub(super) fn arrived(&self, chunk: Blake3) -> usize {
        if self.chunk == Some(chunk) { self.bytes.len() } else { 0 }
    }

    /// Takes a piece that begins at byte `at` of a chunk of `whole` bytes, and gives the chunk once it is whole. What does not
    /// continue what is here begins it anew, or is dropped.
    pub(super) fn put(&mut self, chunk: Blake3, at: usize, piece: &[u8], whole: usize) -> Option<Bytes> {
        if at == 0 {
            self.chunk = Some(chunk);
            self.bytes.clear();
        }
        if self.chunk != Some(chunk) || self.bytes.len() != at || piece.len() > whole.saturating_sub(at) {
            return None;
        }
        self.bytes.extend_from_slice(piece);
        (self.bytes.len() == whole).then(|| self.bytes.split().freeze())
    }

    /// Where it stands, to tell later whether it has come on.
    pub(super) fn standing(&self) -> Standing {
        Standing { chunk: self.chunk, bytes: self.bytes.len() }
    }

    /// True if more of the same chunk has come since, or of a first one.
    pub(super) fn has_grown_since(&self, before: &Standing) -> bool {
        self.bytes.len() > before.bytes && (before.bytes == 0 || self.chunk == before.chunk)
    }
}

/// How far an assembly was.
#[derive(Debug, Default)]
pub(super) struct Standing {
    chunk: Option<Blake3>,
    bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Blake3 = Blake3([1; 32]);
    const B: Blake3 = Blake3([2; 32]);

    #[test]
    fn pieces_in_order_become_the_chunk_and_nothing_else_does() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.put(A, 0, b"abc", 6), None);
        assert_eq!((assembly.arrived(A), assembly.arrived(B)), (3, 0));
        assert_eq!(assembly.put(A, 4, b"e", 6), None, "a gap");
        assert_eq!(assembly.put(B, 3, b"def", 6), None, "of another");
        assert_eq!(assembly.put(A, 3, b"defg", 6), None, "too much");
        assert_eq!(assembly.put(A, 3, b"def", 6).as_deref(), Some(&b"abcdef"[..]));
        assert_eq!(assembly.arrived(A), 0);
    }

    #[test]
    fn what_begins_anew_has_not_grown() {
        let mut assembly = Assembly::default();
        let empty = assembly.standing();
        assembly.put(A, 0, b"abc", 9);
        assert!(assembly.has_grown_since(&empty));
        let first = assembly.standing();
        assembly.put(B, 0, b"abcdef", 9);
        assert!(!assembly.has_grown_since(&first), "another chunk instead is no progress");
        assembly.put(A, 0, b"abcd", 9);
        assert!(assembly.has_grown_since(&first));
    }

    proptest! {
        #[test]
        fn whatever_comes_it_never_holds_more_than_a_chunk(
            pieces in prop::collection::vec((any::<bool>(), 0_usize..20, prop::collection::vec(any::<u8>(), 0..20)), 0..40)
        ) {
            let mut assembly = Assembly::default();
            for (first, at, piece) in pieces {
                if let Some(whole) = assembly.put(if first { A } else { B }, at, &piece, 16) {
                    prop_assert_eq!(whole.len(), 16);
                }
                prop_assert!(assembly.bytes.len() < 16);
            }
        }
    }
}
