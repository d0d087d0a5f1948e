//! What devices say: the order of their starts, who is connected, and every snapshot once.

use outpost_contract::{BootId, DeviceId, Reported};

use super::sql::{Connection, OptionalExtension, params};
use super::{Database, DbError};

/// Starts of a device that are remembered.
const BOOTS_KEPT: i64 = 64;

/// Snapshots of a device that are kept.
const REPORTS_KEPT: i64 = 100;

/// The newest connection of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) boot: BootId,
    pub(crate) connection: u64,
    pub(crate) online: bool,
}

impl Database {
    /// Notes presence; false if it is about an older connection than one seen already (an old will must not hide it).
    pub(crate) fn note_presence(&self, device: &DeviceId, contact: &Contact, now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let ordinal = meet_boot(transaction, device, &contact.boot)?;
            let sql =
                "SELECT b.ordinal, c.connection FROM contacts c JOIN boots b USING (device, boot) WHERE c.device = ?1";
            let newest = transaction
                .prepare_cached(sql)?
                .query_row([device.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?)));
            if newest.optional()?.is_some_and(|newest| newest > (ordinal, contact.connection)) {
                return Ok(false);
            }
            let sql = "INSERT INTO contacts (device, boot, connection, online, seen_s) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (device) DO UPDATE SET boot = excluded.boot, connection = excluded.connection,
                 online = excluded.online, seen_s = excluded.seen_s";
            transaction.prepare_cached(sql)?.execute(params![
                device.as_str(),
                contact.boot.as_str(),
                contact.connection,
                contact.online,
                now_s
            ])?;
            Ok(true)
        })
    }

    /// Nobody is connected to a broker that has just started.
    pub(crate) fn all_offline(&self) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("UPDATE contacts SET online = 0 WHERE online = 1", [])?;
            Ok(())
        })
    }

    /// The newest connection that was seen of a device.
    pub(crate) fn contact(&self, device: &DeviceId) -> Result<Option<Contact>, DbError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT boot, connection, online FROM contacts WHERE device = ?1")?;
            let row =
                statement.query_row([device.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)));
            Ok(row
                .optional()?
                .and_then(|(boot, connection, online)| Some(Contact { boot: boot.parse().ok()?, connection, online })))
        })
    }

    /// Keeps a snapshot; false if it was kept before. Once this returns, it survives a power cut.
    pub(crate) fn keep_report(&self, reported: &Reported, now_s: i64) -> Result<bool, DbError> {
        let text = serde_json::to_string(reported).map_err(|source| DbError::Document { what: "report", source })?;
        self.write(|transaction| {
            let device = reported.device.as_str();
            let ordinal = meet_boot(transaction, &reported.device, &reported.boot)?;
            let sql = "INSERT INTO reports (device, ordinal, sequence, received_s, document)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
            let new =
                transaction.prepare_cached(sql)?.execute(params![device, ordinal, reported.sequence, now_s, text])? > 0;
            if new {
                super::facts::keep(transaction, reported, ordinal, now_s)?;
                // By the key: from the newest that is one too many, all older ones. With none, it compares with NULL.
                let sql = "DELETE FROM reports WHERE device = ?1 AND (ordinal, sequence) <= (SELECT ordinal, sequence
                     FROM reports WHERE device = ?1 ORDER BY ordinal DESC, sequence DESC LIMIT 1 OFFSET ?2)";
                transaction.prepare_cached(sql)?.execute(params![device, REPORTS_KEPT])?;
            }
            let sql = "UPDATE contacts SET seen_s = ?2 WHERE device = ?1";
            transaction.prepare_cached(sql)?.execute(params![device, now_s])?;
            Ok(new)
        })
    }

    /// Sequence of the newest snapshot of that start of the device; 0 if none.
    pub(crate) fn reported_sequence(&self, device: &DeviceId, boot: &BootId) -> Result<u64, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce(max(sequence), 0) FROM reports r JOIN boots b USING (device, ordinal)
                 WHERE r.device = ?1 AND b.boot = ?2",
            )?;
            Ok(statement.query_row([device.as_str(), boot.as_str()], |row| row.get(0))?)
        })
    }
}

/// The place of a start among all that this server met, now at the end if it is new.
fn meet_boot(transaction: &Connection, device: &DeviceId, boot: &BootId) -> Result<i64, DbError> {
    let names = [device.as_str(), boot.as_str()];
    let sql = "SELECT ordinal FROM boots WHERE device = ?1 AND boot = ?2";
    if let Some(ordinal) = transaction.prepare_cached(sql)?.query_row(names, |row| row.get(0)).optional()? {
        return Ok(ordinal);
    }
    let sql = "SELECT coalesce(max(ordinal), 0) + 1 FROM boots WHERE device = ?1";
    let ordinal: i64 = transaction.query_row(sql, [device.as_str()], |row| row.get(0))?;
    transaction.execute(
        "INSERT INTO boots (device, boot, ordinal) VALUES (?1, ?2, ?3)",
        params![device.as_str(), boot.as_str(), ordinal],
    )?;
    transaction.execute(
        "DELETE FROM boots WHERE device = ?1 AND ordinal <= ?2",
        params![device.as_str(), ordinal - BOOTS_KEPT],
    )?;
    Ok(ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    fn contact(boot: &str, connection: u64, online: bool) -> Contact {
        Contact { boot: boot.parse().unwrap(), connection, online }
    }

    fn report(boot: &str, sequence: u64) -> Reported {
        Reported {
            v: 1,
            device: "till-1".parse().unwrap(),
            boot: boot.parse().unwrap(),
            sequence,
            agent: "test".into(),
            desired_version: 0,
            applied_version: 0,
            model: None,
            policy_version: 0,
            reasons: vec![],
            measurements: None,
            plan: vec![],
            activity: outpost_contract::Activity::default(),
            transfer: None,
            link: outpost_contract::LinkHealth::default(),
            build: None,
        }
    }

    #[test]
    fn an_old_will_does_not_hide_a_newer_connection() {
        both(|database| {
            let till = "till-1".parse().unwrap();
            let note = |contact: Contact| database.note_presence(&till, &contact, 1).unwrap();
            assert!(note(contact("b1", 1, true)));
            assert!(note(contact("b1", 2, true)));
            assert!(!note(contact("b1", 1, false)));
            assert!(note(contact("b2", 1, true)));
            assert!(!note(contact("b1", 9, false)));
            assert!(database.contact(&till).unwrap().unwrap().online);
            assert!(note(contact("b2", 1, false)));
            assert!(!database.contact(&till).unwrap().unwrap().online);
        });
    }

    #[test]
    fn a_snapshot_that_comes_twice_is_kept_once() {
        both(|database| {
            let till = "till-1".parse().unwrap();
            assert!(database.keep_report(&report("b1", 1), 1).unwrap());
            assert!(!database.keep_report(&report("b1", 1), 2).unwrap());
            assert!(database.keep_report(&report("b2", 1), 3).unwrap());
            assert!(database.keep_report(&report("b1", 2), 4).unwrap());
            assert_eq!(database.reported_sequence(&till, &"b1".parse().unwrap()).unwrap(), 2);
            assert_eq!(database.reported_sequence(&till, &"b3".parse().unwrap()).unwrap(), 0);
        });
    }
    #[test]
    fn the_newest_hundred_snapshots_are_kept_whatever_comes_late() {
        both(|database| {
            let till = "till-1".parse().unwrap();
            for sequence in 1..=70 {
                assert!(database.keep_report(&report("b1", sequence), 1).unwrap());
            }
            for sequence in 1..=60 {
                assert!(database.keep_report(&report("b2", sequence), 2).unwrap());
            }
            database.keep_report(&report("b1", 5), 3).unwrap();
            let read = |connection: &Connection| -> Result<Vec<(i64, u64)>, DbError> {
                let sql = "SELECT ordinal, sequence FROM reports WHERE device = 'till-1' ORDER BY ordinal, sequence";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            };
            let kept = database.read(read).unwrap();
            assert_eq!((kept.len(), kept[0], kept[99]), (100, (1, 31), (2, 60)));
            assert_eq!(database.reported_sequence(&till, &"b2".parse().unwrap()).unwrap(), 60);
        });
    }
}
