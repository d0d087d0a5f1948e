//! What a leaf says about itself, against where it stands and what stood before it.

use std::collections::HashSet;

use super::Problems;
use crate::identifier;
use crate::leaf::Leaf;

/// The ids that were seen.
#[derive(Debug, Default)]
pub(super) struct Claims {
    ids: HashSet<u128>,
}

impl Claims {
    /// Whether the leaf that stands at `index` says so, and has an id of its own.
    pub(super) fn check(&mut self, index: u64, leaf: &Leaf, problems: &mut Problems) {
        match leaf.index() {
            Some(claimed) if claimed == index => {}
            Some(claimed) => problems.add(index, format!("it says that it is record {claimed}")),
            None => problems.add(index, "it does not say which record it is"),
        }
        match leaf.id().and_then(identifier::decode) {
            None => problems.add(index, "its id is missing or malformed"),
            Some(id) if !self.ids.insert(id) => problems.add(index, "its id belongs to an earlier record"),
            Some(_) => {}
        }
        if leaf.integer("v").is_none() || leaf.kind().is_none() || leaf.wall_ms().is_none() {
            problems.add(index, "its version, type or time is missing");
        }
    }
}
