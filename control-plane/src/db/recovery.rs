//! What people change about their own way in: password, authenticator, recovery codes.

use super::sql::{OptionalExtension, params};

use super::{Database, DbError};

impl Database {
    /// Sets a password; every session of the person but this one ends.
    pub(crate) fn change_password(&self, name: &str, password: &[u8], session: &[u8; 32]) -> Result<bool, DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM sessions WHERE person = ?1 AND hash <> ?2", params![name, session])?;
            let sql = "UPDATE people SET password = ?2 WHERE name = ?1 AND disabled_s IS NULL";
            Ok(transaction.execute(sql, params![name, password])? == 1)
        })
    }

    /// Keeps the secret of an authenticator until it is confirmed, in the place of the one before.
    pub(crate) fn offer_authenticator(&self, name: &str, secret: &[u8], expires_s: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO offered_authenticators (person, secret, expires_s) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (person) DO UPDATE SET secret = excluded.secret, expires_s = excluded.expires_s";
            transaction.execute(sql, params![name, secret, expires_s])?;
            Ok(())
        })
    }

    /// The secret that waits to be confirmed.
    pub(crate) fn offered_authenticator(&self, name: &str, now_s: i64) -> Result<Option<Vec<u8>>, DbError> {
        self.read(|connection| {
            let sql = "SELECT secret FROM offered_authenticators WHERE person = ?1 AND expires_s > ?2";
            Ok(connection.query_row(sql, params![name, now_s], |row| row.get(0)).optional()?)
        })
    }

    /// Keeps recovery codes in the place of those before.
    pub(crate) fn set_recovery_codes(&self, name: &str, hashes: &[[u8; 32]]) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM recovery_codes WHERE person = ?1", [name])?;
            for hash in hashes {
                let sql = "INSERT INTO recovery_codes (hash, person) VALUES (?1, ?2)";
                transaction.execute(sql, params![hash, name])?;
            }
            Ok(())
        })
    }

    /// Uses a recovery code up; false if the person has none like it.
    pub(crate) fn use_recovery_code(&self, name: &str, hash: &[u8; 32]) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "DELETE FROM recovery_codes WHERE hash = ?1 AND person = ?2";
            Ok(transaction.execute(sql, params![hash, name])? == 1)
        })
    }

    /// How many a person has left.
    pub(crate) fn recovery_codes_left(&self, name: &str) -> Result<u32, DbError> {
        self.read(|connection| {
            let sql = "SELECT COUNT(*) FROM recovery_codes WHERE person = ?1";
            Ok(connection.query_row(sql, [name], |row| row.get(0))?)
        })
    }
}
