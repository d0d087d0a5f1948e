//! The vault's tables in `audit.db`, and every statement that touches them.
//!
//! | table | holds |
//! |---|---|
//! | `vault_keys` | keys that live: id, subject (a pseudonym), month, the key wrapped under the root key |
//! | `tombstones` | keys that were destroyed: id, the record that says so, whether their ciphertext is gone too |
//! | `sealed` | ciphertext: `slot` is twice the record's index, plus one for the answer |
//! | `meta`, row `vault` | which root key counts |

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::content::Side;

/// Older agents can go on without them: made where they are missing, under the same version of the schema.
pub(crate) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS vault_keys (id TEXT PRIMARY KEY, subject TEXT NOT NULL, month TEXT NOT NULL,
        wrapped BLOB NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tombstones (key TEXT PRIMARY KEY, idx INTEGER NOT NULL, swept INTEGER NOT NULL)
        STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS tombstones_to_sweep ON tombstones (key) WHERE swept = 0;
    CREATE TABLE IF NOT EXISTS sealed (slot INTEGER PRIMARY KEY, key TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS sealed_by_key ON sealed (key);
";

/// One sweep stops after so much, so that records do not wait long for it.
const SWEEP_ROWS: usize = 512;
const SWEEP_BYTES: usize = 4 * 1024 * 1024;

/// A row of `vault_keys`.
#[derive(Debug)]
pub(crate) struct KeyRow {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) month: String,
    pub(crate) wrapped: Vec<u8>,
}

/// How much ciphertext some keys have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

pub(crate) fn root_name(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT value FROM meta WHERE key = 'vault'", (), |row| row.get(0)).optional()
}

pub(crate) fn set_root_name(connection: &Connection, name: &str) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('vault', ?1)", [name]).map(|_| ())
}

pub(crate) fn keys(connection: &Connection) -> rusqlite::Result<Vec<KeyRow>> {
    let mut statement = connection.prepare_cached("SELECT id, subject, month, wrapped FROM vault_keys ORDER BY id")?;
    statement.query_map((), key_row)?.collect()
}

pub(crate) fn key(connection: &Connection, id: &str) -> rusqlite::Result<Option<KeyRow>> {
    let select = "SELECT id, subject, month, wrapped FROM vault_keys WHERE id = ?1";
    connection.prepare_cached(select)?.query_row([id], key_row).optional()
}

fn key_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow { id: row.get(0)?, subject: row.get(1)?, month: row.get(2)?, wrapped: row.get(3)? })
}

pub(crate) fn has_key(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<bool> {
    transaction.prepare_cached("SELECT 1 FROM vault_keys WHERE id = ?1")?.exists([id])
}

pub(crate) fn insert_key(transaction: &Transaction<'_>, row: &KeyRow) -> rusqlite::Result<()> {
    let insert = "INSERT INTO vault_keys (id, subject, month, wrapped) VALUES (?1, ?2, ?3, ?4)";
    transaction.prepare_cached(insert)?.execute((&row.id, &row.subject, &row.month, &row.wrapped)).map(|_| ())
}

pub(crate) fn rewrap_key(transaction: &Transaction<'_>, id: &str, wrapped: &[u8]) -> rusqlite::Result<()> {
    let update = "UPDATE vault_keys SET wrapped = ?2 WHERE id = ?1";
    transaction.prepare_cached(update)?.execute((id, wrapped)).map(|_| ())
}

/// Deletes a key and says so for good.
pub(crate) fn bury_key(transaction: &Transaction<'_>, id: &str, index: u64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM vault_keys WHERE id = ?1")?.execute([id])?;
    let insert = "INSERT OR IGNORE INTO tombstones (key, idx, swept) VALUES (?1, ?2, 0)";
    transaction.prepare_cached(insert)?.execute((id, index)).map(|_| ())
}

/// The record by which a key was destroyed, if it was.
pub(crate) fn tombstone(connection: &Connection, id: &str) -> rusqlite::Result<Option<u64>> {
    connection.prepare_cached("SELECT idx FROM tombstones WHERE key = ?1")?.query_row([id], |row| row.get(0)).optional()
}

/// Destroyed keys and the records that say so, from this record on.
pub(crate) fn tombstones(connection: &Connection, from: u64) -> rusqlite::Result<Vec<(String, u64)>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let mut statement = connection.prepare("SELECT key, idx FROM tombstones WHERE idx >= ?1 ORDER BY idx, key")?;
    statement.query_map([from], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn slot(index: u64, side: Side) -> rusqlite::Result<i64> {
    let side = match side {
        Side::Input => 0,
        Side::Output => 1,
    };
    let doubled = i64::try_from(index).ok().and_then(|index| index.checked_mul(2));
    doubled
        .map(|slot| slot + side)
        .ok_or_else(|| rusqlite::Error::ToSqlConversionFailure("an index is too large".into()))
}

pub(crate) fn insert_sealed(
    transaction: &Transaction<'_>,
    index: u64,
    side: Side,
    key: &str,
    bytes: &[u8],
) -> rusqlite::Result<()> {
    let insert = "INSERT INTO sealed (slot, key, bytes) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(insert)?.execute((slot(index, side)?, key, bytes)).map(|_| ())
}

pub(crate) fn sealed(connection: &Connection, index: u64, side: Side) -> rusqlite::Result<Option<Vec<u8>>> {
    let select = "SELECT bytes FROM sealed WHERE slot = ?1";
    connection.prepare_cached(select)?.query_row([slot(index, side)?], |row| row.get(0)).optional()
}

pub(crate) fn extent<'a>(connection: &Connection, keys: impl Iterator<Item = &'a str>) -> rusqlite::Result<Extent> {
    let mut statement =
        connection.prepare("SELECT count(*), coalesce(sum(length(bytes)), 0) FROM sealed WHERE key = ?1")?;
    let mut extent = Extent::default();
    for key in keys {
        let (rows, bytes): (u64, u64) = statement.query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
        extent.rows += rows;
        extent.bytes += bytes;
    }
    Ok(extent)
}

/// Whether ciphertext of destroyed keys may still be there.
pub(crate) fn is_unswept(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM tombstones WHERE swept = 0 LIMIT 1")?.exists(())
}

/// Deletes some ciphertext of destroyed keys; whether there may be more.
pub(crate) fn sweep(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let mut next = transaction.prepare_cached("SELECT key FROM tombstones WHERE swept = 0 LIMIT 1")?;
    let mut list = transaction.prepare_cached("SELECT slot, length(bytes) FROM sealed WHERE key = ?1 LIMIT ?2")?;
    let mut delete = transaction.prepare_cached("DELETE FROM sealed WHERE slot = ?1")?;
    let mut done = transaction.prepare_cached("UPDATE tombstones SET swept = 1 WHERE key = ?1")?;
    let (mut rows, mut bytes) = (0, 0);
    while rows < SWEEP_ROWS && bytes < SWEEP_BYTES {
        let Some(key) = next.query_row((), |row| row.get::<_, String>(0)).optional()? else { return Ok(false) };
        let found: Vec<(i64, usize)> = list
            .query_map((&key, i64::try_from(SWEEP_ROWS).unwrap_or(i64::MAX)), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        if found.is_empty() {
            done.execute([&key])?;
            // Keys without ciphertext count too: no sweep goes on for ever.
            rows += 1;
        }
        for (slot, length) in found {
            if rows >= SWEEP_ROWS || bytes >= SWEEP_BYTES {
                break;
            }
            delete.execute([slot])?;
            rows += 1;
            bytes += length;
        }
    }
    Ok(true)
}
