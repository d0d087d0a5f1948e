//! A Merkle tree by its right edge, with the verifier's own hashing.

use ct_merkle::digest::Digest;
use sha2::Sha256;

use super::signed::parent;
use crate::tile::Subtree;

/// Perfect subtrees from left to right, each higher than the next.
#[derive(Debug, Default)]
pub(super) struct Stack {
    subtrees: Vec<(u32, [u8; 32])>,
    size: u64,
}

impl Stack {
    /// Adds 2^`height` leaves by their root; false if they cannot stand here.
    pub(super) fn push(&mut self, height: u32, root: [u8; 32]) -> bool {
        let Some(size) = 1_u64.checked_shl(height).and_then(|span| self.size.checked_add(span)) else { return false };
        if self.size.trailing_zeros() < height {
            return false;
        }
        self.size = size;
        let (mut height, mut hash) = (height, root);
        while let Some((_, left)) = self.subtrees.pop_if(|(top, _)| *top == height) {
            hash = parent(&left, &hash);
            height += 1;
        }
        self.subtrees.push((height, hash));
        true
    }

    /// Adds subtrees in turn.
    pub(super) fn push_all(&mut self, subtrees: &[Subtree], roots: &[[u8; 32]]) -> bool {
        subtrees.len() == roots.len()
            && subtrees.iter().zip(roots).all(|(subtree, root)| self.push(subtree.height, *root))
    }

    /// Leaves so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    pub(super) fn root(&self) -> [u8; 32] {
        let hashes = self.subtrees.iter().rev().map(|(_, hash)| *hash);
        hashes.reduce(|right, left| parent(&left, &right)).unwrap_or_else(|| Sha256::digest([]).into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scan::{HashedOnce, leaf_hash};
    use super::*;
    use crate::tile::cover;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_range_between_its_neighbours_leads_to_the_root(size in 0_usize..300, cut in any::<[prop::sample::Index; 2]>()) {
            let leaves: Vec<Vec<u8>> = (0..size).map(|number| number.to_string().into_bytes()).collect();
            let mut judge = ct_merkle::mem_backed_tree::MemoryBackedTree::<Sha256, HashedOnce>::new();
            leaves.iter().for_each(|leaf| judge.push(HashedOnce::new(leaf)));
            let expected: [u8; 32] = (*judge.root().as_bytes()).into();

            let root = |from: u64, to: u64| {
                let mut stack = Stack::default();
                leaves[from as usize..to as usize].iter().for_each(|leaf| assert!(stack.push(0, leaf_hash(leaf))));
                stack.root()
            };
            let mut cuts = cut.map(|cut| cut.index(size + 1) as u64);
            cuts.sort_unstable();
            let [from, to] = cuts;
            let roots = |subtrees: &[Subtree]| -> Vec<_> {
                subtrees.iter().map(|part| root(part.position << part.height, (part.position + 1) << part.height)).collect()
            };
            let (left, right) = (cover(0, from), cover(to, size as u64));
            let mut stack = Stack::default();
            prop_assert!(stack.push_all(&left, &roots(&left)));
            leaves[from as usize..to as usize].iter().for_each(|leaf| assert!(stack.push(0, leaf_hash(leaf))));
            prop_assert!(stack.push_all(&right, &roots(&right)));
            prop_assert_eq!((stack.size(), stack.root()), (size as u64, expected));
        }
    }

    #[test]
    fn what_cannot_stand_there_is_refused() {
        let mut stack = Stack::default();
        assert!(stack.push(0, [0; 32]));
        assert!(!stack.push(1, [0; 32]));
        assert!(!stack.push(64, [0; 32]));
        assert!(!Stack::default().push_all(&[], &[[0; 32]]));
    }
}
