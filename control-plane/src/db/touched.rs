//! Which devices were written about since it was last asked: the inventory keeps its rows in memory and reads only those again.
//!
//! SQLite tells it by triggers that live as long as the connection, and writes of other connections by a number. Both go back
//! with a transaction that fails. A database that cannot tell is read whole by whoever asks.

use outpost_contract::{DeviceId, Measurements};

use super::sql::{Connection, OptionalExtension};
use super::{Database, DbError, document};

/// What rows of the inventory are made of.
const TABLES: [&str; 10] = [
    "devices",
    "contacts",
    "desired",
    "assignments",
    "sites",
    "device_keys",
    "facts",
    "labels",
    "group_members",
    "measurements",
];

/// What was written about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Touched {
    /// It is not known: a transaction is open whose writes may yet come to nothing.
    NotKnown,
    /// These devices by this connection, and as `foreign` says by others.
    Devices {
        /// Another number than before: another connection has written, whatever it was.
        foreign: i64,
        /// Whom this connection wrote about, each once.
        devices: Vec<String>,
    },
}

impl Database {
    /// From now on, [`touched`](Self::touched) knows; on PostgreSQL it knows only
    /// that somebody has written, this server included.
    pub(crate) fn follow_devices(&self) -> Result<(), DbError> {
        let mut sql = "PRAGMA temp_store = MEMORY;
             CREATE TEMP TABLE IF NOT EXISTS touched (device TEXT PRIMARY KEY) WITHOUT ROWID;"
            .to_owned();
        for table in TABLES {
            for (act, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
                // Not `OR IGNORE`: within an upsert, the outer statement's way of dealing with conflicts would count.
                sql.push_str(&format!(
                    "CREATE TEMP TRIGGER IF NOT EXISTS touched_{table}_{act} AFTER {act} ON main.{table} BEGIN
                         INSERT INTO touched SELECT {row}.device
                         WHERE NOT EXISTS (SELECT 1 FROM touched WHERE device = {row}.device);
                     END;"
                ));
            }
        }
        self.read(|connection| match connection {
            Connection::Sqlite(_) => Ok(connection.execute_batch(&sql)?),
            Connection::Postgres(_) => Ok(()),
        })
    }

    /// Whom was written about since the last time; it is forgotten with the answer.
    pub(crate) fn touched(&self) -> Result<Touched, DbError> {
        self.read(|connection| {
            if connection.is_in_transaction() {
                return Ok(Touched::NotKnown);
            }
            if matches!(connection, Connection::Postgres(_)) {
                return Ok(Touched::Devices { foreign: connection.changes()?, devices: Vec::new() });
            }
            // Before the rows are read: what comes in between is seen the next time.
            let foreign = self.foreign_changes()?;
            let mut statement = connection.prepare_cached("SELECT device FROM temp.touched")?;
            let devices = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            if !devices.is_empty() {
                connection.prepare_cached("DELETE FROM temp.touched")?.execute([])?;
            }
            Ok(Touched::Devices { foreign, devices })
        })
    }

    /// What the machine of one device can give.
    pub(crate) fn measurements_of(&self, device: &DeviceId) -> Result<Option<Measurements>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT document FROM measurements WHERE device = ?1")?;
            let text: Option<String> = statement.query_row([device.as_str()], |row| row.get(0)).optional()?;
            text.map(|text| document("list of measurements", &text)).transpose()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn who_was_written_about_is_told_once_and_nobody_of_a_write_that_failed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.db");
        let (database, other) = (Database::open(&path).unwrap(), Database::open(&path).unwrap());
        database.follow_devices().unwrap();
        database.follow_devices().unwrap();
        let till: DeviceId = "till-1".parse().unwrap();
        let label = |database: &Database, value: &str| {
            database.set_labels(&till, &BTreeMap::from([("a".to_owned(), value.to_owned())]), &[])
        };
        let told = || match database.touched().unwrap() {
            Touched::Devices { foreign, devices } => (foreign, devices),
            Touched::NotKnown => panic!("no transaction is open"),
        };
        let (foreign, devices) = told();
        assert!(devices.is_empty());
        // Twice the same, by an upsert, and another kind of statement: once each.
        label(&database, "b").unwrap();
        label(&database, "c").unwrap();
        database.set_site(&till, Some("store-1")).unwrap();
        assert_eq!(told(), (foreign, vec!["till-1".to_owned()]));
        assert_eq!(told(), (foreign, vec![]));
        let failed: Result<(), DbError> = database.together(|| {
            label(&database, "d")?;
            assert_eq!(database.touched()?, Touched::NotKnown);
            Err(crate::db::SqlError::NoRow.into())
        });
        assert!(failed.is_err());
        assert_eq!(told(), (foreign, vec![]));
        label(&other, "e").unwrap();
        let (after, devices) = told();
        assert!(after != foreign && devices.is_empty());
        database.set("name", b"value").unwrap();
        assert_eq!(told(), (after, vec![]), "what is about no device wakes nobody");
    }
}
