//! One pass over all leaves: each against itself, its hash and its tile, and the roots at every signed size.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use ct_merkle::HashableLeaf;
use ct_merkle::digest::Update;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use rusqlite::Connection;
use sha2::Sha256;

use super::Problems;
use super::claims::Claims;
use super::signed::{Heads, parent};
use super::stack::Stack;
use super::summaries::Summaries;
use crate::Kind;
use crate::leaf::Leaf;

/// Leaves under one stored node of level 1, and nodes under one of the next level.
const TILE_WIDTH: u64 = 256;

/// Height of such a node above the leaves.
const TILE_HEIGHT: u32 = 8;

/// What the leaves amount to.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) records: u64,
    /// Index of the first record that has not left the device.
    pub(super) first: u64,
    /// The index after the last one: more than there are records where some between are missing.
    pub(super) end: u64,
    pub(super) root: [u8; 32],
    /// The root at each size that some signed head is of.
    pub(super) roots: BTreeMap<u64, [u8; 32]>,
}

/// A leaf that a tree hashes once and does not keep.
pub(super) struct HashedOnce(RefCell<Vec<u8>>);

impl HashedOnce {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(RefCell::new(bytes.to_vec()))
    }
}

impl HashableLeaf for HashedOnce {
    fn hash<H: Update>(&self, hasher: &mut H) {
        hasher.update(&self.0.take());
    }
}

/// The hash of one leaf, by `ct-merkle`: the root of the tree that holds nothing else.
pub(super) fn leaf_hash(bytes: &[u8]) -> [u8; 32] {
    let mut tree = MemoryBackedTree::<Sha256, HashedOnce>::new();
    tree.push(HashedOnce::new(bytes));
    (*tree.root().as_bytes()).into()
}

pub(super) fn scan(connection: &Connection, heads: &Heads, problems: &mut Problems) -> Scan {
    let mut scanner = Scanner::new(heads);
    if let Err(cause) = scanner.read(connection, problems) {
        problems.add(scanner.next, format!("it and what follows cannot be read: {cause}"));
    }
    scanner.check_prune(problems);
    scanner.check_nodes(connection, problems);
    scanner.check_open_requests(connection, problems);
    let (first, end) = (scanner.first, scanner.next);
    Scan { records: scanner.tree.size(), first, end, root: scanner.tree.root(), roots: scanner.roots }
}

struct Scanner<'a> {
    heads: &'a Heads,
    roots: BTreeMap<u64, [u8; 32]>,
    tree: Stack,
    /// Index of the first record, if those before it have left in whole tiles.
    first: u64,
    /// Up to where a record says that records left.
    left: u64,
    /// The index that the next record must have.
    next: u64,
    /// Hashes of the tile that is not full yet.
    tile: Vec<[u8; 32]>,
    tile_roots: Vec<[u8; 32]>,
    /// Tiles with a record that is already named: their node need not be named as well.
    damaged_tiles: BTreeSet<u64>,
    claims: Claims,
    summaries: Summaries,
    open: BTreeMap<String, u64>,
}

impl<'a> Scanner<'a> {
    fn new(heads: &'a Heads) -> Self {
        let mut scanner = Self {
            heads,
            roots: BTreeMap::new(),
            tree: Stack::default(),
            first: 0,
            left: 0,
            next: 0,
            tile: Vec::new(),
            tile_roots: Vec::new(),
            damaged_tiles: BTreeSet::new(),
            claims: Claims::default(),
            summaries: Summaries::from(0),
            open: BTreeMap::new(),
        };
        scanner.remember_root();
        scanner
    }

    fn read(&mut self, connection: &Connection, problems: &mut Problems) -> rusqlite::Result<()> {
        self.begin_after_pruned(connection)?;
        let mut statement = connection.prepare("SELECT idx, hash, bytes FROM leaves ORDER BY idx")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            // The raw cells: a damaged row may hold any type. What is no blob is not what a reader would be given.
            let stored_hash = row.get_ref(1)?.as_blob().unwrap_or_default();
            let bytes = row.get_ref(2)?.as_blob().unwrap_or_default();
            self.leaf(row.get(0)?, stored_hash, bytes, problems);
        }
        Ok(())
    }

    /// Where the first records have left in whole tiles, the hash stored of each stands for it: together they still have to
    /// lead to every signed root. Where a hash is missing, the records are missing.
    fn begin_after_pruned(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let first: Option<u64> = connection.query_row("SELECT min(idx) FROM leaves", (), |row| row.get(0))?;
        let first = first.unwrap_or(0);
        let mut statement = connection.prepare("SELECT hash FROM nodes WHERE level = 1 AND idx < ?1 ORDER BY idx")?;
        let hashes =
            statement.query_map([first / TILE_WIDTH], |row| row.get(0))?.collect::<Result<Vec<[u8; 32]>, _>>()?;
        if !first.is_multiple_of(TILE_WIDTH) || hashes.len() as u64 != first / TILE_WIDTH {
            return Ok(());
        }
        for hash in hashes {
            self.tree.push(TILE_HEIGHT, hash);
            self.tile_roots.push(hash);
            self.remember_root();
        }
        (self.first, self.next, self.summaries) = (first, first, Summaries::from(first));
        Ok(())
    }

    /// Whoever only deletes the first records leaves none that says so.
    fn check_prune(&self, problems: &mut Problems) {
        if self.first > 0 && self.left != self.first {
            let last = self.first - 1;
            problems.add(
                0_u64,
                format!("it is missing (and so are those up to {last}), and no record says that they left"),
            );
        }
    }

    fn leaf(&mut self, stored_index: i64, stored_hash: &[u8], bytes: &[u8], problems: &mut Problems) {
        let leaf = Leaf::parse(bytes);
        let claimed = leaf.as_ref().ok().and_then(Leaf::index);
        let index = self.place(stored_index, claimed, problems);
        let (before, hash) = (problems.listed.len(), leaf_hash(bytes));
        if hash != stored_hash {
            problems.add(index, "its bytes do not have the hash that was stored with them");
        }
        match &leaf {
            Ok(leaf) => self.content(index, leaf, problems),
            Err(cause) => problems.add(index, format!("it does not parse: {cause}")),
        }
        self.summaries.check(index, leaf.as_ref().ok(), problems);
        if problems.listed.len() > before || problems.further > 0 {
            self.damaged_tiles.insert(self.tree.size() / TILE_WIDTH);
        }
        self.grow(hash);
    }

    /// Which record this is, by the order of the rows; says so where indices have gaps or are out of place.
    fn place(&mut self, stored: i64, claimed: Option<u64>, problems: &mut Problems) -> u64 {
        let expected = self.next;
        let stored = u64::try_from(stored).ok();
        self.next = expected + 1;
        if stored == Some(expected) {
            return expected;
        }
        self.damaged_tiles.insert(expected / TILE_WIDTH);
        match stored {
            Some(stored) if stored > expected && claimed != Some(expected) => {
                let last = stored - 1;
                let range = if last == expected { String::new() } else { format!(" (and so are those up to {last})") };
                problems.add(expected, format!("it is missing{range}"));
                self.next = stored + 1;
                stored
            }
            _ => {
                problems.add(expected, "it is stored under another index");
                expected
            }
        }
    }

    fn content(&mut self, index: u64, leaf: &Leaf, problems: &mut Problems) {
        self.claims.check(index, leaf, problems);
        if let (Some(kind), Some(request)) = (leaf.kind().and_then(Kind::from_name), leaf.request()) {
            match kind {
                Kind::InferStart => drop(self.open.insert(request.to_owned(), index)),
                Kind::InferEnd | Kind::InferAborted => drop(self.open.remove(request)),
                _ => {}
            }
        }
        if leaf.kind() == Some(Kind::AuditPrune.name())
            && let Some(until) = leaf.integer("detail.records_to").and_then(|until| u64::try_from(until).ok())
        {
            self.left = self.left.max(until);
        }
    }

    fn grow(&mut self, hash: [u8; 32]) {
        self.tree.push(0, hash);
        self.remember_root();
        self.tile.push(hash);
        if self.tile.len() as u64 == TILE_WIDTH {
            self.tile_roots.push(perfect_root(&self.tile));
            self.tile.clear();
        }
    }

    fn remember_root(&mut self) {
        let size = self.tree.size();
        if self.heads.is_of_size(size) {
            self.roots.insert(size, self.tree.root());
        }
    }

    /// Stored nodes against the leaves: names the tile where a leaf and its hash were changed together.
    fn check_nodes(&self, connection: &Connection, problems: &mut Problems) {
        let mut stored = match read_nodes(connection) {
            Ok(stored) => stored,
            Err(cause) => return problems.add(None, format!("the stored nodes cannot be read: {cause}")),
        };
        let mut computed = self.tile_roots.clone();
        let mut level = 1;
        while !computed.is_empty() {
            for (position, hash) in (0_u64..).zip(&computed) {
                let width = TILE_WIDTH.pow(level);
                let (first, last) = (position * width, (position + 1) * width - 1);
                if stored.remove(&(level, position)).as_deref() == Some(hash.as_slice()) {
                    continue;
                }
                // A record below it is named already, or the node of a level below is.
                if level == 1 && !self.damaged_tiles.contains(&position) {
                    problems.add(first, format!("records {first}–{last} do not lead to the hash stored for them"));
                } else if self.damaged_tiles.is_empty() {
                    problems.add(None, format!("the hash stored for records {first}–{last} is wrong"));
                }
            }
            computed = computed.as_chunks::<256>().0.iter().map(|tile| perfect_root(tile)).collect();
            level += 1;
        }
        if !stored.is_empty() {
            problems.add(None, format!("{} stored nodes belong to no records", stored.len()));
        }
    }

    fn check_open_requests(&self, connection: &Connection, problems: &mut Problems) {
        let stored = connection.prepare("SELECT request, idx FROM open_requests").and_then(|mut statement| {
            let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<BTreeMap<String, u64>, _>>()
        });
        match stored {
            Ok(stored) if stored == self.open => {}
            Ok(_) => problems.add(None, "the list of open requests is not what the records say"),
            Err(cause) => problems.add(None, format!("the list of open requests cannot be read: {cause}")),
        }
    }
}

fn read_nodes(connection: &Connection) -> rusqlite::Result<BTreeMap<(u32, u64), Vec<u8>>> {
    let mut statement = connection.prepare("SELECT level, idx, hash FROM nodes")?;
    let rows = statement.query_map((), |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

/// The root of a perfect subtree, by halves.
pub(super) fn perfect_root(hashes: &[[u8; 32]]) -> [u8; 32] {
    match hashes {
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            parent(&perfect_root(left), &perfect_root(right))
        }
    }
}
