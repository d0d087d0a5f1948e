//! What happened in the fleet, in one order; and what was last told of each device, so that nothing is told twice.

use std::collections::BTreeMap;

use serde::Serialize;

use super::sql::{Row, params};
use super::{Database, DbError, document};

/// Events that are kept.
const KEPT: i64 = 100_000;

/// Something that happened in the fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FleetEvent {
    /// Its place in the order; dense.
    pub number: i64,
    /// Its name for ever, also if a restored fleet counts a number again.
    pub id: String,
    /// When it was noticed here, seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// What happened, as in `device.lost`.
    pub kind: String,
    /// The device, rollout or document that it is about.
    pub subject: String,
    /// What there is to say.
    pub data: serde_json::Value,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewEvent {
    /// As in `rollout.paused`: an area, a point, what happened.
    pub(crate) kind: &'static str,
    pub(crate) subject: String,
    pub(crate) data: serde_json::Value,
}

/// What was last told of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) enrolled_s: i64,
    pub(crate) revoked: bool,
    pub(crate) online: bool,
    /// The state that wants somebody's attention; empty if none does.
    pub(crate) drift: String,
}

impl Database {
    /// Puts an event at the end of the order. With others [`together`](Self::together), it is told with what it is about or
    /// not at all. Returns its number.
    pub(crate) fn tell(&self, id: &str, event: &NewEvent, at_s: i64) -> Result<i64, DbError> {
        self.write(|transaction| {
            // The row is held until the commit: numbers are given in the order of commits, by every server.
            let number: i64 = transaction
                .prepare_cached(
                    "INSERT INTO fleet_event_count (one, number) VALUES (1, 1)
                     ON CONFLICT (one) DO UPDATE SET number = fleet_event_count.number + 1 RETURNING number",
                )?
                .query_row([], |row| row.get(0))?;
            let NewEvent { kind, subject, data } = event;
            let area = kind.split('.').next().unwrap_or_default();
            let sql = "INSERT INTO fleet_events (number, id, at_s, area, kind, subject, data)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let values = params![number, id, at_s, area, kind, subject, data.to_string()];
            transaction.prepare_cached(sql)?.execute(values)?;
            transaction.prepare_cached("DELETE FROM fleet_events WHERE number <= ?1")?.execute([number - KEPT])?;
            Ok(number)
        })
    }

    /// The events after a number, oldest first; all, or those of one kind or area.
    pub(crate) fn fleet_events(&self, after: i64, kind: &str, most: u32) -> Result<Vec<FleetEvent>, DbError> {
        self.read(|connection| {
            let sql = "SELECT number, id, at_s, kind, subject, data FROM fleet_events
                       WHERE number > ?1 AND (?2 = '' OR kind = ?2 OR area = ?2) ORDER BY number LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![after, kind, most], fleet_event)?;
            rows.map(|row| {
                let (event, data) = row?;
                Ok(FleetEvent { data: document("event", &data)?, ..event })
            })
            .collect()
        })
    }

    /// Numbers of the oldest event that is kept and of the newest; 0 and 0 if there was none.
    pub(crate) fn fleet_event_span(&self) -> Result<(i64, i64), DbError> {
        self.read(|connection| {
            let sql =
                "SELECT (SELECT min(number) FROM fleet_events), (SELECT number FROM fleet_event_count WHERE one = 1)";
            let (oldest, newest): (Option<i64>, Option<i64>) =
                connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let newest = newest.unwrap_or(0);
            Ok((oldest.unwrap_or(if newest == 0 { 0 } else { newest + 1 }), newest))
        })
    }

    /// What was last told of each device.
    pub(crate) fn told_devices(&self) -> Result<BTreeMap<String, Told>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device, enrolled_s, revoked, online, drift FROM told_devices";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let (revoked, online): (i64, i64) = (row.get(2)?, row.get(3)?);
                let (enrolled_s, drift) = (row.get(1)?, row.get(4)?);
                Ok((row.get(0)?, Told { enrolled_s, revoked: revoked != 0, online: online != 0, drift }))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Remembers what is told of a device in the place of `before`; false, and nothing, if another server has told it.
    pub(crate) fn note_told(&self, device: &str, before: Option<&Told>, told: &Told) -> Result<bool, DbError> {
        self.write(|transaction| {
            let columns = |told: &Told| (told.enrolled_s, i64::from(told.revoked), i64::from(told.online));
            let (enrolled_s, revoked, online) = columns(told);
            let Some(before) = before else {
                let sql = "INSERT INTO told_devices (device, enrolled_s, revoked, online, drift)
                           VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
                let values = params![device, enrolled_s, revoked, online, told.drift];
                return Ok(transaction.prepare_cached(sql)?.execute(values)? == 1);
            };
            let sql = "UPDATE told_devices SET enrolled_s = ?2, revoked = ?3, online = ?4, drift = ?5
                       WHERE device = ?1 AND enrolled_s = ?6 AND revoked = ?7 AND online = ?8 AND drift = ?9";
            let was = columns(before);
            let values = params![device, enrolled_s, revoked, online, told.drift, was.0, was.1, was.2, before.drift];
            Ok(transaction.prepare_cached(sql)?.execute(values)? == 1)
        })
    }

    /// Number of the newest catalogue; 0 if there is none.
    pub(crate) fn newest_catalogue(&self) -> Result<i64, DbError> {
        self.read(|connection| {
            let sql = "SELECT coalesce(max(number), 0) FROM catalogues";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        })
    }

    /// The device whose audit logs have names that begin so.
    pub(crate) fn device_of_log(&self, stem: &str) -> Result<Option<String>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device, audit_key FROM devices WHERE audit_key LIKE ?1 ORDER BY device";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([format!("{stem}%")], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let rows = rows.collect::<Result<Vec<(String, String)>, _>>()?;
            // LIKE is not exact about case, nor about `_`.
            Ok(rows.into_iter().find(|(_, key)| key.starts_with(stem)).map(|(device, _)| device))
        })
    }
}

fn fleet_event(row: &Row<'_>) -> super::sql::Result<(FleetEvent, String)> {
    let (number, id, at_s, kind, subject) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
    Ok((FleetEvent { number, id, at_s, kind, subject, data: serde_json::Value::Null }, row.get(5)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &'static str) -> NewEvent {
        NewEvent { kind, subject: "till-1".into(), data: json!({"a": 1}) }
    }

    #[test]
    fn events_have_one_order_without_gaps_and_go_with_what_they_are_about() {
        let database = Database::open(std::path::Path::new(":memory:")).unwrap();
        assert_eq!(database.fleet_event_span().unwrap(), (0, 0));
        assert_eq!(database.tell("a", &event("device.seen"), 5).unwrap(), 1);
        let failed: Result<(), DbError> = database.together(|| {
            database.tell("b", &event("device.lost"), 6)?;
            Err(crate::db::SqlError::NoRow.into())
        });
        assert!(failed.is_err());
        assert_eq!(database.tell("c", &event("policy.published"), 7).unwrap(), 2);
        let events = database.fleet_events(0, "", 10).unwrap();
        assert_eq!(events.iter().map(|event| event.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((events[0].data["a"].as_i64(), events[1].id.as_str()), (Some(1), "c"));
        assert_eq!(database.fleet_events(0, "policy", 10).unwrap().len(), 1);
        assert_eq!(database.fleet_events(0, "policy.published", 10).unwrap().len(), 1);
        assert_eq!(database.fleet_events(1, "device", 10).unwrap(), []);
        assert_eq!(database.fleet_event_span().unwrap(), (1, 2));
    }

    #[test]
    fn of_two_servers_one_tells() {
        let database = Database::open(std::path::Path::new(":memory:")).unwrap();
        let told = Told { online: true, ..Told::default() };
        assert!(database.note_told("till-1", None, &told).unwrap());
        assert!(!database.note_told("till-1", None, &told).unwrap());
        let lost = Told { online: false, ..told.clone() };
        assert!(database.note_told("till-1", Some(&told), &lost).unwrap());
        assert!(!database.note_told("till-1", Some(&told), &lost).unwrap());
        assert_eq!(database.told_devices().unwrap(), BTreeMap::from([("till-1".to_owned(), lost)]));
    }
}
