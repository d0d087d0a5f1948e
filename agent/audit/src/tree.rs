//! The Merkle tree of RFC 6962 as its writer needs it: the right edge only.
//!
//! ```text
//! size 7 = 4 + 2 + 1            frontier = [hash of leaves 0–3, hash of leaves 4–5, hash of leaf 6]
//!
//! leaf = SHA-256(0x00 ‖ bytes)          node = SHA-256(0x01 ‖ left ‖ right)
//! ```
//!
//! The verifier does not use this file.

use aws_lc_rs::digest;

/// A SHA-256 hash.
pub(crate) type Hash = [u8; 32];

/// Nodes at heights that are multiples of this are stored: a tile of c2sp.org/tlog-tiles is 2^8 hashes wide.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// A tree by its size and the roots of its perfect subtrees, largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    size: u64,
    frontier: Vec<Hash>,
}

/// The root of a perfect subtree that a leaf completed: position `index` on tile level `level`, which spans
/// 256^`level` leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TileNode {
    pub(crate) level: u32,
    pub(crate) index: u64,
    pub(crate) hash: Hash,
}

impl Tree {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash; returns the stored nodes that it completes, lowest first.
    pub(crate) fn push(&mut self, leaf: Hash) -> Vec<TileNode> {
        self.push_subtree(0, leaf)
    }

    /// Adds 2^`height` leaves by the root over them, where the size is a multiple of that many.
    pub(crate) fn push_subtree(&mut self, height: u32, root: Hash) -> Vec<TileNode> {
        debug_assert!(self.size.trailing_zeros() >= height);
        let index = self.size >> height;
        self.size += 1 << height;
        let mut hash = root;
        let mut completed = Vec::new();
        // Every trailing 1 of the old size is a perfect left sibling that waits for this subtree.
        for above in 1..=index.trailing_ones() {
            let left = self.frontier.pop().expect("the frontier has one hash for each 1 in the size");
            hash = node_hash(&left, &hash);
            if (height + above).is_multiple_of(TILE_HEIGHT) {
                completed.push(TileNode { level: (height + above) / TILE_HEIGHT, index: index >> above, hash });
            }
        }
        self.frontier.push(hash);
        completed
    }

    /// The hash over all leaves.
    pub(crate) fn root(&self) -> Hash {
        let mut from_right = self.frontier.iter().rev();
        match from_right.next() {
            None => sha256(&[]),
            Some(&last) => from_right.fold(last, |right, left| node_hash(left, &right)),
        }
    }

    /// The frontier as it is stored: its hashes, one after the other.
    pub(crate) fn frontier_bytes(&self) -> Vec<u8> {
        self.frontier.concat()
    }

    /// The tree of this size and frontier; `None` if they do not belong together.
    pub(crate) fn restore(size: u64, frontier: &[u8]) -> Option<Self> {
        let (hashes, rest) = frontier.as_chunks::<32>();
        let fits = rest.is_empty() && hashes.len() == size.count_ones() as usize;
        fits.then(|| Self { size, frontier: hashes.to_vec() })
    }
}

/// The hash of a leaf's bytes.
pub(crate) fn leaf_hash(bytes: &[u8]) -> Hash {
    sha256(&[&[0x00], bytes])
}

/// The hash of two sibling subtrees.
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[0x01], left, right])
}

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6962 §2.1, word for word: split at the largest power of two below the size.
    fn naive_root(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [leaf] => leaf_hash(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_empty_tree_is_the_hash_of_nothing() {
        let expected = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex::encode(Tree::default().root()), expected);
    }

    #[test]
    fn roots_match_the_published_vectors() {
        // The test vectors of Certificate Transparency's reference implementation for sizes 1, 2, 3 and 8.
        let leaves =
            ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
        let mut tree = Tree::default();
        let mut roots = Vec::new();
        for leaf in leaves {
            tree.push(leaf_hash(&hex::decode(leaf).unwrap()));
            roots.push(hex::encode(tree.root()));
        }
        assert_eq!(roots[0], "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(roots[1], "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(roots[2], "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
        assert_eq!(roots[7], "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn completed_tiles_are_the_roots_of_their_leaves() {
        let leaves: Vec<Vec<u8>> = (0..65_536_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        let mut tree = Tree::default();
        let completed: Vec<TileNode> = leaves.iter().flat_map(|leaf| tree.push(leaf_hash(leaf))).collect();
        assert_eq!(completed.len(), 257);
        assert_eq!(completed[1], TileNode { level: 1, index: 1, hash: naive_root(&leaves[256..512]) });
        assert_eq!(completed[256], TileNode { level: 2, index: 0, hash: naive_root(&leaves) });
    }

    #[test]
    fn a_frontier_of_another_size_is_refused() {
        let mut tree = Tree::default();
        tree.push([1; 32]);
        tree.push([2; 32]);
        tree.push([3; 32]);
        let bytes = tree.frontier_bytes();
        assert_eq!(Tree::restore(3, &bytes), Some(tree));
        assert_eq!(Tree::restore(4, &bytes), None);
        assert_eq!(Tree::restore(3, &bytes[1..]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_root_is_the_one_that_rfc_6962_defines(
            leaves in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..8), 0..80),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut tree = Tree::default();
            let cut = cut.index(leaves.len() + 1);
            for (position, leaf) in leaves.iter().enumerate() {
                if position == cut {
                    // As after a restart.
                    tree = Tree::restore(tree.size(), &tree.frontier_bytes()).unwrap();
                }
                prop_assert_eq!(tree.root(), naive_root(&leaves[..position]));
                tree.push(leaf_hash(leaf));
            }
            prop_assert_eq!(tree.root(), naive_root(&leaves));
        }
    }
}
