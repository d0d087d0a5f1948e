//! What a mirror is sent next: as many records as a package holds, up to a head that was signed on the way.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::package::{MAX_PACKAGE_BYTES, MAX_RECORD_BYTES, Package};
use crate::AuditError;
use crate::reader::Snapshot;

/// A package and its bytes on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What is in it.
    pub package: Package,
    /// How it travels.
    pub bytes: Vec<u8>,
}

/// The package that begins at record `first` of the log in `directory`; none if there are no more records. Works while
/// the agent runs.
///
/// # Errors
/// If the log cannot be read, or does not hold the records it should.
pub fn next_package(directory: &Path, first: u64) -> Result<Option<Cut>, AuditError> {
    let snapshot = Snapshot::open(directory)?;
    let cutting = Cutting { connection: &snapshot.connection, directory };
    let (origin, newest) = cutting.log()?;
    let mut most = MAX_RECORD_BYTES;
    loop {
        let Some(package) = cutting.cut(&origin, &newest, first, most)? else { return Ok(None) };
        let bytes = package.to_bytes().map_err(|cause| cutting.damaged(cause.to_string()))?;
        if bytes.len() <= MAX_PACKAGE_BYTES {
            return Ok(Some(Cut { package, bytes }));
        }
        // Records that hardly compress: fewer of them. One alone always fits.
        most /= 2;
    }
}

/// The newest head.
struct Newest {
    size: u64,
    note: String,
}

struct Cutting<'a> {
    connection: &'a Connection,
    directory: &'a Path,
}

impl Cutting<'_> {
    fn log(&self) -> Result<(String, Newest), AuditError> {
        let read = |error| AuditError::database("read", self.directory, &error);
        let origin = self
            .connection
            .query_row("SELECT value FROM meta WHERE key = 'origin'", (), |row| row.get(0))
            .map_err(read)?;
        let newest = self
            .connection
            .query_row("SELECT size, note FROM tree", (), |row| Ok(Newest { size: row.get(0)?, note: row.get(1)? }));
        Ok((origin, newest.map_err(read)?))
    }

    fn cut(&self, origin: &str, newest: &Newest, first: u64, most: usize) -> Result<Option<Package>, AuditError> {
        let mut records = self.records(first, newest.size, most)?;
        if records.is_empty() {
            return Ok(None);
        }
        let end = first + records.len() as u64;
        let head =
            if end == newest.size { Some((newest.size, newest.note.clone())) } else { self.kept_head(first, end)? };
        if let Some((size, _)) = &head {
            records.truncate(usize::try_from(size - first).unwrap_or(usize::MAX));
        }
        Ok(Some(Package { origin: origin.to_owned(), first, head: head.map(|(_, note)| note), records }))
    }

    /// Records from `first` on, as many as a package may hold.
    fn records(&self, first: u64, size: u64, most: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        let read = |error| AuditError::database("read", self.directory, &error);
        let query = "SELECT idx, bytes FROM leaves WHERE idx >= ?1 AND idx < ?2 ORDER BY idx";
        let mut statement = self.connection.prepare_cached(query).map_err(read)?;
        let mut rows = statement.query((first, size)).map_err(read)?;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next().map_err(read)? {
            let record: Vec<u8> = row.get(1).map_err(read)?;
            let index: u64 = row.get(0).map_err(read)?;
            if records.is_empty() && index > first {
                return Err(AuditError::Pruned { first: index });
            }
            if index != first + records.len() as u64 {
                return Err(self.damaged(format!("record {} is missing", first + records.len() as u64)));
            }
            bytes += 2 + record.len();
            if bytes > most && !records.is_empty() {
                break;
            }
            records.push(record);
        }
        Ok(records)
    }

    /// The newest head that was kept of a size in this range.
    fn kept_head(&self, first: u64, end: u64) -> Result<Option<(u64, String)>, AuditError> {
        let query = "SELECT size, note FROM checkpoints WHERE size > ?1 AND size <= ?2 ORDER BY size DESC LIMIT 1";
        self.connection
            .query_row(query, (first, end), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(|error| AuditError::database("read", self.directory, &error))
    }

    fn damaged(&self, what: String) -> AuditError {
        AuditError::Damaged { directory: self.directory.to_owned(), what }
    }
}
