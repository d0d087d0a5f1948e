//! Targets, published catalogues, and where the bytes of each chunk lie.

use outpost_contract::{Blake3, BlobRef, Chunk, Manifest, Sha256, TargetKind, TargetName};

use super::sql::{OptionalExtension, ToSql, params};
use super::{Database, DbError, document};

/// A target as the next release will hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTarget {
    /// Its name in the catalogue.
    pub name: TargetName,
    /// What the catalogue says of it.
    pub kind: TargetKind,
    /// SHA-256 of `bytes`.
    pub sha256: Sha256,
    /// A manifest, a policy bundle or the authority document.
    pub bytes: Vec<u8>,
}

impl StoredTarget {
    /// SHA-256 of the model file, if this is the manifest of one.
    pub(crate) fn model_file(&self) -> Option<Sha256> {
        if !matches!(self.kind, TargetKind::Variant(_)) {
            return None;
        }
        serde_json::from_slice::<Manifest>(&self.bytes).ok().map(|manifest| manifest.sha256)
    }
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    pub(crate) blob: Blake3,
    pub(crate) start: u64,
    pub(crate) bytes: u32,
}

/// The catalogue that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CurrentCatalogue {
    pub(crate) reference: BlobRef,
    pub(crate) published_s: i64,
}

impl Database {
    /// All targets, by name.
    pub(crate) fn targets(&self) -> Result<Vec<StoredTarget>, DbError> {
        self.targets_where("", params![])
    }

    /// One target.
    pub(crate) fn target(&self, name: &TargetName) -> Result<Option<StoredTarget>, DbError> {
        Ok(self.targets_where("WHERE name = ?1", params![name.as_str()])?.pop())
    }

    /// The targets whose names begin so, by name.
    pub(crate) fn targets_beginning(&self, beginning: &str) -> Result<Vec<StoredTarget>, DbError> {
        self.targets_where("WHERE substr(name, 1, length(?1)) = ?1", params![beginning])
    }

    fn targets_where(&self, condition: &str, values: &[&dyn ToSql]) -> Result<Vec<StoredTarget>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT name, kind, sha256, bytes FROM targets {condition} ORDER BY name");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(values, |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?))
            })?;
            let mut targets = Vec::new();
            for row in rows {
                let (name, kind, sha256, bytes) = row?;
                let Ok(name) = name.parse() else { continue };
                targets.push(StoredTarget { name, kind: document("target", &kind)?, sha256: Sha256(sha256), bytes });
            }
            Ok(targets)
        })
    }

    /// Makes a catalogue the newest one, together with all its targets and its own chunks: all of it or nothing. False,
    /// and nothing, if the newest one is not `previous` any more: another process was faster.
    pub(crate) fn publish(
        &self,
        targets: &[StoredTarget],
        reference: &BlobRef,
        previous: Option<Blake3>,
        now_s: i64,
    ) -> Result<bool, DbError> {
        let json = |what, value: serde_json::Result<String>| value.map_err(|source| DbError::Document { what, source });
        let text = json("catalogue reference", serde_json::to_string(reference))?;
        self.write(|transaction| {
            let newest = "SELECT blob FROM catalogues ORDER BY number DESC LIMIT 1";
            let newest: Option<[u8; 32]> = transaction.query_row(newest, [], |row| row.get(0)).optional()?;
            if newest != previous.map(|previous| previous.0) {
                return Ok(false);
            }
            transaction.execute("DELETE FROM targets", [])?;
            for target in targets {
                let kind = json("target", serde_json::to_string(&target.kind))?;
                transaction.execute(
                    "INSERT INTO targets (name, kind, sha256, bytes) VALUES (?1, ?2, ?3, ?4)",
                    params![target.name.as_str(), kind, target.sha256.0, target.bytes],
                )?;
            }
            transaction.execute(
                "INSERT INTO catalogues (blob, reference, published_s) VALUES (?1, ?2, ?3)",
                params![reference.blake3.0, text, now_s],
            )?;
            Ok(true)
        })
    }

    /// The newest catalogue; `None` before the first release.
    pub(crate) fn current_catalogue(&self) -> Result<Option<CurrentCatalogue>, DbError> {
        self.read(|connection| {
            let sql = "SELECT reference, published_s FROM catalogues ORDER BY number DESC LIMIT 1";
            let row = connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
            let row = row.optional()?;
            row.map(|(text, published_s)| {
                Ok(CurrentCatalogue { reference: document("catalogue reference", &text)?, published_s })
            })
            .transpose()
        })
    }

    /// Remembers where a blob's chunks lie. The newest place of a chunk counts.
    pub(crate) fn index_chunks(&self, blob: Blake3, chunks: &[Chunk]) -> Result<(), DbError> {
        self.write(|transaction| {
            let mut start = 0_u64;
            let sql = "INSERT INTO chunks (id, blob, start, bytes) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id)
                 DO UPDATE SET blob = excluded.blob, start = excluded.start, bytes = excluded.bytes";
            let mut statement = transaction.prepare_cached(sql)?;
            for chunk in chunks {
                statement.execute(params![chunk.id.0, blob.0, start, chunk.bytes])?;
                start += u64::from(chunk.bytes);
            }
            Ok(())
        })
    }

    /// Where a chunk lies.
    pub(crate) fn chunk_place(&self, id: &Blake3) -> Result<Option<ChunkPlace>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT blob, start, bytes FROM chunks WHERE id = ?1")?;
            let place = statement.query_row([id.0], |row| {
                Ok(ChunkPlace { blob: Blake3(row.get(0)?), start: row.get(1)?, bytes: row.get(2)? })
            });
            Ok(place.optional()?)
        })
    }
}
