//! What the console's lists ask of the database: a page at a time, never all rows.

use super::sql::{OptionalExtension, params};
use outpost_contract::DeviceId;

use super::{Database, DbError, DeviceSummary};

impl Database {
    /// The devices after a name whose name or site contains `part`, by name.
    pub(crate) fn devices_after(&self, after: &str, part: &str, limit: u32) -> Result<Vec<DeviceSummary>, DbError> {
        let names = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                r"SELECT device FROM devices WHERE device > ?1 AND (device LIKE ?2 ESCAPE '\'
                  OR device IN (SELECT device FROM sites WHERE site LIKE ?2 ESCAPE '\')) ORDER BY device LIMIT ?3",
            )?;
            let rows = statement.query_map(params![after, pattern(part), limit], |row| row.get::<_, String>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        let devices = names.iter().filter_map(|name| name.parse::<DeviceId>().ok());
        devices.filter_map(|device| self.device(&device).transpose()).collect()
    }

    /// How many devices there are whose name or site contains `part`.
    pub(crate) fn count_devices(&self, part: &str) -> Result<u64, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                r"SELECT count(*) FROM devices WHERE device LIKE ?1 ESCAPE '\'
                  OR device IN (SELECT device FROM sites WHERE site LIKE ?1 ESCAPE '\')",
            )?;
            Ok(statement.query_row([pattern(part)], |row| row.get(0))?)
        })
    }

    /// When the newest certificate of a device ends.
    pub(crate) fn certificate_end(&self, device: &DeviceId) -> Result<Option<i64>, DbError> {
        self.read(|connection| {
            let sql = "SELECT max(not_after_s) FROM certificates WHERE device = ?1 AND revoked_s IS NULL";
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_row([device.as_str()], |row| row.get(0)).optional()?.flatten())
        })
    }

    /// When the newest certificate of each device ends.
    pub(crate) fn certificate_ends(&self) -> Result<Vec<i64>, DbError> {
        self.read(|connection| {
            let sql = "SELECT max(not_after_s) FROM certificates WHERE revoked_s IS NULL GROUP BY device";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// A pattern of LIKE for texts that contain `part`, whatever is in it.
fn pattern(part: &str) -> String {
    let mut pattern = String::from("%");
    for character in part.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
