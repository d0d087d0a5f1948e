//! What was signed: the key, the head, the kept checkpoints, and whether the leaves bear them out.

use std::collections::BTreeMap;

use ct_merkle::digest::Digest;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};
use sha2::Sha256;

use super::scan::Scan;
use super::{Beside, Options, Problems};
use crate::{Checkpoint, VerifierKey};

/// A root that was signed, and where that was found.
#[derive(Debug, Clone)]
struct Head {
    root: [u8; 32],
    place: String,
}

/// Every signed head that verified, by size.
#[derive(Debug, Default)]
pub(super) struct Heads(BTreeMap<u64, Vec<Head>>);

impl Heads {
    pub(super) fn largest(&self) -> Option<u64> {
        self.0.last_key_value().map(|(&size, _)| size)
    }

    pub(super) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub(super) fn is_of_size(&self, size: u64) -> bool {
        self.0.contains_key(&size)
    }

    pub(super) fn add(&mut self, checkpoint: &Checkpoint, place: String) {
        self.0.entry(checkpoint.size).or_default().push(Head { root: checkpoint.root, place });
    }

    /// Adds a signed note if `key` signed it, and says so if not.
    pub(super) fn add_note(&mut self, note: &str, place: &str, key: &VerifierKey, problems: &mut Problems) {
        match Checkpoint::verify(note, key) {
            Ok(checkpoint) => self.add(&checkpoint, place.to_owned()),
            Err(cause) => problems.add(None, format!("{place}: {cause}")),
        }
    }

    pub(super) fn add_brought_along(&mut self, options: &Options, key: &VerifierKey, problems: &mut Problems) {
        for note in &options.checkpoints {
            self.add_note(note, "the checkpoint that was brought along", key, problems);
        }
    }
}

/// The key to check signatures with: the auditor's, else the one beside the log, else the one inside it.
pub(super) fn choose_key(
    connection: &Connection,
    beside: &Beside,
    options: &Options,
    problems: &mut Problems,
) -> Option<VerifierKey> {
    let stored = text(connection, "SELECT value FROM meta WHERE key = 'vkey'", "the public key in the log", problems);
    let key = match (&options.verifier_key, &beside.verifier_key) {
        (Some(key), _) => Some(key.clone()),
        (None, Some(line)) => match line.parse() {
            Ok(key) => Some(key),
            Err(cause) => {
                problems.add(None, format!("`audit.vkey`: {cause}"));
                None
            }
        },
        (None, None) => {
            problems.add(None, "`audit.vkey` is missing; signatures were checked with the key that the log names");
            None
        }
    };
    let key = key.or_else(|| stored.as_deref()?.parse().ok())?;
    let line = key.to_string();
    if stored.is_some_and(|stored| stored != line) {
        problems.add(None, "the public key in the log is not the key that signatures are checked with");
    }
    if beside.verifier_key.as_ref().is_some_and(|beside| beside.trim_end_matches('\n') != line) {
        problems.add(None, "`audit.vkey` is not the key that signatures are checked with");
    }
    let origin = text(connection, "SELECT value FROM meta WHERE key = 'origin'", "the origin in the log", problems);
    if origin.is_some_and(|origin| origin != key.name()) {
        problems.add(None, format!("the origin in the log is not `{}`", key.name()));
    }
    Some(key)
}

/// Gathers every signed head whose signature holds; says which do not.
pub(super) fn collect(
    connection: &Connection,
    beside: &Beside,
    options: &Options,
    key: &VerifierKey,
    problems: &mut Problems,
) -> Heads {
    let mut heads = Heads::default();
    collect_tree(connection, key, &mut heads, problems);
    collect_kept(connection, key, &mut heads, problems);
    if let Some(note) = &beside.checkpoint {
        heads.add_note(note, "`audit.checkpoint`", key, problems);
    }
    heads.add_brought_along(options, key, problems);
    heads
}

/// The one row of `tree`: its parts must agree with each other and with the note over them.
fn collect_tree(connection: &Connection, key: &VerifierKey, heads: &mut Heads, problems: &mut Problems) {
    let row = connection.query_one("SELECT size, root, frontier, note, one FROM tree", (), |row| {
        let hashes = (row.get::<_, Vec<u8>>(1)?, row.get::<_, Vec<u8>>(2)?);
        Ok((row.get::<_, u64>(0)?, hashes, note(row, 3)?, row.get::<_, i64>(4)?))
    });
    let (size, (root, frontier), note) = match row {
        Ok((size, hashes, note, 1)) => (size, hashes, note),
        Ok((.., number)) => return problems.add(None, format!("the head of the tree is row {number}, not row 1")),
        Err(cause) => return problems.add(None, format!("the head of the tree cannot be read: {cause}")),
    };
    if root_of_frontier(size, &frontier).is_none_or(|expected| expected.as_slice() != root) {
        problems.add(None, "the stored frontier does not lead to the stored root");
    }
    if size == 0 && note.is_empty() {
        return;
    }
    match Checkpoint::verify(&note, key) {
        Ok(checkpoint) => {
            if (checkpoint.size, checkpoint.root.as_slice()) != (size, root.as_slice()) {
                problems.add(None, "the signed head of the tree is of another tree than the stored one");
            }
            heads.add(&checkpoint, "the signed head".to_owned());
        }
        Err(cause) => problems.add(None, format!("the head of the tree: {cause}")),
    }
}

fn collect_kept(connection: &Connection, key: &VerifierKey, heads: &mut Heads, problems: &mut Problems) {
    let kept = connection.prepare("SELECT size, note FROM checkpoints ORDER BY size").and_then(|mut statement| {
        let rows = statement.query_map((), |row| Ok((row.get::<_, i64>(0)?, note(row, 1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()
    });
    let kept = match kept {
        Ok(kept) => kept,
        Err(cause) => return problems.add(None, format!("the kept checkpoints cannot be read: {cause}")),
    };
    for (size, note) in kept {
        match Checkpoint::verify(&note, key) {
            Ok(checkpoint) if i64::try_from(checkpoint.size) == Ok(size) => {
                heads.add(&checkpoint, format!("the checkpoint at {size} records"));
            }
            Ok(checkpoint) => {
                let claimed = checkpoint.size;
                problems.add(None, format!("the checkpoint stored for {size} records speaks of {claimed}"));
            }
            Err(cause) => problems.add(None, format!("the checkpoint at {size} records: {cause}")),
        }
    }
}

/// The text of a note. Damaged text is replaced, for its signature to fail; a cell of another type is no note, whatever its
/// bytes are: nobody else would read it.
fn note(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    match row.get_ref(column)? {
        ValueRef::Text(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        other => Err(rusqlite::Error::InvalidColumnType(column, "note".to_owned(), other.data_type())),
    }
}

/// Whether the leaves lead to every root that was signed, and are as many.
pub(super) fn compare(heads: &Heads, scan: &Scan, problems: &mut Problems) {
    let mut first_wrong: Option<(u64, String)> = None;
    let mut wrong = 0;
    for (&size, signed) in heads.0.range(..=scan.records) {
        for head in signed {
            // Only a mirror can say whether they led there.
            if size > 0 && size < scan.first {
                let (place, first) = (&head.place, scan.first);
                problems.add(
                    None,
                    format!("{place} is of {size} records, and those below {first} have left: ask a mirror"),
                );
                continue;
            }
            if scan.roots.get(&size) != Some(&head.root) {
                wrong += 1;
                first_wrong.get_or_insert_with(|| (size, head.place.clone()));
            }
        }
    }
    if let Some((size, place)) = first_wrong {
        let further = if wrong > 1 { format!(", and {} further signed roots", wrong - 1) } else { String::new() };
        problems.add(None, format!("the first {size} records do not lead to the root in {place}{further}"));
    }
    let largest = heads.0.last_key_value();
    match largest {
        // Records that are missing before the end are named already.
        Some((&size, signed)) if size > scan.end => {
            let place = signed.first().map_or("", |head| head.place.as_str());
            let (end, last) = (scan.end, size - 1);
            problems.add(
                end,
                format!("the log ends before it, but {place} covers {size} records: {end}–{last} are missing"),
            );
        }
        Some((&size, _)) if size < scan.records => {
            problems.add(size, format!("it and what follows is under no signed head: {size} records are"));
        }
        None if scan.records > 0 => problems.add(None, "no signed head verifies: nothing vouches for these records"),
        _ => {}
    }
}

/// The root that a frontier leads to; `None` if it does not fit the size.
fn root_of_frontier(size: u64, frontier: &[u8]) -> Option<[u8; 32]> {
    let (hashes, rest) = frontier.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() != size.count_ones() as usize {
        return None;
    }
    let root = hashes.iter().copied().rev().reduce(|right, left| parent(&left, &right));
    Some(root.unwrap_or_else(|| Sha256::digest([]).into()))
}

/// The verifier's own node hash, RFC 6962 §2.1.
pub(super) fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix([0x01]).chain_update(left).chain_update(right).finalize().into()
}

fn text(connection: &Connection, query: &str, thing: &str, problems: &mut Problems) -> Option<String> {
    match connection.query_row(query, (), |row| row.get(0)).optional() {
        Ok(Some(text)) => Some(text),
        Ok(None) => {
            problems.add(None, format!("{thing} is missing"));
            None
        }
        Err(cause) => {
            problems.add(None, format!("{thing} cannot be read: {cause}"));
            None
        }
    }
}
