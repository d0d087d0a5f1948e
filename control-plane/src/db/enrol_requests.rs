//! Keys that may enrol without a code, and the requests of those that may not yet.

use std::collections::BTreeMap;

use outpost_contract::{DeviceId, Fingerprint};
use serde::Serialize;

use super::sql::{Connection, OptionalExtension, Row, Value, params};
use super::{Database, DbError, Entered};

/// Requests that are kept; more must wait until an operator has decided.
const REQUESTS: i64 = 1000;

/// Requests that are kept of one address.
const REQUESTS_OF_AN_ADDRESS: i64 = 64;

/// A request that was not repeated for this long makes room: 7 days, in seconds.
const FORGOTTEN_AFTER_S: i64 = 7 * 24 * 60 * 60;

/// How long an allowed key may enrol again, because the first answer was lost: 30 days, as the longest code.
const REPEATED_WITHIN_S: i64 = 30 * 24 * 60 * 60;

/// A device that would like to enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnrolmentRequest {
    /// Its key.
    pub fingerprint: Fingerprint,
    /// The name that it wishes; empty if none.
    pub wished_name: String,
    /// Where it last asked from.
    pub address: String,
    /// The agent's version.
    pub agent: String,
    /// When it asked first, seconds since 1970-01-01 UTC.
    pub first_s: i64,
    /// When it asked last.
    pub seen_s: i64,
    /// When an operator said no, if one did.
    pub rejected_s: Option<i64>,
}

impl EnrolmentRequest {
    /// From the columns in the order of the fields.
    pub(super) fn from_row(row: &Row<'_>) -> super::sql::Result<Self> {
        Ok(Self {
            fingerprint: Fingerprint(row.get(0)?),
            wished_name: row.get(1)?,
            address: row.get(2)?,
            agent: row.get(3)?,
            first_s: row.get(4)?,
            seen_s: row.get(5)?,
            rejected_s: row.get(6)?,
        })
    }
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) key_sha256: [u8; 32],
    pub(crate) wished_name: &'a str,
    pub(crate) address: &'a str,
    pub(crate) agent: &'a str,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It waits for an operator; true if it is new.
    Pending(bool),
    /// An operator said no.
    Rejected,
    /// There is no room for it.
    Full,
}

impl Database {
    /// The device that a key may enrol as; none if it may not.
    pub(crate) fn allowed_as(&self, key_sha256: &[u8; 32], now_s: i64) -> Result<Option<DeviceId>, DbError> {
        self.read(|connection| allowed_as(connection, key_sha256, now_s))
    }

    /// Enters the device of an allowed key; false if the key is not allowed to be this device any more.
    pub(crate) fn redeem_key(&self, device: &DeviceId, entered: &Entered<'_>, now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            if allowed_as(transaction, &entered.key_sha256, now_s)?.as_ref() != Some(device) {
                return Ok(false);
            }
            let sql = "UPDATE allowed_keys SET used_s = coalesce(used_s, ?2) WHERE key_sha256 = ?1";
            transaction.execute(sql, params![entered.key_sha256, now_s])?;
            entered.write(transaction, device, now_s)?;
            Ok(true)
        })
    }

    /// Allows keys: all or none. Gives the first that stands in the way.
    pub(crate) fn allow_keys(
        &self,
        keys: &[(DeviceId, Fingerprint)],
        now_s: i64,
    ) -> Result<Result<(), InTheWay>, DbError> {
        self.write(|transaction| {
            // The newest key of a name counts.
            let newest: BTreeMap<&DeviceId, &Fingerprint> = keys.iter().map(|(device, key)| (device, key)).collect();
            let wanted: Vec<_> =
                newest.iter().map(|(device, key)| [Value::Text(device.as_str()), Value::Blob(&key.0)]).collect();
            if is_obstructed(transaction, &wanted)? {
                for (device, key) in keys {
                    if let Some(obstacle) = obstacle(transaction, device, key)? {
                        return Ok(Err(obstacle));
                    }
                }
            }
            let open: Vec<_> = wanted.iter().map(|[device, key]| [*key, *device, Value::Integer(now_s)]).collect();
            let digests: Vec<_> = wanted.iter().map(|[_, key]| [*key]).collect();
            let sql = "DELETE FROM allowed_keys WHERE key_sha256 IN (SELECT a.key_sha256 FROM (VALUES {rows}) w
                JOIN allowed_keys a ON a.device = w.column1 WHERE a.key_sha256 <> w.column2)";
            transaction.execute_many(sql, &[], &wanted)?;
            let sql = "INSERT INTO allowed_keys (key_sha256, device, created_s) VALUES {rows} ON CONFLICT DO NOTHING";
            transaction.execute_many(sql, &[], &open)?;
            transaction.execute_many("DELETE FROM enrol_requests WHERE key_sha256 IN ({rows})", &[], &digests)?;
            Ok(Ok(()))
        })
    }

    /// Allows the key of a request; none if there is no such request.
    pub(crate) fn accept_request(
        &self,
        key: &Fingerprint,
        device: &DeviceId,
        now_s: i64,
    ) -> Result<Option<Result<(), InTheWay>>, DbError> {
        self.write(|transaction| {
            let sql = "SELECT 1 FROM enrol_requests WHERE key_sha256 = ?1";
            if !transaction.prepare_cached(sql)?.exists([key.0])? {
                return Ok(None);
            }
            if let Some(obstacle) = obstacle(transaction, device, key)? {
                return Ok(Some(Err(obstacle)));
            }
            allow(transaction, device, key, now_s)?;
            Ok(Some(Ok(())))
        })
    }

    /// Says no to a request; false if there is no such request.
    pub(crate) fn reject_request(&self, key: &Fingerprint, now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE enrol_requests SET rejected_s = ?2 WHERE key_sha256 = ?1";
            Ok(transaction.execute(sql, params![key.0, now_s])? > 0)
        })
    }

    /// Notes a request, if there is room.
    pub(crate) fn note_request(&self, asking: &Asking<'_>, now_s: i64) -> Result<Asked, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE enrol_requests SET seen_s = ?2, address = ?3, agent = ?4, wished_name = ?5
                WHERE key_sha256 = ?1 RETURNING rejected_s IS NOT NULL";
            let known = transaction.query_row(
                sql,
                params![asking.key_sha256, now_s, asking.address, asking.agent, asking.wished_name],
                |row| row.get(0),
            );
            match known.optional()? {
                Some(true) => return Ok(Asked::Rejected),
                Some(false) => return Ok(Asked::Pending(false)),
                None => {}
            }
            transaction.execute("DELETE FROM enrol_requests WHERE seen_s < ?1", [now_s - FORGOTTEN_AFTER_S])?;
            let sql = "SELECT count(*), count(*) FILTER (WHERE address = ?1) FROM enrol_requests";
            let (all, of_address): (i64, i64) =
                transaction.query_row(sql, [asking.address], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if all >= REQUESTS || of_address >= REQUESTS_OF_AN_ADDRESS {
                return Ok(Asked::Full);
            }
            transaction.execute(
                "INSERT INTO enrol_requests (key_sha256, wished_name, address, agent, first_s, seen_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
                params![asking.key_sha256, asking.wished_name, asking.address, asking.agent, now_s],
            )?;
            Ok(Asked::Pending(true))
        })
    }

    /// Every request, the oldest first.
    pub(crate) fn enrol_requests(&self) -> Result<Vec<EnrolmentRequest>, DbError> {
        self.read(|connection| {
            let sql = "SELECT key_sha256, wished_name, address, agent, first_s, seen_s, rejected_s FROM enrol_requests
                ORDER BY first_s, key_sha256";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], EnrolmentRequest::from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// Why a key cannot be allowed as a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InTheWay {
    /// The key was allowed as another device.
    KeyTaken(Fingerprint, DeviceId),
    /// A device of that name is enrolled with another key.
    NameTaken(DeviceId),
}

/// Whether anything stands in the way of names with their keys.
fn is_obstructed(transaction: &Connection, wanted: &[[Value<'_>; 2]]) -> Result<bool, DbError> {
    let sql = "SELECT a.device FROM (VALUES {rows}) w
        JOIN allowed_keys a ON a.key_sha256 = w.column2 AND a.device <> w.column1
        UNION ALL SELECT d.device FROM (VALUES {rows}) w JOIN devices d ON d.device = w.column1
        WHERE d.revoked_s IS NULL AND d.key_sha256 <> w.column2";
    Ok(!transaction.query_many(sql, wanted, |_| Ok(()))?.is_empty())
}

fn obstacle(transaction: &Connection, device: &DeviceId, key: &Fingerprint) -> Result<Option<InTheWay>, DbError> {
    let sql = "SELECT device FROM allowed_keys WHERE key_sha256 = ?1 AND device <> ?2";
    let other: Option<String> =
        transaction.query_row(sql, params![key.0, device.as_str()], |row| row.get(0)).optional()?;
    if let Some(other) = other.and_then(|other| other.parse().ok()) {
        return Ok(Some(InTheWay::KeyTaken(*key, other)));
    }
    let sql = "SELECT 1 FROM devices WHERE device = ?1 AND revoked_s IS NULL AND key_sha256 <> ?2";
    let taken = transaction.prepare_cached(sql)?.exists(params![device.as_str(), key.0])?;
    Ok(taken.then(|| InTheWay::NameTaken(device.clone())))
}

/// The newest key of a name counts.
fn allow(transaction: &Connection, device: &DeviceId, key: &Fingerprint, now_s: i64) -> Result<(), DbError> {
    let sql = "DELETE FROM allowed_keys WHERE device = ?1 AND key_sha256 <> ?2";
    transaction.execute(sql, params![device.as_str(), key.0])?;
    let sql = "INSERT INTO allowed_keys (key_sha256, device, created_s) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    transaction.execute(sql, params![key.0, device.as_str(), now_s])?;
    transaction.execute("DELETE FROM enrol_requests WHERE key_sha256 = ?1", [key.0])?;
    Ok(())
}

/// A key enrols once; its owner may repeat it for a while, as long as it is the device's key and the device not revoked.
fn allowed_as(connection: &Connection, key_sha256: &[u8; 32], now_s: i64) -> Result<Option<DeviceId>, DbError> {
    let sql = "SELECT device FROM allowed_keys a WHERE key_sha256 = ?1 AND (used_s IS NULL OR (used_s > ?2 AND
        EXISTS (SELECT 1 FROM devices d WHERE d.device = a.device AND d.key_sha256 = ?1 AND d.revoked_s IS NULL)))";
    let mut statement = connection.prepare_cached(sql)?;
    let device: Option<String> =
        statement.query_row(params![key_sha256, now_s - REPEATED_WITHIN_S], |row| row.get(0)).optional()?;
    Ok(device.and_then(|device| device.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    #[test]
    fn requests_are_bounded_and_forgotten_ones_make_room() {
        both(|database| {
            let ask = |number: i64, address: &str, now_s: i64| {
                let mut key_sha256 = [0; 32];
                key_sha256[..8].copy_from_slice(&number.to_be_bytes());
                let asking = Asking { key_sha256, wished_name: "till", address, agent: "1" };
                database.note_request(&asking, now_s).unwrap()
            };
            for number in 0..REQUESTS_OF_AN_ADDRESS {
                assert_eq!(ask(number, "10.0.0.1", 10), Asked::Pending(true));
            }
            assert_eq!(ask(0, "10.0.0.1", 20), Asked::Pending(false));
            assert_eq!(ask(5000, "10.0.0.1", 20), Asked::Full);
            for number in REQUESTS_OF_AN_ADDRESS..REQUESTS {
                assert_eq!(ask(number, &format!("10.0.1.{}", number / 60), 30), Asked::Pending(true));
            }
            assert_eq!(ask(5000, "10.0.0.2", 30), Asked::Full);
            assert_eq!(ask(5000, "10.0.0.2", 21 + FORGOTTEN_AFTER_S), Asked::Pending(true));
            assert!(database.reject_request(&database.enrol_requests().unwrap()[0].fingerprint, 40).unwrap());
        });
    }
}
