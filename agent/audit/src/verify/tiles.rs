//! Checks a tree of tiles (c2sp.org/tlog-tiles): every record, every hash, every file, the root and the signature.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::claims::Claims;
use super::scan::{Scan, leaf_hash, perfect_root};
use super::signed::{Heads, compare};
use super::stack::Stack;
use super::summaries::Summaries;
use super::{Options, Problems, Report, Subject, files};
use crate::leaf::Leaf;
use crate::tile::{self, Row, WIDTH};
use crate::{AuditError, Checkpoint, VerifierKey};

type Hash = [u8; 32];

/// The largest signed note that is read.
const MAX_CHECKPOINT_BYTES: usize = 256 * 1024;

/// A bundle of 256 records of the largest size that its length can say.
const MAX_BUNDLE_BYTES: usize = 256 * (2 + u16::MAX as usize);

/// Checks the tree in `folder`.
pub(super) fn check(folder: &Path, options: &Options) -> Result<Report, AuditError> {
    let note = files::text(&folder.join(tile::CHECKPOINT), MAX_CHECKPOINT_BYTES)?;
    let mut problems = Problems::default();
    let key = files::key(folder, options, &mut problems);
    files::no_policy(options, "a tree of tiles", &mut problems);
    let (heads, head) = match &key {
        Some(key) => collect(&note, key, options, &mut problems),
        None => (Heads::default(), None),
    };
    let mut walk = Walk::new(folder, &heads, &mut problems);
    if let Some(head) = &head {
        walk.bundles(head.size);
        walk.upper_levels(head.size);
        walk.strangers();
    }
    let Walk { stack, roots, is_whole, .. } = walk;
    let scan = Scan { records: stack.size(), first: 0, end: stack.size(), root: stack.root(), roots };
    // Where records are missing, that was said, and the root over the others means nothing.
    if head.is_some() && is_whole {
        compare(&heads, &scan, &mut problems);
    }
    Ok(Report {
        subject: Subject::Tiles,
        origin: key.as_ref().map(|key| key.name().to_owned()).unwrap_or_default(),
        verifier_key: key.as_ref().map(ToString::to_string).unwrap_or_default(),
        records: scan.records,
        first: 0,
        root_hex: hex::encode(scan.root),
        checkpoint_size: heads.largest(),
        checkpoints: heads.count(),
        vouched: None,
        problems: problems.listed,
        further_problems: problems.further,
    })
}

fn collect(note: &str, key: &VerifierKey, options: &Options, problems: &mut Problems) -> (Heads, Option<Checkpoint>) {
    let mut heads = Heads::default();
    let head = match Checkpoint::verify(note, key) {
        Ok(head) => {
            heads.add(&head, format!("`{}`", tile::CHECKPOINT));
            Some(head)
        }
        Err(cause) => {
            problems.add(None, format!("`{}`: {cause}; nothing vouches for these records", tile::CHECKPOINT));
            None
        }
    };
    heads.add_brought_along(options, key, problems);
    (heads, head)
}

/// One pass over the files that a log of the signed size must have.
struct Walk<'a> {
    folder: &'a Path,
    heads: &'a Heads,
    problems: &'a mut Problems,
    /// Files that no one asked for yet.
    present: BTreeSet<String>,
    claims: Claims,
    summaries: Summaries,
    stack: Stack,
    roots: BTreeMap<u64, Hash>,
    /// The roots of full tiles of the level that was walked last.
    full: Vec<Hash>,
    /// False once records are missing: what comes after them cannot be placed in the tree.
    is_whole: bool,
}

impl<'a> Walk<'a> {
    fn new(folder: &'a Path, heads: &'a Heads, problems: &'a mut Problems) -> Self {
        let present = files::list(folder, "tile", problems);
        let mut walk = Self {
            folder,
            heads,
            problems,
            present,
            claims: Claims::default(),
            summaries: Summaries::from(0),
            stack: Stack::default(),
            roots: BTreeMap::new(),
            full: Vec::new(),
            is_whole: true,
        };
        walk.remember_root();
        walk
    }

    /// Level 0 and the records below it.
    fn bundles(&mut self, size: u64) {
        for (number, width) in tile::widths(size, 0) {
            let (bundle, hashes) = (tile::path(Row::Entries, number, width), tile::path(Row::Level(0), number, width));
            let first = number * WIDTH;
            if self.problems.are_too_many() {
                self.is_whole = false;
                break;
            }
            if !self.present.contains(&bundle) && !self.present.contains(&hashes) {
                let is_last = !self.present.iter().any(|path| path.starts_with("tile/entries/") && *path > bundle);
                let last = if is_last { size } else { first + width } - 1;
                self.problems
                    .add(first, format!("it is missing, up to {last}: neither `{bundle}` nor `{hashes}` is there"));
                self.is_whole = false;
                if is_last {
                    break;
                }
                continue;
            }
            let stored = self.tile(&hashes, width, first);
            match self.read(&bundle, MAX_BUNDLE_BYTES, first) {
                Some(bytes) => self.bundle(&bundle, &bytes, (first, width), stored.as_deref()),
                // The records are gone; their hashes still show whether the others are right.
                None => self.grow(&stored.unwrap_or_default(), width),
            }
        }
    }

    /// One bundle against its tile.
    fn bundle(&mut self, name: &str, bytes: &[u8], (first, width): (u64, u64), stored: Option<&[Hash]>) {
        let (entries, rest) = split(bytes);
        let is_shifted = !rest.is_empty() || entries.len() as u64 != width;
        let mut hashes = Vec::new();
        for (index, entry) in (first..first + width).zip(&entries) {
            let hash = leaf_hash(entry);
            if stored.is_some_and(|stored| stored[hashes.len()] != hash) {
                self.problems.add(index, format!("its bytes in `{name}` do not have the hash in its tile"));
                if is_shifted {
                    // One was taken out or put in: what follows only stands elsewhere.
                    break;
                }
            }
            let leaf = Leaf::parse(entry);
            match &leaf {
                Ok(leaf) => self.claims.check(index, leaf, self.problems),
                Err(cause) => self.problems.add(index, format!("it does not parse: {cause}")),
            }
            self.summaries.check(index, leaf.as_ref().ok(), self.problems);
            hashes.push(hash);
        }
        if is_shifted {
            let count = entries.len() as u64;
            let index = (hashes.len() as u64 == count && count < width).then_some(first + count);
            let what =
                format!("`{name}` holds {count} whole records and {} bytes more, not {width} records", rest.len());
            self.problems.add(index, what);
            self.is_whole = false;
        }
        self.grow(&hashes, width);
    }

    fn grow(&mut self, hashes: &[Hash], width: u64) {
        if hashes.len() as u64 != width {
            self.is_whole = false;
        }
        if !self.is_whole {
            return;
        }
        for hash in hashes {
            self.stack.push(0, *hash);
            self.remember_root();
        }
        if width == WIDTH {
            self.full.push(perfect_root(hashes));
        }
    }

    fn remember_root(&mut self) {
        let size = self.stack.size();
        if self.heads.is_of_size(size) {
            self.roots.insert(size, self.stack.root());
        }
    }

    /// The levels above, each against the one below.
    fn upper_levels(&mut self, size: u64) {
        let mut computed = std::mem::take(&mut self.full);
        for level in 1..=8 {
            let span = WIDTH.saturating_pow(level);
            for (number, width) in tile::widths(size, level) {
                if self.problems.are_too_many() {
                    return;
                }
                let name = tile::path(Row::Level(level), number, width);
                let first = number * WIDTH;
                let Some(stored) = self.tile(&name, width, first * span) else { continue };
                for (position, hash) in (first..).zip(&stored) {
                    let below = usize::try_from(position).ok().and_then(|position| computed.get(position));
                    if below.is_some_and(|below| below != hash) {
                        let (from, to) = (position * span, (position + 1) * span - 1);
                        self.problems.add(from, format!("records {from}–{to} do not lead to their hash in `{name}`"));
                    }
                }
            }
            computed = computed.as_chunks::<256>().0.iter().map(|tile| perfect_root(tile)).collect();
        }
    }

    /// The hashes of a tile that must be there.
    fn tile(&mut self, name: &str, width: u64, first: u64) -> Option<Vec<Hash>> {
        let bytes = self.read(name, (WIDTH * 32) as usize, first)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() as u64 != width {
            self.problems.add(first, format!("`{name}` has {} bytes instead of {width} hashes", bytes.len()));
            return None;
        }
        Some(hashes.to_vec())
    }

    fn read(&mut self, name: &str, limit: usize, first: u64) -> Option<Vec<u8>> {
        let what = if self.present.remove(name) {
            match files::read(&self.folder.join(name), limit) {
                Ok(Some(bytes)) => return Some(bytes),
                Ok(None) => "it went away while it was checked".to_owned(),
                Err(cause) => cause,
            }
        } else {
            "it is missing".to_owned()
        };
        self.problems.add(first, format!("`{name}`, which begins with it: {what}"));
        None
    }

    /// What a log of this size does not have.
    fn strangers(&mut self) {
        for name in std::mem::take(&mut self.present) {
            self.problems.add(None, format!("`{name}` is not a part of a log of the signed size"));
        }
    }
}

/// The entries of a bundle, and what is left behind the last whole one.
fn split(mut bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>()
        && let Some((entry, rest)) = rest.split_at_checked(u16::from_be_bytes(*length).into())
    {
        entries.push(entry);
        bytes = rest;
    }
    (entries, bytes)
}
