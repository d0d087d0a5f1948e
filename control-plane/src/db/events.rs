//! What happened on devices: each event once, the newest of each device.

use outpost_contract::{DeviceId, Event};
use serde::Serialize;

use super::sql::params;
use super::{Database, DbError};

/// Events of a device that are kept.
const EVENTS_KEPT: i64 = 500;

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredEvent {
    /// When it happened by the device's clock, seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// When it arrived here.
    pub received_s: i64,
    /// What happened.
    pub kind: String,
    /// What about, in words.
    pub text: String,
}

impl Database {
    /// Keeps an event; false if it was kept before, or if its device is not admitted.
    pub(crate) fn keep_event(&self, event: &Event, now_s: i64) -> Result<bool, DbError> {
        let text: String = event.text.chars().take(outpost_contract::event::TEXT_BYTES).collect();
        self.write(|transaction| {
            let device = event.device.as_str();
            let sequence = event.sequence.cast_signed();
            let new = transaction.execute(
                "INSERT INTO events (device, boot, sequence, received_s, at_s, kind, text)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 FROM devices WHERE device = ?1 AND revoked_s IS NULL
                 ON CONFLICT DO NOTHING",
                params![device, event.boot.as_str(), sequence, now_s, event.at_s, event.kind.name(), text],
            )?;
            // By when they came: the numbers of a box that took another one's place begin anew.
            transaction.execute(
                "DELETE FROM events WHERE device = ?1 AND (received_s, sequence) <= (SELECT received_s, sequence FROM events
                 WHERE device = ?1 ORDER BY received_s DESC, sequence DESC LIMIT 1 OFFSET ?2)",
                params![device, EVENTS_KEPT],
            )?;
            Ok(new > 0)
        })
    }

    /// The events of a device, newest first.
    pub(crate) fn events(&self, device: &DeviceId) -> Result<Vec<StoredEvent>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT at_s, received_s, kind, text FROM events WHERE device = ?1
                 ORDER BY received_s DESC, sequence DESC",
            )?;
            let rows = statement.query_map([device.as_str()], |row| {
                Ok(StoredEvent { at_s: row.get(0)?, received_s: row.get(1)?, kind: row.get(2)?, text: row.get(3)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;
    use outpost_contract::EventKind;

    #[test]
    fn an_event_counts_once_and_the_oldest_give_way() {
        both(|database| {
            let event = |device: &str, sequence| Event {
                v: 1,
                device: device.parse().unwrap(),
                boot: "b".parse().unwrap(),
                sequence,
                at_s: 7,
                kind: EventKind::DiskLow,
                text: format!("number {sequence}"),
            };
            assert!(!database.keep_event(&event("stranger", 1), 1).unwrap());
            let enrol = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES ('till-1', 1, x'00', '', '')";
            database.write(|transaction| Ok(transaction.execute(enrol, [])?)).unwrap();
            assert!(database.keep_event(&event("till-1", 1), 1).unwrap());
            assert!(!database.keep_event(&event("till-1", 1), 2).unwrap());
            for sequence in 2..=520 {
                database.keep_event(&event("till-1", sequence), 3).unwrap();
            }
            let kept = database.events(&"till-1".parse().unwrap()).unwrap();
            assert_eq!((kept.len(), kept[0].text.as_str(), kept[499].text.as_str()), (500, "number 520", "number 21"));
        });
    }

    #[test]
    fn the_newest_are_kept_also_of_a_box_whose_numbers_begin_anew() {
        both(|database| {
            let sql = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent)
                 VALUES ('till-1', 1, x'00', '', '')";
            database.write(|transaction| Ok(transaction.execute(sql, [])?)).unwrap();
            let keep = |boot: &str, sequence: u64, now_s: i64| {
                let (device, boot) = ("till-1".parse().unwrap(), boot.parse().unwrap());
                let (kind, text) = (EventKind::Withdrawn, format!("{sequence}"));
                database.keep_event(&Event { v: 1, device, boot, sequence, at_s: now_s, kind, text }, now_s).unwrap()
            };
            let first = 9_000..9_002 + u64::try_from(EVENTS_KEPT).unwrap();
            assert!(first.clone().all(|sequence| keep("old", sequence, 100)));
            assert!(keep("new", 1, 200) && keep("new", 2, 201) && !keep("new", 2, 202), "each once");
            let events = database.events(&"till-1".parse().unwrap()).unwrap();
            let texts: Vec<_> = events.iter().map(|event| event.text.as_str()).collect();
            assert_eq!((texts.len(), texts[0], texts[1], texts[2]), (500, "2", "1", "9501"));
        });
    }
}
