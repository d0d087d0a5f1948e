//! Checking a consistency proof, by `ct-merkle`: nothing here is shared with the code that makes proofs.

use ct_merkle::digest::Digest;
use ct_merkle::{ConsistencyProof, RootHash};
use sha2::Sha256;

use super::MAX_PROOF_HASHES;
use crate::Checkpoint;

/// No tree is larger: the arithmetic of tree positions ends here.
pub(crate) const MAX_TREE_SIZE: u64 = (1 << 63) - 1;

/// A tree by its size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Leaves in it.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: [u8; 32],
}

impl TreeHead {
    /// The tree without leaves, with which every log begins.
    #[must_use]
    pub fn empty() -> Self {
        Self { size: 0, root: Sha256::digest([]).into() }
    }
}

impl From<&Checkpoint> for TreeHead {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self { size: checkpoint.size, root: checkpoint.root }
    }
}

/// A proof does not show that one tree begins with the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not show that the tree of {new} records begins with the tree of {old} records")]
pub struct Inconsistent {
    /// Size of the earlier tree.
    pub old: u64,
    /// Size of the later tree.
    pub new: u64,
}

/// Checks that the tree `new` begins with the tree `old`. From the empty tree, and between equal trees, the proof must
/// be empty.
///
/// # Errors
/// If the proof does not show it.
pub fn check(old: &TreeHead, new: &TreeHead, proof: &[[u8; 32]]) -> Result<(), Inconsistent> {
    let shown = if old.size > new.size || new.size > MAX_TREE_SIZE || proof.len() > MAX_PROOF_HASHES {
        false
    } else if old.size == 0 || old.size == new.size {
        let same_root = old.size < new.size || old.root == new.root;
        let root_of_nothing = old.size > 0 || *old == TreeHead::empty();
        proof.is_empty() && same_root && root_of_nothing
    } else {
        let root = |head: &TreeHead| RootHash::<Sha256>::new(head.root.into(), head.size);
        ConsistencyProof::try_from_bytes(proof.concat())
            .is_ok_and(|proof| root(new).verify_consistency(&root(old), &proof).is_ok())
    };
    if shown { Ok(()) } else { Err(Inconsistent { old: old.size, new: new.size }) }
}
