//! What an attacker with the disk in his hands would do to an audit log; always to a copy.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use outpost_audit::reader::list;
use outpost_audit::{Entry, Filter, Kind};

/// The newest record of a type.
///
/// # Errors
/// If the log cannot be read.
pub fn newest(directory: &Path, kind: Kind) -> Result<Option<Entry>> {
    let filter = Filter { kinds: vec![kind], limit: Some(1), newest_first: true, ..Filter::default() };
    Ok(list(directory, &filter).context("the log cannot be read")?.pop())
}

/// Copies a log and flips one byte in the middle of its newest record of a type, in the file itself. Gives the record's index.
///
/// # Errors
/// If the log cannot be copied, or the record is not found in the file.
pub fn copy_and_flip_one_byte(directory: &Path, copy: &Path, kind: Kind) -> Result<u64> {
    std::fs::create_dir_all(copy)?;
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), copy.join(file.file_name()))?;
        }
    }
    let database = copy.join("audit.db");
    // All pages into one file, so that the byte to flip lies in one place only.
    let connection = rusqlite::Connection::open(&database)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(connection);
    let entry = newest(copy, kind)?.with_context(|| format!("no `{}` record", kind.name()))?;
    let mut bytes = std::fs::read(&database)?;
    // SQLite leaves old copies in the free space of pages; the live one is among them.
    let places: Vec<_> = bytes
        .windows(entry.bytes.len())
        .enumerate()
        .filter(|(_, window)| *window == entry.bytes)
        .map(|(place, _)| place)
        .collect();
    ensure!(!places.is_empty(), "the record is not in the file");
    for place in places {
        bytes[place + entry.bytes.len() / 2] ^= 1;
    }
    outpost_disk::atomic::write(&database, &bytes)?;
    Ok(entry.index)
}
