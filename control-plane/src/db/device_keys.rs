//! Which certificates of a device count: one key's, and between a renewal and its first use the new key's as well.

use outpost_contract::DeviceId;

use super::sql::{Connection, OptionalExtension, params};
use super::{Database, DbError};
use crate::ca::DeviceCertificate;
use crate::certificate::ShownCertificate;

/// A device that enters, or enters again, with a new certificate.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    pub(crate) key_sha256: [u8; 32],
    pub(crate) serial: &'a str,
    pub(crate) not_after_s: i64,
    pub(crate) audit_key: &'a str,
    pub(crate) agent: &'a str,
}

/// Whether somebody with a certificate of ours is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// The device is enrolled, and this certificate of it counts.
    Admitted,
    /// The device was revoked.
    Revoked,
    /// No such device, or a certificate that a newer one has replaced.
    Unknown,
}

/// What a key that was proven to be held means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyStanding {
    /// It is a key of this device.
    Registered,
    /// It was, and the device was revoked.
    Revoked,
    /// It is none.
    Unknown,
}

impl Entered<'_> {
    /// Enters the device; certificates of its other keys count no more.
    pub(super) fn write(&self, transaction: &Connection, device: &DeviceId, now_s: i64) -> Result<(), DbError> {
        transaction.execute(
            "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (device) DO UPDATE SET enrolled_s = ?2, revoked_s = NULL, key_sha256 = ?3, audit_key = ?4,
             agent = ?5",
            params![device.as_str(), now_s, self.key_sha256, self.audit_key, self.agent],
        )?;
        let sql = "DELETE FROM device_keys WHERE device = ?1 AND key_sha256 <> ?2";
        transaction.execute(sql, params![device.as_str(), self.key_sha256])?;
        insert(transaction, device, (self.serial, &self.key_sha256), now_s, self.not_after_s, Some(now_s))
    }
}

fn insert(
    transaction: &Connection,
    device: &DeviceId,
    (serial, key_sha256): (&str, &[u8; 32]),
    now_s: i64,
    not_after_s: i64,
    seen_s: Option<i64>,
) -> Result<(), DbError> {
    transaction.execute(
        "INSERT INTO device_keys (device, serial, key_sha256, issued_s, not_after_s, seen_s)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        params![device.as_str(), serial, key_sha256, now_s, not_after_s, seen_s],
    )?;
    Ok(())
}

impl Database {
    /// Whether the bearer of this certificate is let in. Changes nothing.
    pub(crate) fn entrance(&self, device: &DeviceId, serial: &str) -> Result<Entrance, DbError> {
        self.read(|connection| {
            // No row at all: a device of the time before there were rows.
            let sql = "SELECT revoked_s IS NOT NULL,
                EXISTS (SELECT 1 FROM device_keys k WHERE k.device = d.device AND k.serial = ?2)
                OR NOT EXISTS (SELECT 1 FROM device_keys k WHERE k.device = d.device)
                FROM devices d WHERE device = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row(params![device.as_str(), serial], |row| Ok((row.get(0)?, row.get(1)?)));
            Ok(match found.optional()? {
                Some((true, _)) => Entrance::Revoked,
                Some((false, true)) => Entrance::Admitted,
                _ => Entrance::Unknown,
            })
        })
    }

    /// Lets the bearer of this certificate in, if it may. The first use of a renewed certificate ends the one before.
    pub(crate) fn enter(&self, device: &DeviceId, serial: &str, now_s: i64) -> Result<Entrance, DbError> {
        let entrance = self.entrance(device, serial)?;
        if entrance != Entrance::Admitted || !self.is_unseen(serial)? {
            return Ok(entrance);
        }
        self.write(|transaction| {
            let sql = "UPDATE device_keys SET seen_s = ?3 WHERE device = ?1 AND serial = ?2
                RETURNING number, key_sha256";
            let used = transaction.query_row(sql, params![device.as_str(), serial, now_s], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            });
            let Some((number, key_sha256)) = used.optional()? else { return Ok(()) };
            let sql = "DELETE FROM device_keys WHERE device = ?1 AND number < ?2 AND key_sha256 <> ?3";
            transaction.execute(sql, params![device.as_str(), number, key_sha256])?;
            // What it replaced counts no more at a broker that is not ours either.
            let sql = "UPDATE certificates SET revoked_s = ?2 WHERE device = ?1 AND revoked_s IS NULL
                AND serial NOT IN (SELECT serial FROM device_keys WHERE device = ?1)";
            transaction.execute(sql, params![device.as_str(), now_s])?;
            let sql = "UPDATE devices SET key_sha256 = ?2 WHERE device = ?1";
            transaction.execute(sql, params![device.as_str(), key_sha256])?;
            Ok(())
        })?;
        Ok(entrance)
    }

    fn is_unseen(&self, serial: &str) -> Result<bool, DbError> {
        self.read(|connection| {
            let sql = "SELECT 1 FROM device_keys WHERE serial = ?1 AND seen_s IS NULL";
            Ok(connection.prepare_cached(sql)?.exists([serial])?)
        })
    }

    /// What a key means for a device.
    pub(crate) fn key_standing(&self, device: &DeviceId, key_sha256: &[u8; 32]) -> Result<KeyStanding, DbError> {
        self.read(|connection| {
            let sql = "SELECT revoked_s IS NOT NULL FROM devices d WHERE device = ?1 AND (key_sha256 = ?2
                OR EXISTS (SELECT 1 FROM device_keys k WHERE k.device = d.device AND k.key_sha256 = ?2))";
            let mut statement = connection.prepare_cached(sql)?;
            let found = statement.query_row(params![device.as_str(), key_sha256], |row| row.get(0)).optional()?;
            Ok(match found {
                Some(true) => KeyStanding::Revoked,
                Some(false) => KeyStanding::Registered,
                None => KeyStanding::Unknown,
            })
        })
    }

    /// Keeps a renewed certificate beside the one that was shown. A renewal that was never used gives way; false if the
    /// device was revoked meanwhile.
    pub(crate) fn keep_renewal(
        &self,
        device: &DeviceId,
        shown: &ShownCertificate,
        renewed: &DeviceCertificate,
        now_s: i64,
    ) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "SELECT 1 FROM devices WHERE device = ?1 AND revoked_s IS NULL";
            if !transaction.prepare_cached(sql)?.exists([device.as_str()])? {
                return Ok(false);
            }
            let old = (shown.serial.as_str(), &shown.key_sha256);
            insert(transaction, device, old, now_s, shown.not_after_s, Some(now_s))?;
            let sql =
                "DELETE FROM device_keys WHERE device = ?1 AND seen_s IS NULL AND key_sha256 <> ?2 AND serial <> ?3";
            transaction.execute(sql, params![device.as_str(), renewed.key_sha256, shown.serial])?;
            let new = (renewed.serial.as_str(), &renewed.key_sha256);
            insert(transaction, device, new, now_s, renewed.not_after_s, None)?;
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    fn enrol(database: &Database, device: &DeviceId, key: u8, serial: &str) {
        let entered = Entered { key_sha256: [key; 32], serial, not_after_s: 100, audit_key: "", agent: "" };
        database.write(|transaction| entered.write(transaction, device, 1)).unwrap();
    }

    fn shown(device: &DeviceId, key: u8, serial: &str) -> ShownCertificate {
        let device = device.clone();
        ShownCertificate { device, serial: serial.to_owned(), key_sha256: [key; 32], not_after_s: 100 }
    }

    fn renewed(key: u8, serial: &str) -> DeviceCertificate {
        let certificate = String::new();
        DeviceCertificate { certificate, key_sha256: [key; 32], serial: serial.to_owned(), not_after_s: 200 }
    }

    #[test]
    fn both_certificates_count_until_the_new_one_is_used_and_then_only_that() {
        both(|database| {
            let device: DeviceId = "till-1".parse().unwrap();
            enrol(&database, &device, 1, "a1");
            assert!(database.keep_renewal(&device, &shown(&device, 1, "a1"), &renewed(2, "a2"), 2).unwrap());
            assert_eq!(database.enter(&device, "a1", 3).unwrap(), Entrance::Admitted);
            // Looking is not using.
            assert_eq!(database.entrance(&device, "a2").unwrap(), Entrance::Admitted);
            assert_eq!(database.enter(&device, "a1", 3).unwrap(), Entrance::Admitted);
            assert_eq!(database.enter(&device, "a2", 4).unwrap(), Entrance::Admitted);
            assert_eq!(database.enter(&device, "a1", 5).unwrap(), Entrance::Unknown);
            assert_eq!(database.key_standing(&device, &[1; 32]).unwrap(), KeyStanding::Unknown);
            assert_eq!(database.key_standing(&device, &[2; 32]).unwrap(), KeyStanding::Registered);
        });
    }

    #[test]
    fn a_renewal_that_was_never_used_gives_way_to_the_next() {
        both(|database| {
            let device: DeviceId = "till-1".parse().unwrap();
            enrol(&database, &device, 1, "a1");
            let old = shown(&device, 1, "a1");
            database.keep_renewal(&device, &old, &renewed(2, "a2"), 2).unwrap();
            database.keep_renewal(&device, &old, &renewed(2, "a3"), 2).unwrap();
            assert_eq!(database.entrance(&device, "a2").unwrap(), Entrance::Admitted, "the same key: a lost answer");
            database.keep_renewal(&device, &old, &renewed(3, "a4"), 2).unwrap();
            for (serial, entrance) in [
                ("a1", Entrance::Admitted),
                ("a2", Entrance::Unknown),
                ("a3", Entrance::Unknown),
                ("a4", Entrance::Admitted),
            ] {
                assert_eq!(database.entrance(&device, serial).unwrap(), entrance, "{serial}");
            }
        });
    }

    #[test]
    fn a_device_of_an_earlier_release_is_let_in_until_it_renews() {
        both(|database| {
            let device: DeviceId = "till-1".parse().unwrap();
            let sql = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES ('till-1', 1, ?1, '', '')";
            database.write(|transaction| Ok(transaction.execute(sql, [[1_u8; 32]])?)).unwrap();
            assert_eq!(database.enter(&device, "any", 2).unwrap(), Entrance::Admitted);
            database.keep_renewal(&device, &shown(&device, 1, "a1"), &renewed(2, "a2"), 2).unwrap();
            assert_eq!(database.enter(&device, "any", 2).unwrap(), Entrance::Unknown);
            assert_eq!(database.enter(&device, "a1", 2).unwrap(), Entrance::Admitted);
        });
    }

    #[test]
    fn nothing_of_a_revoked_device_counts() {
        both(|database| {
            let device: DeviceId = "till-1".parse().unwrap();
            enrol(&database, &device, 1, "a1");
            assert!(database.revoke(&device, 2).unwrap());
            assert_eq!(database.enter(&device, "a1", 3).unwrap(), Entrance::Revoked);
            assert_eq!(database.key_standing(&device, &[1; 32]).unwrap(), KeyStanding::Revoked);
            assert!(!database.keep_renewal(&device, &shown(&device, 1, "a1"), &renewed(2, "a2"), 4).unwrap());
        });
    }
}
