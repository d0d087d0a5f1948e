//! The serial numbers of devices' certificates, and which of them are revoked.

use outpost_contract::DeviceId;

use super::sql::params;
use super::{Database, DbError};

/// A certificate that counts no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RevokedCertificate {
    pub(crate) serial: String,
    pub(crate) revoked_s: i64,
}

impl Database {
    /// Remembers a certificate that is about to be handed out.
    pub(crate) fn keep_certificate(&self, serial: &str, device: &DeviceId, not_after_s: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO certificates (serial, device, not_after_s) VALUES (?1, ?2, ?3)",
                params![serial, device.as_str(), not_after_s],
            )?;
            Ok(())
        })
    }

    /// What a revocation list must name: revoked, and not expired anyway.
    pub(crate) fn revoked_certificates(&self, now_s: i64) -> Result<Vec<RevokedCertificate>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT serial, revoked_s FROM certificates WHERE revoked_s IS NOT NULL AND not_after_s >= ?1
                 ORDER BY serial",
            )?;
            let rows = statement
                .query_map([now_s], |row| Ok(RevokedCertificate { serial: row.get(0)?, revoked_s: row.get(1)? }))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;

    #[test]
    fn a_revoked_certificate_is_named_until_it_expires_and_others_are_not() {
        both(|database| {
            let device = "till-1".parse().unwrap();
            database.keep_certificate("01", &device, 100).unwrap();
            database.keep_certificate("02", &"till-2".parse().unwrap(), 100).unwrap();
            assert_eq!(database.revoked_certificates(10).unwrap(), []);
            database.revoke(&device, 10).unwrap();
            // A certificate of a later enrolment counts.
            database.keep_certificate("03", &device, 100).unwrap();
            let named = RevokedCertificate { serial: "01".into(), revoked_s: 10 };
            assert_eq!(database.revoked_certificates(100).unwrap(), [named]);
            assert_eq!(database.revoked_certificates(101).unwrap(), []);
        });
    }
}
