//! The newest that a stick brought home from each device.

use outpost_contract::{DeviceId, LetterId};

use super::sql::{OptionalExtension, params};
use super::{Database, DbError, document};

/// What a stick brought home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Homecoming {
    /// The audit log that holds the digest of the letters.
    pub(crate) origin: String,
    /// The record in it: of two sticks, the one with the higher is newer.
    pub(crate) record: u64,
    /// When the stick was written, by the device's clock.
    pub(crate) made_at_s: i64,
    /// When it was taken in.
    pub(crate) imported_s: i64,
    /// The letters that are stored.
    pub(crate) stored: Vec<LetterId>,
}

impl Database {
    /// Keeps what a stick brought, in the place of what an earlier one did.
    pub(crate) fn keep_homecoming(&self, device: &DeviceId, homecoming: &Homecoming) -> Result<(), DbError> {
        let stored = serde_json::to_string(&homecoming.stored)
            .map_err(|source| DbError::Document { what: "list of letters", source })?;
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO homes (device, origin, record, made_at_s, imported_s, stored) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (device) DO UPDATE SET origin = excluded.origin, record = excluded.record,
                 made_at_s = excluded.made_at_s, imported_s = excluded.imported_s, stored = excluded.stored",
                params![
                    device.as_str(),
                    homecoming.origin,
                    homecoming.record,
                    homecoming.made_at_s,
                    homecoming.imported_s,
                    stored
                ],
            )?;
            Ok(())
        })
    }

    /// What the newest stick of a device brought.
    pub(crate) fn homecoming(&self, device: &DeviceId) -> Result<Option<Homecoming>, DbError> {
        let row = self.read(|connection| {
            let sql = "SELECT origin, record, made_at_s, imported_s, stored FROM homes WHERE device = ?1";
            let row = connection.prepare_cached(sql)?.query_row([device.as_str()], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, String>(4)?))
            });
            Ok(row.optional()?)
        })?;
        let Some((origin, record, made_at_s, imported_s, stored)) = row else { return Ok(None) };
        let stored = document("list of letters", &stored)?;
        Ok(Some(Homecoming { origin, record, made_at_s, imported_s, stored }))
    }
}

#[cfg(test)]
mod tests {
    use outpost_contract::LetterClass;

    use super::*;
    use crate::db::testing::both;

    #[test]
    fn the_newest_stick_of_each_device_is_kept() {
        both(|database| {
            let till = "till-7".parse().unwrap();
            assert_eq!(database.homecoming(&till).unwrap(), None);
            let letter = LetterId { class: LetterClass::Event, boot: "b1".parse().unwrap(), sequence: 3 };
            let first =
                Homecoming { origin: "log/1".into(), record: 9, made_at_s: 1, imported_s: 2, stored: vec![letter] };
            database.keep_homecoming(&till, &first).unwrap();
            assert_eq!(database.homecoming(&till).unwrap(), Some(first.clone()));
            let second = Homecoming { record: 12, stored: Vec::new(), ..first };
            database.keep_homecoming(&till, &second).unwrap();
            assert_eq!(database.homecoming(&till).unwrap(), Some(second));
        });
    }
}
