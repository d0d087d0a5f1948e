//! One-time codes in the database: by hash, each for one device and one use.

use outpost_contract::DeviceId;

use super::sql::{OptionalExtension, params};
use super::{Database, DbError, Entered};

/// Why a code does not open the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeState {
    /// Nobody made it.
    Unknown,
    /// Another key used it.
    Used,
    /// It is too old.
    Expired,
}

/// Who enrols with which code.
#[derive(Debug)]
pub(crate) struct Redeemed<'a> {
    pub(crate) hash: [u8; 32],
    pub(crate) entered: Entered<'a>,
}

impl Database {
    /// Keeps the hashes of new codes: all or none.
    pub(crate) fn add_codes(&self, codes: &[([u8; 32], &DeviceId)], now_s: i64, expires_s: i64) -> Result<(), DbError> {
        self.write(|transaction| {
            // Codes long gone say nothing any more, not even that they were used.
            transaction.execute("DELETE FROM codes WHERE expires_s < ?1", [now_s - 30 * 24 * 60 * 60])?;
            let sql = "INSERT INTO codes (hash, device, created_s, expires_s) VALUES (?1, ?2, ?3, ?4)";
            let mut statement = transaction.prepare_cached(sql)?;
            for (hash, device) in codes {
                statement.execute(params![hash, device.as_str(), now_s, expires_s])?;
            }
            Ok(())
        })
    }

    /// The device that a code is for, and whether it can still be used by the owner of this key.
    pub(crate) fn look_up_code(
        &self,
        hash: &[u8; 32],
        key_sha256: Option<&[u8; 32]>,
        now_s: i64,
    ) -> Result<Result<DeviceId, CodeState>, DbError> {
        let row = self.read(|connection| {
            let sql = "SELECT device, expires_s, used_s, key_sha256 FROM codes WHERE hash = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let row = statement
                .query_row([hash], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
            Ok(row.optional()?)
        })?;
        Ok(judge(row, key_sha256, now_s))
    }

    /// Uses a code up and enters the device, in one transaction. The owner of the same key may repeat it while the code is
    /// valid: the answer of the first time may have been lost on the way.
    pub(crate) fn redeem(&self, enrolment: &Redeemed<'_>, now_s: i64) -> Result<Result<DeviceId, CodeState>, DbError> {
        self.write(|transaction| {
            let sql = "SELECT device, expires_s, used_s, key_sha256 FROM codes WHERE hash = ?1";
            let row = transaction.query_row(sql, [enrolment.hash], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            });
            let device = match judge(row.optional()?, Some(&enrolment.entered.key_sha256), now_s) {
                Ok(device) => device,
                Err(state) => return Ok(Err(state)),
            };
            transaction.execute(
                "UPDATE codes SET used_s = coalesce(used_s, ?2), key_sha256 = ?3 WHERE hash = ?1",
                params![enrolment.hash, now_s, enrolment.entered.key_sha256],
            )?;
            enrolment.entered.write(transaction, &device, now_s)?;
            Ok(Ok(device))
        })
    }

    /// Uses up every code and forgets every allowed key that let nobody in yet; gives how many there were.
    pub(crate) fn void_invitations(&self) -> Result<usize, DbError> {
        self.write(|transaction| {
            let codes = transaction.execute("UPDATE codes SET used_s = created_s WHERE used_s IS NULL", [])?;
            Ok(codes + transaction.execute("DELETE FROM allowed_keys WHERE used_s IS NULL", [])?)
        })
    }
}

type Row = (String, i64, Option<i64>, Option<Vec<u8>>);

fn judge(row: Option<Row>, key_sha256: Option<&[u8; 32]>, now_s: i64) -> Result<DeviceId, CodeState> {
    let (device, expires_s, used_s, used_by) = row.ok_or(CodeState::Unknown)?;
    let same_key = key_sha256.is_some_and(|key| used_by.as_deref() == Some(key.as_slice()));
    if used_s.is_some() && !same_key {
        return Err(CodeState::Used);
    }
    if now_s >= expires_s {
        return Err(CodeState::Expired);
    }
    device.parse().map_err(|_| CodeState::Unknown)
}
