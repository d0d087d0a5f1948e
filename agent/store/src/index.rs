//! The chunk index in SQLite: which files are whole, which chunk lies where, what of a partial file is safe on disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outpost_contract::{Blake3, Manifest, Sha256};
use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;

/// Form of the tables that this code reads and writes.
const FORM: i64 = 1;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS files (
        blake3 BLOB PRIMARY KEY,
        sha256 BLOB NOT NULL,
        bytes  INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS chunks (
        chunk  BLOB NOT NULL,
        file   BLOB NOT NULL REFERENCES files (blake3) ON DELETE CASCADE,
        offset INTEGER NOT NULL,
        bytes  INTEGER NOT NULL,
        PRIMARY KEY (chunk, file, offset)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS chunks_of_file ON chunks (file);
    CREATE TABLE IF NOT EXISTS partials (
        file     BLOB PRIMARY KEY,
        manifest BLOB NOT NULL,
        present  BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS keeping (
        file   BLOB PRIMARY KEY,
        pinned INTEGER NOT NULL DEFAULT 0,
        used_s INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
";

/// A whole, verified file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its name in the store.
    pub blake3: Blake3,
    /// What the catalogue pins.
    pub sha256: Sha256,
    /// Its length.
    pub bytes: u64,
    /// Where it lies.
    pub path: PathBuf,
}

/// A file that is not whole yet.
#[derive(Debug, Clone)]
pub(crate) struct PartialFile {
    pub(crate) manifest: Manifest,
    /// One bit per chunk, lowest bit first: set once the chunk is durable.
    pub(crate) present: Vec<u8>,
}

/// What is known of a file, whole or partial, beside its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Keeping {
    pub(crate) pinned: bool,
    /// When it was last used or wanted, seconds since 1970-01-01 UTC; 0 if nobody said.
    pub(crate) used_s: i64,
}

/// The index; one connection, short transactions.
#[derive(Debug)]
pub(crate) struct Index {
    connection: Mutex<Connection>,
    models: PathBuf,
}

impl Index {
    pub(crate) fn open(path: &Path, models: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path).map_err(StoreError::index("open"))?;
        let prepare = || -> rusqlite::Result<i64> {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // FULL: a chunk counts as present only if that survives a power cut.
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_query_value(None, "user_version", |row| row.get(0))
        };
        let found = prepare().map_err(StoreError::index("open"))?;
        if found > FORM {
            return Err(StoreError::NewerForm { found, known: FORM });
        }
        connection
            .execute_batch(TABLES)
            .and_then(|()| connection.pragma_update(None, "user_version", FORM))
            .map_err(StoreError::index("prepare"))?;
        Ok(Self { connection: Mutex::new(connection), models: models.to_owned() })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere cannot leave a transaction half done: rusqlite rolls back when it drops one.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, file: Blake3) -> Result<Option<StoredFile>, StoreError> {
        let sql = "SELECT blake3, sha256, bytes FROM files WHERE blake3 = ?1";
        let connection = self.connection();
        connection.query_row(sql, params![file.0], |row| self.stored(row)).optional().map_err(StoreError::index("read"))
    }

    pub(crate) fn list(&self) -> Result<Vec<StoredFile>, StoreError> {
        let connection = self.connection();
        let read = || -> rusqlite::Result<Vec<StoredFile>> {
            let mut statement = connection.prepare("SELECT blake3, sha256, bytes FROM files ORDER BY blake3")?;
            let rows = statement.query_map([], |row| self.stored(row))?;
            rows.collect()
        };
        read().map_err(StoreError::index("read"))
    }

    fn stored(&self, row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredFile> {
        let blake3 = Blake3(row.get(0)?);
        Ok(StoredFile {
            blake3,
            sha256: Sha256(row.get(1)?),
            bytes: row.get::<_, i64>(2)?.cast_unsigned(),
            path: self.models.join(format!("{blake3}.gguf")),
        })
    }

    /// Records a whole file with its chunks, and that it is no longer partial, in one transaction.
    pub(crate) fn install(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            let file = manifest.blake3.0;
            transaction.execute(
                "INSERT OR REPLACE INTO files (blake3, sha256, bytes) VALUES (?1, ?2, ?3)",
                params![file, manifest.sha256.0, manifest.bytes.cast_signed()],
            )?;
            let mut insert = transaction
                .prepare("INSERT OR IGNORE INTO chunks (chunk, file, offset, bytes) VALUES (?1, ?2, ?3, ?4)")?;
            let mut offset = 0i64;
            for chunk in &manifest.chunks {
                insert.execute(params![chunk.id.0, file, offset, chunk.bytes])?;
                offset += i64::from(chunk.bytes);
            }
            drop(insert);
            transaction.execute("DELETE FROM partials WHERE file = ?1", params![file])?;
            transaction.commit()
        };
        write().map_err(StoreError::index("write"))
    }

    /// Forgets a whole file and its chunks.
    pub(crate) fn forget(&self, file: Blake3) -> Result<(), StoreError> {
        let connection = self.connection();
        connection
            .execute("DELETE FROM files WHERE blake3 = ?1", params![file.0])
            .and_then(|_| connection.execute("DELETE FROM keeping WHERE file = ?1", params![file.0]))
            .map(|_| ())
            .map_err(StoreError::index("write"))
    }

    /// A whole file that holds the chunk, and where in it.
    pub(crate) fn locate(&self, chunk: Blake3, bytes: u32) -> Result<Option<(Blake3, u64)>, StoreError> {
        let sql = "SELECT file, offset FROM chunks WHERE chunk = ?1 AND bytes = ?2 LIMIT 1";
        let connection = self.connection();
        connection
            .query_row(sql, params![chunk.0, bytes], |row| {
                Ok((Blake3(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()))
            })
            .optional()
            .map_err(StoreError::index("read"))
    }

    /// A whole file that holds the chunk, where in it, and how long the chunk is.
    pub(crate) fn locate_any(&self, chunk: Blake3) -> Result<Option<(Blake3, u64, u32)>, StoreError> {
        let sql = "SELECT file, offset, bytes FROM chunks WHERE chunk = ?1 LIMIT 1";
        let connection = self.connection();
        connection
            .query_row(sql, params![chunk.0], |row| {
                Ok((Blake3(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned(), row.get(2)?))
            })
            .optional()
            .map_err(StoreError::index("read"))
    }

    pub(crate) fn partial(&self, file: Blake3) -> Result<Option<PartialFile>, StoreError> {
        Ok(self.read_partials("WHERE file = ?1", params![file.0])?.into_iter().next())
    }

    pub(crate) fn partials(&self) -> Result<Vec<PartialFile>, StoreError> {
        self.read_partials("", params![])
    }

    fn read_partials(&self, which: &str, parameters: impl rusqlite::Params) -> Result<Vec<PartialFile>, StoreError> {
        let connection = self.connection();
        let read = || -> rusqlite::Result<Vec<(Vec<u8>, Vec<u8>)>> {
            let mut statement = connection.prepare(&format!("SELECT manifest, present FROM partials {which}"))?;
            let rows = statement.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        };
        let rows = read().map_err(StoreError::index("read"))?;
        // A row that no longer parses is a pull that starts over, not a store that does not open.
        Ok(rows
            .into_iter()
            .filter_map(|(manifest, present)| {
                Some(PartialFile { manifest: serde_json::from_slice(&manifest).ok()?, present })
            })
            .collect())
    }

    /// Begins or restarts a partial file.
    pub(crate) fn put_partial(&self, manifest: &Manifest, present: &[u8]) -> Result<(), StoreError> {
        let form = serde_json::to_vec(manifest).map_err(|error| StoreError::Index {
            act: "write",
            source: rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
        })?;
        self.connection()
            .execute(
                "INSERT OR REPLACE INTO partials (file, manifest, present) VALUES (?1, ?2, ?3)",
                params![manifest.blake3.0, form, present],
            )
            .map(|_| ())
            .map_err(StoreError::index("write"))
    }

    /// Records which chunks of a partial file are durable now.
    pub(crate) fn set_present(&self, file: Blake3, present: &[u8]) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE partials SET present = ?2 WHERE file = ?1", params![file.0, present])
            .map(|_| ())
            .map_err(StoreError::index("write"))
    }

    pub(crate) fn keeping(&self) -> Result<HashMap<Blake3, Keeping>, StoreError> {
        let connection = self.connection();
        let read = || -> rusqlite::Result<HashMap<Blake3, Keeping>> {
            let mut statement = connection.prepare("SELECT file, pinned, used_s FROM keeping")?;
            let rows = statement
                .query_map([], |row| Ok((Blake3(row.get(0)?), Keeping { pinned: row.get(1)?, used_s: row.get(2)? })))?;
            rows.collect()
        };
        read().map_err(StoreError::index("read"))
    }

    pub(crate) fn set_pinned(&self, file: Blake3, pinned: bool) -> Result<(), StoreError> {
        let sql = "INSERT INTO keeping (file, pinned) VALUES (?1, ?2)
                   ON CONFLICT (file) DO UPDATE SET pinned = excluded.pinned";
        self.connection().execute(sql, params![file.0, pinned]).map(|_| ()).map_err(StoreError::index("write"))
    }

    pub(crate) fn set_used(&self, file: Blake3, used_s: i64) -> Result<(), StoreError> {
        let sql = "INSERT INTO keeping (file, used_s) VALUES (?1, ?2)
                   ON CONFLICT (file) DO UPDATE SET used_s = excluded.used_s";
        self.connection().execute(sql, params![file.0, used_s]).map(|_| ()).map_err(StoreError::index("write"))
    }

    /// Rows written since the index was opened.
    pub(crate) fn rows_written(&self) -> u64 {
        self.connection().total_changes()
    }

    pub(crate) fn forget_partial(&self, file: Blake3) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM partials WHERE file = ?1", params![file.0])
            .map(|_| ())
            .map_err(StoreError::index("write"))
    }
}
