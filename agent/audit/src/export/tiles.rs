//! The whole log as a tree of static files, c2sp.org/tlog-tiles.

use super::staging::Staging;
use crate::AuditError;
use crate::source::Source;
use crate::tile::{self, Row, WIDTH};
use crate::tree::{Hash, Tree, leaf_hash};

/// The last tile of one level, while it fills.
#[derive(Default)]
struct Filling {
    number: u64,
    hashes: Vec<u8>,
}

/// What is written as records pass by: at most one tile a level and one bundle are in memory.
struct Tiles<'a> {
    staging: &'a mut Staging,
    levels: Vec<Filling>,
    bundle: Vec<u8>,
}

/// Writes tiles, bundles and checkpoint.
pub(super) fn write(source: &Source, staging: &mut Staging) -> Result<(), AuditError> {
    let size = source.checkpoint.size;
    let mut tree = Tree::default();
    let mut tiles = Tiles { staging: &mut *staging, levels: Vec::new(), bundle: Vec::new() };
    source.each(0, size, |index, leaf| {
        let length = u16::try_from(leaf.len())
            .map_err(|_| source.damaged(format!("record {index} is larger than a tile entry can be")))?;
        tiles.entry(index, length, leaf)?;
        let hash = leaf_hash(leaf);
        tiles.hash(0, &hash)?;
        tree.push(hash).into_iter().try_for_each(|node| tiles.hash(node.level, &node.hash))
    })?;
    if tree.root() != source.checkpoint.root {
        return Err(source.damaged("its records do not lead to its signed root".to_owned()));
    }
    tiles.finish(size)?;
    staging.write(tile::CHECKPOINT, source.note.as_bytes())
}

impl Tiles<'_> {
    fn entry(&mut self, index: u64, length: u16, leaf: &[u8]) -> Result<(), AuditError> {
        self.bundle.extend_from_slice(&length.to_be_bytes());
        self.bundle.extend_from_slice(leaf);
        if index % WIDTH == WIDTH - 1 {
            self.staging.write(&tile::path(Row::Entries, index / WIDTH, WIDTH), &self.bundle)?;
            self.bundle.clear();
        }
        Ok(())
    }

    fn hash(&mut self, level: u32, hash: &Hash) -> Result<(), AuditError> {
        let position = level as usize;
        if self.levels.len() <= position {
            self.levels.resize_with(position + 1, Filling::default);
        }
        let filling = &mut self.levels[position];
        filling.hashes.extend_from_slice(hash);
        if filling.width() == WIDTH {
            self.staging.write(&tile::path(Row::Level(level), filling.number, WIDTH), &filling.hashes)?;
            filling.hashes.clear();
            filling.number += 1;
        }
        Ok(())
    }

    /// Writes what is not full.
    fn finish(self, size: u64) -> Result<(), AuditError> {
        if !self.bundle.is_empty() {
            self.staging.write(&tile::path(Row::Entries, size / WIDTH, size % WIDTH), &self.bundle)?;
        }
        for (level, filling) in (0_u32..).zip(&self.levels).filter(|(_, filling)| filling.width() > 0) {
            let path = tile::path(Row::Level(level), filling.number, filling.width());
            self.staging.write(&path, &filling.hashes)?;
        }
        Ok(())
    }
}

impl Filling {
    fn width(&self) -> u64 {
        self.hashes.len() as u64 / size_of::<Hash>() as u64
    }
}
