//! What is to be said to the control plane, kept on disk until the control plane says that it has it.

use bytes::Bytes;
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::{BootId, Up};
use rusqlite::params;

use crate::{SyncDatabase, SyncError};

/// Dead letters kept for whoever asks why something never arrived.
const DEAD_LETTERS: i64 = 100;

/// A kind of message, with its own quota so that no kind can crowd out another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A whole snapshot of the reported state: a newer one replaces an older one, so at most one waits.
    Reported,
}

/// How much of a class may wait.
struct Quota {
    /// Newest messages kept; older ones are replaced.
    letters: i64,
    /// Largest single message, bytes.
    bytes: usize,
}

impl Class {
    const ALL: [Self; 1] = [Self::Reported];

    fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
        }
    }

    fn quota(self) -> Quota {
        match self {
            Self::Reported => Quota { letters: 1, bytes: DOCUMENT_BYTES },
        }
    }

    pub(crate) fn topic(self) -> Up {
        match self {
            Self::Reported => Up::Reported,
        }
    }
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) id: i64,
    pub(crate) class: Class,
    pub(crate) boot: BootId,
    pub(crate) sequence: u64,
    pub(crate) payload: Bytes,
}

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Messages that the control plane has not acknowledged.
    pub letters: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that could not be sent at all and were given up.
    pub dead_letters: u64,
}

/// The outbox; clones share it. Its methods block for one small transaction.
#[derive(Debug, Clone)]
pub struct Outbox {
    database: SyncDatabase,
}

impl Outbox {
    pub(crate) fn over(database: SyncDatabase) -> Self {
        Self { database }
    }

    /// Queues a message. When this returns `Ok` it survives a power cut and is sent until the control plane acknowledges
    /// `sequence` of `boot`, or until the quota of its class replaces it by newer ones.
    ///
    /// # Errors
    /// [`SyncError::TooLarge`] (nothing is queued), or if it cannot be written.
    pub fn put(&self, class: Class, boot: &BootId, sequence: u64, payload: &[u8]) -> Result<(), SyncError> {
        let quota = class.quota();
        if payload.len() > quota.bytes {
            return Err(SyncError::TooLarge { class: class.name(), bytes: payload.len(), most: quota.bytes });
        }
        let mut connection = self.database.lock();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT INTO outbox (class, boot, sequence, payload) VALUES (?1, ?2, ?3, ?4)",
                params![class.name(), boot.as_str(), sequence.cast_signed(), payload],
            )?;
            transaction.execute(
                "DELETE FROM outbox WHERE class = ?1
                 AND id NOT IN (SELECT id FROM outbox WHERE class = ?1 ORDER BY id DESC LIMIT ?2)",
                params![class.name(), quota.letters],
            )?;
            transaction.commit()
        };
        write().map_err(SyncError::database("write"))
    }

    /// How much waits.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn backlog(&self) -> Result<Backlog, SyncError> {
        let sql = "SELECT count(*), coalesce(sum(length(payload)), 0), (SELECT count(*) FROM dead_letters) FROM outbox";
        let read = |row: &rusqlite::Row<'_>| {
            let number = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
            Ok(Backlog { letters: number(0)?, bytes: number(1)?, dead_letters: number(2)? })
        };
        self.database.lock().query_row(sql, [], read).map_err(SyncError::database("read"))
    }

    /// All messages that wait, oldest first.
    pub(crate) fn waiting(&self) -> Result<Vec<Letter>, SyncError> {
        let connection = self.database.lock();
        let read = || -> rusqlite::Result<Vec<Option<Letter>>> {
            let mut statement =
                connection.prepare("SELECT id, class, boot, sequence, payload FROM outbox ORDER BY id")?;
            let rows = statement.query_map([], |row| {
                let (class, boot): (String, String) = (row.get(1)?, row.get(2)?);
                let class = Class::ALL.into_iter().find(|known| known.name() == class);
                let (Some(class), Ok(boot)) = (class, boot.parse()) else { return Ok(None) };
                let payload = Bytes::from(row.get::<_, Vec<u8>>(4)?);
                Ok(Some(Letter {
                    id: row.get(0)?,
                    class,
                    boot,
                    sequence: row.get::<_, i64>(3)?.cast_unsigned(),
                    payload,
                }))
            })?;
            rows.collect()
        };
        // A row that this agent cannot read was written by another version; it stays for that one.
        Ok(read().map_err(SyncError::database("read"))?.into_iter().flatten().collect())
    }

    /// The control plane has everything of this class and boot up to `sequence`: true if something left the outbox.
    pub(crate) fn acknowledge(&self, class: Class, boot: &BootId, sequence: u64) -> Result<bool, SyncError> {
        let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
        self.database
            .lock()
            .execute(
                "DELETE FROM outbox WHERE class = ?1 AND boot = ?2 AND sequence <= ?3",
                params![class.name(), boot.as_str(), sequence],
            )
            .map(|gone| gone > 0)
            .map_err(SyncError::database("write"))
    }

    /// Gives a message up for good, and remembers why.
    pub(crate) fn bury(&self, letter: &Letter, because: &str) -> Result<(), SyncError> {
        let mut connection = self.database.lock();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM outbox WHERE id = ?1", params![letter.id])?;
            transaction.execute(
                "INSERT INTO dead_letters (class, bytes, because) VALUES (?1, ?2, ?3)",
                params![letter.class.name(), i64::try_from(letter.payload.len()).unwrap_or(i64::MAX), because],
            )?;
            transaction.execute(
                "DELETE FROM dead_letters WHERE id NOT IN (SELECT id FROM dead_letters ORDER BY id DESC LIMIT ?1)",
                params![DEAD_LETTERS],
            )?;
            transaction.commit()
        };
        write().map_err(SyncError::database("write"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> (tempfile::TempDir, Outbox) {
        let dir = tempfile::tempdir().unwrap();
        let outbox = SyncDatabase::open(dir.path()).unwrap().outbox();
        (dir, outbox)
    }

    fn boot(name: &str) -> BootId {
        name.parse().unwrap()
    }

    #[test]
    fn a_newer_snapshot_replaces_an_older_one() {
        let (_dir, outbox) = outbox();
        outbox.put(Class::Reported, &boot("a"), 1, b"one").unwrap();
        outbox.put(Class::Reported, &boot("a"), 2, b"two!").unwrap();
        let waiting = outbox.waiting().unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!((waiting[0].sequence, &waiting[0].payload[..]), (2, b"two!".as_slice()));
        assert_eq!(outbox.backlog().unwrap(), Backlog { letters: 1, bytes: 4, dead_letters: 0 });
    }

    #[test]
    fn a_snapshot_leaves_only_when_its_own_boot_and_sequence_were_acknowledged() {
        let (_dir, outbox) = outbox();
        outbox.put(Class::Reported, &boot("a"), 5, b"five").unwrap();
        assert!(!outbox.acknowledge(Class::Reported, &boot("a"), 4).unwrap());
        assert!(!outbox.acknowledge(Class::Reported, &boot("b"), 9).unwrap());
        assert_eq!(outbox.waiting().unwrap().len(), 1);
        assert!(outbox.acknowledge(Class::Reported, &boot("a"), u64::MAX).unwrap());
        assert!(outbox.waiting().unwrap().is_empty());
    }

    #[test]
    fn what_was_queued_is_there_after_a_restart() {
        let (dir, outbox) = outbox();
        outbox.put(Class::Reported, &boot("a"), 1, b"one").unwrap();
        drop(outbox);
        let again = SyncDatabase::open(dir.path()).unwrap().outbox();
        assert_eq!(again.waiting().unwrap().len(), 1);
    }

    #[test]
    fn a_message_above_its_quota_is_refused_and_one_that_cannot_be_sent_is_remembered() {
        let (_dir, outbox) = outbox();
        let large = vec![b' '; DOCUMENT_BYTES + 1];
        assert!(matches!(outbox.put(Class::Reported, &boot("a"), 1, &large), Err(SyncError::TooLarge { .. })));
        for sequence in 0..130 {
            outbox.put(Class::Reported, &boot("a"), sequence, b"x").unwrap();
            outbox.bury(&outbox.waiting().unwrap()[0], "the broker takes 10 bytes").unwrap();
        }
        assert_eq!(outbox.backlog().unwrap(), Backlog { letters: 0, bytes: 0, dead_letters: 100 });
    }
}
