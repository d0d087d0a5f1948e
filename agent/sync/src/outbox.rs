//! What is to be said to the control plane, kept on disk until the control plane says that it has it.
//!
//! | class | how many | how large together | when full |
//! |---|---|---|---|
//! | [`Class::Reported`] | 1 | 64 KiB | a newer one replaces it |
//! | [`Class::Response`] | 256 | 4 MiB | nothing more is taken; the journal of commands keeps the answer |
//! | [`Class::Event`] | 1,000 | 1 MiB | the oldest is dropped, counted, and the count reported |

use bytes::Bytes;
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::{BootId, LetterClass, LetterId, Up};
use rusqlite::{Transaction, params};

use crate::{SyncDatabase, SyncError};

/// Dead letters kept for whoever asks why something never arrived.
const DEAD_LETTERS: i64 = 100;

/// A kind of message, with its own quota so that no kind can crowd out another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A whole snapshot of the reported state: a newer one replaces an older one, so at most one waits.
    Reported,
    /// An answer to a command.
    Response,
    /// Something that happened.
    Event,
}

/// How much of a class may wait.
struct Quota {
    /// Messages.
    letters: i64,
    /// Largest single message, bytes.
    letter_bytes: usize,
    /// All together, bytes.
    bytes: i64,
}

impl Class {
    /// In the order in which they are sent.
    const ALL: [Self; 3] = [Self::Reported, Self::Response, Self::Event];

    /// Its name, as the database and people read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Response => "response",
            Self::Event => "event",
        }
    }

    fn quota(self) -> Quota {
        match self {
            Self::Reported => Quota { letters: 1, letter_bytes: DOCUMENT_BYTES, bytes: DOCUMENT_BYTES as i64 },
            Self::Response => Quota { letters: 256, letter_bytes: DOCUMENT_BYTES, bytes: 4 * 1024 * 1024 },
            Self::Event => Quota { letters: 1000, letter_bytes: 4 * 1024, bytes: 1024 * 1024 },
        }
    }

    pub(crate) fn topic(self) -> Up {
        self.on_a_stick().topic()
    }

    /// Its name on a stick.
    fn on_a_stick(self) -> LetterClass {
        match self {
            Self::Reported => LetterClass::Reported,
            Self::Response => LetterClass::Response,
            Self::Event => LetterClass::Event,
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
    /// Messages that could not be sent at all and were given up; the newest 100 are counted.
    pub dead_letters: u64,
    /// Events that gave way to newer ones, ever.
    pub events_dropped: u64,
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
    /// [`SyncError::TooLarge`] or [`SyncError::Full`] (nothing is queued), or if it cannot be written.
    pub fn put(&self, class: Class, boot: &BootId, sequence: u64, payload: &[u8]) -> Result<(), SyncError> {
        let mut connection = self.database.lock();
        let transaction = connection.transaction().map_err(SyncError::database("write"))?;
        put_within(&transaction, class, boot, sequence, payload)?;
        transaction.commit().map_err(SyncError::database("write"))
    }

    /// How much waits.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn backlog(&self) -> Result<Backlog, SyncError> {
        let sql = "SELECT count(*), coalesce(sum(length(payload)), 0), (SELECT count(*) FROM dead_letters),
                   coalesce((SELECT value FROM facts WHERE name = 'events_dropped'), 0) FROM outbox";
        let read = |row: &rusqlite::Row<'_>| {
            let number = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
            Ok(Backlog { letters: number(0)?, bytes: number(1)?, dead_letters: number(2)?, events_dropped: number(3)? })
        };
        self.database.lock().query_row(sql, [], read).map_err(SyncError::database("read"))
    }

    /// Why the newest messages were given up, newest first: class, bytes, reason.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn dead_letters(&self) -> Result<Vec<(String, u64, String)>, SyncError> {
        let connection = self.database.lock();
        let read = || -> rusqlite::Result<Vec<_>> {
            let mut statement =
                connection.prepare("SELECT class, bytes, because FROM dead_letters ORDER BY id DESC")?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get(2)?)))?;
            rows.collect()
        };
        read().map_err(SyncError::database("read"))
    }

    /// Everything that waits, in the order in which it would be sent, for a stick.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn letters(&self) -> Result<Vec<outpost_contract::Letter>, SyncError> {
        let mut letters = Vec::new();
        for id in self.waiting()? {
            let Some(Letter { class, boot, sequence, payload, .. }) = self.letter(id)? else { continue };
            // Only JSON is queued.
            let Ok(document) = String::from_utf8(payload.to_vec()) else { continue };
            let id = LetterId { class: class.on_a_stick(), boot, sequence };
            letters.push(outpost_contract::Letter { id, document });
        }
        Ok(letters)
    }

    /// The control plane has these, as it says on a stick: they leave the outbox.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn stored(&self, ids: &[LetterId]) -> Result<(), SyncError> {
        for class in Class::ALL {
            let of_class = ids.iter().filter(|id| id.class == class.on_a_stick());
            let of_class: Vec<_> = of_class.map(|id| (id.boot.clone(), id.sequence)).collect();
            if !of_class.is_empty() {
                self.acknowledge_each(class, &of_class)?;
            }
        }
        Ok(())
    }

    /// Forgets the messages that were given up, which ends the alarm; gives how many they were.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn clear_dead_letters(&self) -> Result<u64, SyncError> {
        let gone = self.database.lock().execute("DELETE FROM dead_letters", []);
        gone.map(|gone| gone as u64).map_err(SyncError::database("write"))
    }

    /// The ids of all messages that wait, in the order in which they are to be sent. What another version of the agent
    /// queued stays for that one.
    pub(crate) fn waiting(&self) -> Result<Vec<i64>, SyncError> {
        let connection = self.database.lock();
        let read = || -> rusqlite::Result<Vec<i64>> {
            let mut ids = Vec::new();
            let mut statement = connection.prepare_cached("SELECT id FROM outbox WHERE class = ?1 ORDER BY id")?;
            for class in Class::ALL {
                for id in statement.query_map([class.name()], |row| row.get(0))? {
                    ids.push(id?);
                }
            }
            Ok(ids)
        };
        read().map_err(SyncError::database("read"))
    }

    /// One message; none if it is gone, or if this agent cannot read it.
    pub(crate) fn letter(&self, id: i64) -> Result<Option<Letter>, SyncError> {
        let sql = "SELECT class, boot, sequence, payload FROM outbox WHERE id = ?1";
        let connection = self.database.lock();
        let row = connection.query_row(sql, [id], |row| {
            let (class, boot): (String, String) = (row.get(0)?, row.get(1)?);
            let class = Class::ALL.into_iter().find(|known| known.name() == class);
            let (Some(class), Ok(boot)) = (class, boot.parse()) else { return Ok(None) };
            let payload = Bytes::from(row.get::<_, Vec<u8>>(3)?);
            Ok(Some(Letter { id, class, boot, sequence: row.get::<_, i64>(2)?.cast_unsigned(), payload }))
        });
        match row {
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            other => other.map_err(SyncError::database("read")),
        }
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

    /// The control plane has these: true if something left the outbox.
    pub(crate) fn acknowledge_each(&self, class: Class, stored: &[(BootId, u64)]) -> Result<bool, SyncError> {
        let mut connection = self.database.lock();
        let mut write = || -> rusqlite::Result<usize> {
            let transaction = connection.transaction()?;
            let mut gone = 0;
            for (boot, sequence) in stored {
                gone += transaction.execute(
                    "DELETE FROM outbox WHERE class = ?1 AND boot = ?2 AND sequence = ?3",
                    params![class.name(), boot.as_str(), sequence.cast_signed()],
                )?;
            }
            transaction.commit()?;
            Ok(gone)
        };
        write().map(|gone| gone > 0).map_err(SyncError::database("write"))
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
                "DELETE FROM dead_letters WHERE id <= (SELECT max(id) FROM dead_letters) - ?1",
                params![DEAD_LETTERS],
            )?;
            transaction.commit()
        };
        write().map_err(SyncError::database("write"))
    }
}

/// Queues a message together with whatever else the transaction does.
pub(crate) fn put_within(
    transaction: &Transaction<'_>,
    class: Class,
    boot: &BootId,
    sequence: u64,
    payload: &[u8],
) -> Result<(), SyncError> {
    let quota = class.quota();
    if payload.len() > quota.letter_bytes {
        return Err(SyncError::TooLarge { class: class.name(), bytes: payload.len(), most: quota.letter_bytes });
    }
    let write = || -> rusqlite::Result<bool> {
        let sql = "SELECT count(*), coalesce(sum(length(payload)), 0) FROM outbox WHERE class = ?1";
        let (letters, bytes): (i64, i64) =
            transaction.query_row(sql, [class.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let after = bytes.saturating_add(i64::try_from(payload.len()).unwrap_or(i64::MAX));
        if class == Class::Response && (letters >= quota.letters || after > quota.bytes) {
            return Ok(false);
        }
        transaction.execute(
            "INSERT INTO outbox (class, boot, sequence, payload) VALUES (?1, ?2, ?3, ?4)",
            params![class.name(), boot.as_str(), sequence.cast_signed(), payload],
        )?;
        if letters < quota.letters && after <= quota.bytes {
            return Ok(true);
        }
        let dropped = transaction.execute(
            "DELETE FROM outbox WHERE class = ?1 AND id NOT IN (SELECT id FROM (
                SELECT id, row_number() OVER (ORDER BY id DESC) AS number,
                       sum(length(payload)) OVER (ORDER BY id DESC) AS bytes
                FROM outbox WHERE class = ?1) WHERE number <= ?2 AND bytes <= ?3)",
            params![class.name(), quota.letters, quota.bytes],
        )?;
        if class == Class::Event {
            transaction.execute(
                "INSERT INTO facts (name, value) VALUES ('events_dropped', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = value + ?1",
                params![i64::try_from(dropped).unwrap_or(i64::MAX)],
            )?;
        }
        Ok(true)
    };
    match write().map_err(SyncError::database("write"))? {
        true => Ok(()),
        false => Err(SyncError::Full { class: class.name() }),
    }
}

/// The next number of an answer or event: goes up for as long as `sync.db` lives.
pub(crate) fn next_number(transaction: &Transaction<'_>) -> Result<u64, SyncError> {
    let sql = "INSERT INTO facts (name, value) VALUES ('letters', 1)
               ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value";
    let number = transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(number.map_err(SyncError::database("write"))?.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> (tempfile::TempDir, Outbox) {
        let dir = tempfile::tempdir().unwrap();
        let outbox = SyncDatabase::open(dir.path()).unwrap().outbox();
        (dir, outbox)
    }

    fn letters(outbox: &Outbox) -> Vec<Letter> {
        outbox.waiting().unwrap().into_iter().map(|id| outbox.letter(id).unwrap().unwrap()).collect()
    }

    fn boot(name: &str) -> BootId {
        name.parse().unwrap()
    }

    #[test]
    fn a_newer_snapshot_replaces_an_older_one() {
        let (_dir, outbox) = outbox();
        outbox.put(Class::Reported, &boot("a"), 1, b"one").unwrap();
        outbox.put(Class::Reported, &boot("a"), 2, b"two!").unwrap();
        let waiting = letters(&outbox);
        assert_eq!(waiting.len(), 1);
        assert_eq!((waiting[0].sequence, &waiting[0].payload[..]), (2, b"two!".as_slice()));
        assert_eq!(outbox.backlog().unwrap(), Backlog { letters: 1, bytes: 4, dead_letters: 0, events_dropped: 0 });
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
            outbox.bury(&letters(&outbox)[0], "the broker takes 10 bytes").unwrap();
        }
        assert_eq!(outbox.backlog().unwrap(), Backlog { letters: 0, bytes: 0, dead_letters: 100, events_dropped: 0 });
        outbox.put(Class::Event, &boot("a"), 200, b"waits").unwrap();
        assert_eq!(outbox.clear_dead_letters().unwrap(), 100);
        assert_eq!(outbox.backlog().unwrap(), Backlog { letters: 1, bytes: 5, dead_letters: 0, events_dropped: 0 });
        outbox.bury(&letters(&outbox)[0], "the broker takes 3 bytes").unwrap();
        assert_eq!(outbox.dead_letters().unwrap(), [("event".to_owned(), 5, "the broker takes 3 bytes".to_owned())]);
    }

    #[test]
    fn the_oldest_events_give_way_and_are_counted_while_answers_are_never_dropped() {
        let (_dir, outbox) = outbox();
        for sequence in 0..1010 {
            outbox.put(Class::Event, &boot("a"), sequence, b"e").unwrap();
        }
        let events = letters(&outbox);
        assert_eq!((events.len(), events[0].sequence), (1000, 10));
        assert_eq!(outbox.backlog().unwrap().events_dropped, 10);
        for sequence in 0..256 {
            outbox.put(Class::Response, &boot("a"), sequence, b"r").unwrap();
        }
        let error = outbox.put(Class::Response, &boot("a"), 256, b"r").unwrap_err();
        assert!(matches!(error, SyncError::Full { class: "response" }), "{error}");
        outbox.put(Class::Reported, &boot("a"), 1, b"s").unwrap();
        let order: Vec<_> = letters(&outbox).iter().map(|letter| letter.class).collect();
        assert_eq!((order[0], order[1], order[257]), (Class::Reported, Class::Response, Class::Event));
        assert_eq!(outbox.backlog().unwrap().letters, 1257);
    }

    #[test]
    fn events_and_answers_are_bounded_in_bytes_too() {
        let (_dir, outbox) = outbox();
        for sequence in 0..300 {
            outbox.put(Class::Event, &boot("a"), sequence, &[b'e'; 4096]).unwrap();
        }
        assert_eq!(
            outbox.backlog().unwrap(),
            Backlog { letters: 256, bytes: 1 << 20, dead_letters: 0, events_dropped: 44 }
        );
        let answers = (0..100).take_while(|sequence| {
            outbox.put(Class::Response, &boot("a"), *sequence, &vec![b'r'; DOCUMENT_BYTES]).is_ok()
        });
        assert_eq!(answers.count(), 64);
    }

    #[test]
    fn answers_and_events_leave_one_by_one() {
        let (_dir, outbox) = outbox();
        for sequence in 1..=3 {
            outbox.put(Class::Response, &boot("a"), sequence, b"r").unwrap();
        }
        assert!(outbox.acknowledge_each(Class::Response, &[(boot("a"), 3), (boot("b"), 1)]).unwrap());
        assert!(!outbox.acknowledge_each(Class::Event, &[(boot("a"), 1)]).unwrap());
        let left: Vec<_> = letters(&outbox).iter().map(|letter| letter.sequence).collect();
        assert_eq!(left, [1, 2]);
    }
}
