//! What a fleet file wants and what is not here yet: devices that have not enrolled, tokens that nobody has made. Beside them
//! the lists that such a file is compared with, whole.

use outpost_contract::{DeviceId, Fingerprint};

use super::many::names;
use super::orders::wish_of;
use super::sql::{Result as Read, Row, ToSql, params};
use super::{Assignment, Database, DbError};

/// A device that was awaited and is enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) device: DeviceId,
    /// What it will be told.
    pub(crate) wish: Option<Assignment>,
    /// Something was assigned to it meanwhile.
    pub(crate) is_assigned: bool,
}

impl Database {
    /// Every device that ever enrolled, whether it was revoked, and its key.
    pub(crate) fn device_keys(&self) -> Result<Vec<(DeviceId, bool, Fingerprint)>, DbError> {
        let sql = "SELECT device, revoked_s IS NOT NULL, key_sha256 FROM devices ORDER BY device";
        self.by_device(sql, &[], |device, row| Ok((device, row.get(1)?, Fingerprint(row.get(2)?))))
    }

    /// Where each device is.
    pub(crate) fn every_site(&self) -> Result<Vec<(DeviceId, String)>, DbError> {
        self.by_device("SELECT device, site FROM sites ORDER BY device", &[], |device, row| Ok((device, row.get(1)?)))
    }

    /// Labels of each device.
    pub(crate) fn every_label(&self) -> Result<Vec<(DeviceId, String, String)>, DbError> {
        let sql = "SELECT device, key, value FROM labels ORDER BY device, key";
        self.by_device(sql, &[], |device, row| Ok((device, row.get(1)?, row.get(2)?)))
    }

    /// Keys that were allowed and that nobody has enrolled with.
    pub(crate) fn open_keys(&self) -> Result<Vec<(DeviceId, Fingerprint)>, DbError> {
        let sql = "SELECT device, key_sha256 FROM allowed_keys WHERE used_s IS NULL ORDER BY device";
        self.by_device(sql, &[], |device, row| Ok((device, Fingerprint(row.get(1)?))))
    }

    /// Devices that are awaited, and what they will be told.
    pub(crate) fn awaited(&self) -> Result<Vec<(DeviceId, Option<Assignment>)>, DbError> {
        let sql = "SELECT device, model, minimum_context_tokens FROM awaited_devices ORDER BY device";
        self.by_device(sql, &[], |device, row| Ok((device, wish(row)?)))
    }

    /// Those of them that are enrolled, or this one if it is; whether something is assigned to it by now.
    pub(crate) fn arrived(&self, only: Option<&DeviceId>) -> Result<Vec<Arrived>, DbError> {
        let columns = "SELECT w.device, w.model, w.minimum_context_tokens, a.device IS NOT NULL FROM awaited_devices w
            JOIN devices d ON d.device = w.device LEFT JOIN assignments a ON a.device = w.device
            WHERE d.revoked_s IS NULL";
        let read = |device, row: &Row<'_>| Ok(Arrived { device, wish: wish(row)?, is_assigned: row.get(3)? });
        match only {
            None => self.by_device(&format!("{columns} ORDER BY w.device"), &[], read),
            Some(device) => self.by_device(&format!("{columns} AND w.device = ?1"), &[&device.as_str()], read),
        }
    }

    /// True if a device of that name is awaited: a fleet file names it, or a key was allowed as it.
    pub(crate) fn is_awaited(&self, device: &DeviceId) -> Result<bool, DbError> {
        self.read(|connection| {
            let sql = "SELECT device FROM awaited_devices WHERE device = ?1
                UNION ALL SELECT device FROM allowed_keys WHERE device = ?1";
            Ok(connection.prepare_cached(sql)?.exists([device.as_str()])?)
        })
    }

    /// Awaits devices; what one of them will be told stays.
    pub(crate) fn await_names(&self, devices: &[DeviceId]) -> Result<(), DbError> {
        let sql = "INSERT INTO awaited_devices (device) VALUES {rows} ON CONFLICT (device) DO NOTHING";
        let rows = names(devices);
        self.write(|transaction| Ok(transaction.execute_many(sql, &[], &rows).map(|_| ())?))
    }

    /// Awaits devices with what they will be told, in the place of what it was before.
    pub(crate) fn await_each(&self, wishes: &[(&DeviceId, &Assignment)]) -> Result<(), DbError> {
        let sql = "INSERT INTO awaited_devices (device, model, minimum_context_tokens) VALUES {rows}
             ON CONFLICT (device) DO UPDATE SET model = excluded.model,
             minimum_context_tokens = excluded.minimum_context_tokens";
        let rows: Vec<_> = wishes.iter().map(|(device, wish)| wish_of(device, wish)).collect();
        self.write(|transaction| Ok(transaction.execute_many(sql, &[], &rows).map(|_| ())?))
    }

    /// Awaits devices no longer.
    pub(crate) fn stop_awaiting(&self, devices: &[DeviceId]) -> Result<(), DbError> {
        let rows = names(devices);
        self.write(|transaction| {
            let sql = "DELETE FROM awaited_devices WHERE device IN ({rows})";
            Ok(transaction.execute_many(sql, &[], &rows).map(|_| ())?)
        })
    }

    /// Forgets a name that nobody enrolled under, with all that would let somebody do so.
    pub(crate) fn forget_name(&self, device: &DeviceId) -> Result<(), DbError> {
        self.write(|transaction| {
            for table in ["awaited_devices", "allowed_keys", "codes", "sites", "labels", "group_members"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE device = ?1"), [device.as_str()])?;
            }
            Ok(())
        })
    }

    /// Allows keys no longer that were allowed as these devices and that nobody has enrolled with.
    pub(crate) fn forbid_open_keys(&self, devices: &[DeviceId]) -> Result<(), DbError> {
        let rows = names(devices);
        self.write(|transaction| {
            let sql = "DELETE FROM allowed_keys WHERE used_s IS NULL AND device IN ({rows})";
            Ok(transaction.execute_many(sql, &[], &rows).map(|_| ())?)
        })
    }

    /// Tokens that are awaited: name, roles, scope, words joined by blanks.
    pub(crate) fn awaited_tokens(&self) -> Result<Vec<(String, String, String)>, DbError> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT name, roles, scope FROM awaited_tokens ORDER BY name")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Awaits a token, in the place of the one of that name.
    pub(crate) fn await_token(&self, name: &str, roles: &str, scope: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO awaited_tokens (name, roles, scope) VALUES (?1, ?2, ?3)
                ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, scope = excluded.scope";
            transaction.execute(sql, [name, roles, scope])?;
            Ok(())
        })
    }

    /// Awaits a token no longer.
    pub(crate) fn stop_awaiting_token(&self, name: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM awaited_tokens WHERE name = ?1", [name])?;
            Ok(())
        })
    }

    /// Gives a token that counts these roles and this scope in the place of those before; false if there is none.
    pub(crate) fn set_token_roles(&self, name: &str, roles: &str, scope: &str, now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE api_tokens SET roles = ?2, scope = ?3
                WHERE name = ?1 AND revoked_s IS NULL AND expires_s > ?4";
            Ok(transaction.execute(sql, params![name, roles, scope, now_s])? == 1)
        })
    }

    /// Rows whose first column is the name of a device; others are passed over, as everywhere.
    fn by_device<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl Fn(DeviceId, &Row<'_>) -> Read<T>,
    ) -> Result<Vec<T>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(values, |row| match row.get::<_, String>(0)?.parse() {
                Ok(device) => read(device, row).map(Some),
                Err(_) => Ok(None),
            })?;
            Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
        })
    }
}

fn wish(row: &Row<'_>) -> Read<Option<Assignment>> {
    let minimum: Option<u32> = row.get(2)?;
    let model: Option<String> = row.get(1)?;
    let model = model.and_then(|model| model.parse().ok());
    Ok(minimum.map(|minimum_context_tokens| Assignment { model, minimum_context_tokens }))
}
