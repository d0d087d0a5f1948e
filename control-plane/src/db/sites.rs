//! Which site each device is at.

use outpost_contract::DeviceId;

use super::sql::{OptionalExtension, Value, params};
use super::{Database, DbError};

impl Database {
    /// Notes where a device is; `None` is nowhere in particular.
    pub(crate) fn set_site(&self, device: &DeviceId, site: Option<&str>) -> Result<(), DbError> {
        self.write(|transaction| {
            match site {
                Some(site) => transaction.execute(
                    "INSERT INTO sites (device, site) VALUES (?1, ?2) ON CONFLICT (device) DO UPDATE SET site = excluded.site",
                    params![device.as_str(), site],
                )?,
                None => transaction.execute("DELETE FROM sites WHERE device = ?1", [device.as_str()])?,
            };
            Ok(())
        })
    }

    /// Notes where each device is, as [`set_site`](Self::set_site) does.
    pub(crate) fn set_sites(&self, places: &[(&DeviceId, Option<&str>)]) -> Result<(), DbError> {
        let somewhere =
            places.iter().filter_map(|(device, site)| Some([Value::Text(device.as_str()), Value::Text((*site)?)]));
        let (somewhere, nowhere): (Vec<_>, Vec<_>) = (
            somewhere.collect(),
            places
                .iter()
                .filter(|(_, site)| site.is_none())
                .map(|(device, _)| [Value::Text(device.as_str())])
                .collect(),
        );
        self.write(|transaction| {
            let sql = "INSERT INTO sites (device, site) VALUES {rows} ON CONFLICT (device) DO UPDATE SET site = excluded.site";
            transaction.execute_many(sql, &[], &somewhere)?;
            transaction.execute_many("DELETE FROM sites WHERE device IN ({rows})", &[], &nowhere)?;
            Ok(())
        })
    }

    /// Where a device is, if that was said.
    pub(crate) fn site(&self, device: &DeviceId) -> Result<Option<String>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT site FROM sites WHERE device = ?1")?;
            Ok(statement.query_row([device.as_str()], |row| row.get(0)).optional()?)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::db::testing::both;

    #[test]
    fn a_device_is_at_one_site_or_none() {
        both(|database| {
            let till = "till-7".parse().unwrap();
            assert_eq!(database.site(&till).unwrap(), None);
            database.set_site(&till, Some("store-12")).unwrap();
            database.set_site(&till, Some("store-13")).unwrap();
            assert_eq!(database.site(&till).unwrap().as_deref(), Some("store-13"));
            database.set_site(&till, None).unwrap();
            assert_eq!(database.site(&till).unwrap(), None);
        });
    }
}
