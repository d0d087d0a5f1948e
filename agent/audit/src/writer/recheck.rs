//! Whether what the disk has goes on from what was acknowledged: read from the last kept checkpoint on, or the last full
//! tile before it.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::Tip;
use crate::log::load_tree;
use crate::tree::{self, Hash, TILE_HEIGHT, Tree};
use crate::{AuditError, Checkpoint, VerifierKey};

/// What is on the disk, and can be gone on from.
pub(super) struct Found {
    pub(super) tree: Tree,
    pub(super) tip: Tip,
    pub(super) kept_size: u64,
}

/// Checks the stored head as a start does; then hashes every record since the last kept checkpoint again, from its bytes,
/// and compares the trees on the way: at that checkpoint with what was signed, at the acknowledged size with what was
/// acknowledged, at the end with the stored head.
pub(super) fn recheck(
    connection: &Connection,
    directory: &Path,
    verifier_key: &VerifierKey,
    acknowledged: &Tree,
) -> Result<Found, AuditError> {
    let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
    let damaged = |what: String| AuditError::Damaged { directory: directory.to_owned(), what };
    let (stored, tip, kept_size) = load_tree(connection, directory, verifier_key)?;
    if stored.size() < acknowledged.size() {
        let (size, acknowledged) = (stored.size(), acknowledged.size());
        return Err(damaged(format!("it has {size} records, and {acknowledged} were acknowledged")));
    }
    let kept = connection
        .query_row("SELECT note FROM checkpoints WHERE size = ?1", [kept_size], |row| row.get::<_, String>(0))
        .optional()
        .map_err(read)?;
    let kept_root = match kept {
        Some(note) => Some(Checkpoint::verify(&note, verifier_key).map_err(|cause| damaged(cause.to_string()))?.root),
        None => None,
    };
    let begin = (kept_size.min(acknowledged.size()) >> TILE_HEIGHT) << TILE_HEIGHT;
    let mut tree =
        from_nodes(connection, begin).map_err(read)?.ok_or_else(|| damaged("a node is missing".to_owned()))?;
    let compare = |tree: &Tree| {
        let root_at = |size: u64, root: Hash| tree.size() != size || tree.root() == root;
        if !kept_root.is_none_or(|root| root_at(kept_size, root)) {
            return Err(damaged(format!("its first {kept_size} records are not those of the kept checkpoint")));
        }
        if !root_at(acknowledged.size(), acknowledged.root()) {
            return Err(damaged(format!("its first {} records are not those acknowledged", acknowledged.size())));
        }
        Ok(())
    };
    compare(&tree)?;
    let mut statement =
        connection.prepare("SELECT idx, hash, bytes FROM leaves WHERE idx >= ?1 ORDER BY idx").map_err(read)?;
    let mut rows = statement.query([begin]).map_err(read)?;
    while let Some(row) = rows.next().map_err(read)? {
        let (index, hash, bytes): (u64, Vec<u8>, Vec<u8>) =
            (row.get(0).map_err(read)?, row.get(1).map_err(read)?, row.get(2).map_err(read)?);
        let computed = tree::leaf_hash(&bytes);
        if index != tree.size() || computed.as_slice() != hash {
            return Err(damaged(format!("record {} is missing or changed", tree.size())));
        }
        for node in tree.push(computed) {
            if self::node(connection, node.level, node.index).map_err(read)? != Some(node.hash) {
                return Err(damaged(format!("the hash stored for the records up to {index} is wrong")));
            }
        }
        compare(&tree)?;
    }
    if tree != stored {
        return Err(damaged("its records do not lead to its signed head".to_owned()));
    }
    Ok(Found { tree, tip, kept_size })
}

/// The tree over the first `size` records, a whole number of tiles, by the stored nodes; none if one is missing.
fn from_nodes(connection: &Connection, size: u64) -> rusqlite::Result<Option<Tree>> {
    let mut tree = Tree::default();
    let mut levels = Vec::new();
    let mut level = 1;
    while let width = TILE_HEIGHT * level
        && width < u64::BITS
        && size >> width > 0
    {
        levels.push(level);
        level += 1;
    }
    for level in levels.into_iter().rev() {
        let height = TILE_HEIGHT * level;
        for index in (tree.size() >> height)..(size >> height) {
            let Some(hash) = node(connection, level, index)? else { return Ok(None) };
            tree.push_subtree(height, hash);
        }
    }
    Ok(Some(tree))
}

fn node(connection: &Connection, level: u32, index: u64) -> rusqlite::Result<Option<Hash>> {
    connection
        .prepare_cached("SELECT hash FROM nodes WHERE level = ?1 AND idx = ?2")?
        .query_row((level, index), |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_whole_tiles_comes_back_from_its_stored_nodes() {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE nodes (level INTEGER, idx INTEGER, hash BLOB, PRIMARY KEY (level, idx)) STRICT";
        connection.execute_batch(table).unwrap();
        let (mut tree, mut trees) = (Tree::default(), vec![Tree::default()]);
        for leaf in 0..70_000_u32 {
            for node in tree.push(tree::leaf_hash(&leaf.to_be_bytes())) {
                let row = (node.level, node.index, node.hash);
                connection.execute("INSERT INTO nodes VALUES (?1, ?2, ?3)", row).unwrap();
            }
            if tree.size().is_multiple_of(256) {
                trees.push(tree.clone());
            }
        }
        assert_eq!(trees.len(), 274);
        for tree in trees {
            let size = tree.size();
            assert_eq!(from_nodes(&connection, size).unwrap(), Some(tree), "{size}");
        }
        connection.execute("DELETE FROM nodes WHERE level = 1 AND idx = 270", ()).unwrap();
        assert_eq!(from_nodes(&connection, 69_888).unwrap(), None);
    }
}
