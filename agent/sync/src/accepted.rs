//! The desired state in force, and every floor that was agreed with it, in one transaction.

use outpost_trust::Floors;
use rusqlite::{OptionalExtension, params};

use crate::{SyncDatabase, SyncError};

/// What was last accepted, as it was received: whoever loads it verifies it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Version of the desired state.
    pub version: u64,
    /// The DSSE envelope.
    pub envelope: Vec<u8>,
    /// The catalogue bundle that it was agreed with.
    pub catalogue: Vec<u8>,
    /// The floors from then on.
    pub floors: Floors,
    /// The newest TUF root, from which the next catalogue is verified.
    pub trusted_root: Vec<u8>,
}

/// The slot in `sync.db`; clones share it. Its methods block for one transaction.
#[derive(Debug, Clone)]
pub struct AcceptedSlot {
    database: SyncDatabase,
}

impl AcceptedSlot {
    pub(crate) fn over(database: SyncDatabase) -> Self {
        Self { database }
    }

    /// What was last accepted; `None` on a device that never accepted anything.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(&self) -> Result<Option<Accepted>, SyncError> {
        read(&self.database.lock())
    }

    /// Version of what was last accepted; 0 if nothing was.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn version(&self) -> Result<u64, SyncError> {
        let sql = "SELECT version FROM accepted WHERE slot = 1";
        let version = self.database.lock().query_row(sql, [], |row| row.get::<_, i64>(0)).optional();
        Ok(version.map_err(SyncError::database("read"))?.map_or(0, i64::cast_unsigned))
    }

    /// Stores a document and its floors together. When this returns `Ok`, both survive a power cut; otherwise neither took
    /// effect. This is the last line: whatever the caller believes, nothing stored here ever goes down.
    ///
    /// Storing the same document again is harmless.
    ///
    /// # Errors
    /// [`SyncError::Rollback`] or [`SyncError::Conflict`] if it would go back, or if it cannot be written.
    pub fn commit(&self, offered: &Accepted) -> Result<(), SyncError> {
        let mut connection = self.database.lock();
        let transaction = connection.transaction().map_err(SyncError::database("write"))?;
        if let Some(stored) = read(&transaction)? {
            check(offered, &stored)?;
        }
        let floors = serde_json::to_vec(&offered.floors)
            .map_err(|error| SyncError::Unreadable { what: "the floors", detail: error.to_string() })?;
        transaction
            .execute(
                "INSERT OR REPLACE INTO accepted (slot, version, envelope, catalogue, floors, trusted_root)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5)",
                params![
                    offered.version.cast_signed(),
                    offered.envelope,
                    offered.catalogue,
                    floors,
                    offered.trusted_root
                ],
            )
            .and_then(|_| transaction.commit())
            .map_err(SyncError::database("write"))
    }
}

fn read(connection: &rusqlite::Connection) -> Result<Option<Accepted>, SyncError> {
    let sql = "SELECT version, envelope, catalogue, floors, trusted_root FROM accepted WHERE slot = 1";
    let row = connection.query_row(sql, [], |row| {
        let version = row.get::<_, i64>(0)?.cast_unsigned();
        Ok((version, row.get(1)?, row.get(2)?, row.get::<_, Vec<u8>>(3)?, row.get(4)?))
    });
    let Some((version, envelope, catalogue, floors, trusted_root)) =
        row.optional().map_err(SyncError::database("read"))?
    else {
        return Ok(None);
    };
    let floors = serde_json::from_slice(&floors)
        .map_err(|error| SyncError::Unreadable { what: "the floors", detail: error.to_string() })?;
    Ok(Some(Accepted { version, envelope, catalogue, floors, trusted_root }))
}

/// Refuses anything that goes back.
fn check(offered: &Accepted, stored: &Accepted) -> Result<(), SyncError> {
    let (new, old) = (&offered.floors, &stored.floors);
    let always = [
        ("desired version", offered.version, stored.version),
        ("catalogue root", new.root, old.root),
        ("catalogue clock", new.clock_s.max(0).cast_unsigned(), old.clock_s.max(0).cast_unsigned()),
    ];
    // A new root may take away a stolen key together with the versions that the thief counted up.
    let under_one_root = [
        ("catalogue timestamp", new.timestamp, old.timestamp),
        ("catalogue snapshot", new.snapshot, old.snapshot),
        ("catalogue targets", new.targets, old.targets),
    ];
    let rooted = under_one_root.into_iter().filter(|_| new.root == old.root);
    for (what, offered, stored) in always.into_iter().chain(rooted) {
        if offered < stored {
            return Err(SyncError::Rollback { what: what.to_owned(), offered, stored });
        }
    }
    for (target, &stored) in &old.releases {
        let offered = new.releases.get(target).copied().unwrap_or(0);
        if offered < stored {
            return Err(SyncError::Rollback { what: format!("release of `{target}`"), offered, stored });
        }
    }
    if offered.version == stored.version && offered.envelope != stored.envelope {
        return Err(SyncError::Conflict { version: stored.version });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn slot() -> (tempfile::TempDir, AcceptedSlot) {
        let dir = tempfile::tempdir().unwrap();
        let slot = SyncDatabase::open(dir.path()).unwrap().accepted();
        (dir, slot)
    }

    fn accepted(version: u64) -> Accepted {
        let releases = BTreeMap::from([("weights".parse().unwrap(), version)]);
        Accepted {
            version,
            envelope: format!("document {version}").into_bytes(),
            catalogue: b"catalogue".to_vec(),
            floors: Floors { root: 1, timestamp: version, snapshot: version, targets: version, releases, clock_s: 0 },
            trusted_root: b"{}".to_vec(),
        }
    }

    #[test]
    fn what_was_accepted_is_there_after_a_restart() {
        let (dir, slot) = slot();
        assert_eq!((slot.load().unwrap(), slot.version().unwrap()), (None, 0));
        slot.commit(&accepted(3)).unwrap();
        slot.commit(&accepted(3)).unwrap();
        let again = SyncDatabase::open(dir.path()).unwrap().accepted();
        assert_eq!((again.load().unwrap(), again.version().unwrap()), (Some(accepted(3)), 3));
    }

    #[test]
    fn a_desired_state_with_a_lower_version_is_never_stored() {
        let (_dir, slot) = slot();
        slot.commit(&accepted(3)).unwrap();
        let error = slot.commit(&accepted(2)).unwrap_err();
        assert!(matches!(error, SyncError::Rollback { offered: 2, stored: 3, .. }), "{error}");
        assert_eq!(slot.version().unwrap(), 3);
    }

    #[test]
    fn another_document_of_the_same_version_is_never_stored() {
        let (_dir, slot) = slot();
        slot.commit(&accepted(3)).unwrap();
        let other = Accepted { envelope: b"another".to_vec(), ..accepted(3) };
        assert!(matches!(slot.commit(&other), Err(SyncError::Conflict { version: 3 })));
    }

    #[test]
    fn no_floor_ever_goes_down_or_is_forgotten() {
        let (_dir, slot) = slot();
        slot.commit(&accepted(3)).unwrap();
        for (lower, what) in [
            (Floors { timestamp: 1, ..accepted(4).floors }, "catalogue timestamp"),
            (Floors { root: 0, ..accepted(4).floors }, "catalogue root"),
            (Floors { releases: BTreeMap::new(), ..accepted(4).floors }, "release of `weights`"),
        ] {
            let error = slot.commit(&Accepted { floors: lower, ..accepted(4) }).unwrap_err();
            assert!(error.to_string().starts_with(what), "{error}");
        }
        assert_eq!(slot.load().unwrap(), Some(accepted(3)));
    }
}
