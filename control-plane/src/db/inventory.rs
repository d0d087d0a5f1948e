//! Devices as rows of the inventory, in batches by name; labels and groups.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::DeviceId;

use super::sql::{self, OptionalExtension, Value, params};
use super::{Database, DbError};

/// What is known of a device, in columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) device: String,
    pub(crate) enrolled_s: i64,
    pub(crate) revoked_s: Option<i64>,
    pub(crate) agent: String,
    pub(crate) online: bool,
    pub(crate) seen_s: Option<i64>,
    pub(crate) desired_version: u64,
    /// The end of what was signed for it.
    pub(crate) desired_not_after_s: Option<i64>,
    pub(crate) is_assigned: bool,
    pub(crate) wanted: Option<String>,
    pub(crate) site: Option<String>,
    pub(crate) certificate_issued_s: Option<i64>,
    pub(crate) certificate_not_after_s: Option<i64>,
    pub(crate) said: Option<Said>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Groups that name it as a member.
    pub(crate) groups: BTreeSet<String>,
}

/// What its newest report says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) received_s: i64,
    pub(crate) desired_version: u64,
    pub(crate) applied_version: u64,
    pub(crate) policy_version: u64,
    pub(crate) model: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) context_tokens: Option<u64>,
    pub(crate) speed_milli: Option<u64>,
    pub(crate) refusals: u64,
    pub(crate) waits: u64,
    pub(crate) reasons: String,
    pub(crate) backlog: u64,
    pub(crate) dead_letters: u64,
    pub(crate) measured_at_s: Option<i64>,
    pub(crate) cpu: Option<String>,
    pub(crate) cores: Option<u64>,
    pub(crate) features: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) available_bytes: Option<u64>,
    pub(crate) disk_bytes: Option<u64>,
}

/// A group as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredGroup {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) selector: Option<String>,
}

const ROWS: &str = "SELECT d.device, d.enrolled_s, d.revoked_s, coalesce(f.agent, d.agent), coalesce(c.online, 0), c.seen_s,
    coalesce(s.version, 0), s.not_after_s, a.device, a.model, t.site,
    (SELECT max(k.issued_s) FROM device_keys k WHERE k.device = d.device),
    (SELECT max(k.not_after_s) FROM device_keys k WHERE k.device = d.device),
    f.received_s, f.desired_version, f.applied_version, f.policy_version, f.model, f.target, f.context_tokens,
    f.speed_milli, f.refusals, f.waits, f.reasons, f.backlog, f.dead_letters, f.measured_at_s, f.cpu, f.cores, f.features,
    f.memory_bytes, f.available_bytes, f.disk_bytes
    FROM devices d LEFT JOIN contacts c ON c.device = d.device LEFT JOIN desired s ON s.device = d.device
    LEFT JOIN assignments a ON a.device = d.device LEFT JOIN sites t ON t.device = d.device
    LEFT JOIN facts f ON f.device = d.device WHERE d.device > ?1 AND d.device <= ?2 ORDER BY d.device LIMIT ?3";

/// Greater than every name of a device.
pub(crate) const AFTER_ALL: &str = "~";

impl Database {
    /// The first `limit` devices after `after`, up to and including `last`, by name.
    pub(crate) fn inventory(&self, after: &str, last: &str, limit: usize) -> Result<Vec<Row>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(ROWS)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![after, last, limit], read)?;
            let mut rows = rows.collect::<Result<Vec<Row>, _>>()?;
            let Some(last) = rows.last().map(|row| row.device.clone()) else { return Ok(rows) };
            let text = "SELECT device, key, value FROM labels WHERE device > ?1 AND device <= ?2";
            let mut statement = connection.prepare_cached(text)?;
            let read = |row: &sql::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
            for label in statement.query_map([after, last.as_str()], read)? {
                let (device, key, value) = label?;
                if let Ok(place) = rows.binary_search_by(|row| row.device.cmp(&device)) {
                    rows[place].labels.insert(key, value);
                }
            }
            let text = "SELECT device, name FROM group_members WHERE device > ?1 AND device <= ?2";
            let mut statement = connection.prepare_cached(text)?;
            let read = |row: &sql::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?));
            for member in statement.query_map([after, last.as_str()], read)? {
                let (device, group) = member?;
                if let Ok(place) = rows.binary_search_by(|row| row.device.cmp(&device)) {
                    rows[place].groups.insert(group);
                }
            }
            Ok(rows)
        })
    }

    /// One device.
    pub(crate) fn inventory_of(&self, device: &DeviceId) -> Result<Option<Row>, DbError> {
        // What comes just before it: nothing that can be a name lies between.
        let name = device.as_str();
        let mut before = name.as_bytes().to_vec();
        if let Some(last) = before.last_mut() {
            *last -= 1;
        }
        let before = String::from_utf8_lossy(&before).into_owned() + AFTER_ALL;
        let mut rows = self.inventory(&before, name, 1)?;
        Ok(rows.pop().filter(|row| row.device == name))
    }

    /// Sets and removes labels of a device.
    pub(crate) fn set_labels(
        &self,
        device: &DeviceId,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<(), DbError> {
        self.write(|transaction| {
            for key in remove {
                transaction.execute("DELETE FROM labels WHERE device = ?1 AND key = ?2", [device.as_str(), key])?;
            }
            for (key, value) in set {
                let sql = "INSERT INTO labels (device, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (device, key) DO UPDATE SET value = excluded.value";
                transaction.prepare_cached(sql)?.execute([device.as_str(), key, value])?;
            }
            Ok(())
        })
    }

    /// Sets labels of devices, each with its key and value, or removes those without a value.
    pub(crate) fn set_every_label(&self, labels: &[(&DeviceId, &str, Option<&str>)]) -> Result<(), DbError> {
        let (mut set, mut removed) = (Vec::new(), Vec::new());
        for (device, key, value) in labels {
            let (device, key) = (Value::Text(device.as_str()), Value::Text(key));
            match value {
                Some(value) => set.push([device, key, Value::Text(value)]),
                None => removed.push([device, key]),
            }
        }
        self.write(|transaction| {
            let sql = "DELETE FROM labels WHERE (device, key) IN (VALUES {rows})";
            transaction.execute_many(sql, &[], &removed)?;
            let sql = "INSERT INTO labels (device, key, value) VALUES {rows}
                 ON CONFLICT (device, key) DO UPDATE SET value = excluded.value";
            transaction.execute_many(sql, &[], &set)?;
            Ok(())
        })
    }

    /// Labels of a device.
    pub(crate) fn labels(&self, device: &DeviceId) -> Result<BTreeMap<String, String>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT key, value FROM labels WHERE device = ?1")?;
            let rows = statement.query_map([device.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Keeps a group in the place of the one of that name.
    pub(crate) fn keep_group(&self, group: &StoredGroup, members: &[DeviceId]) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT INTO device_groups (name, description, selector) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET description = excluded.description, selector = excluded.selector",
                params![group.name, group.description, group.selector],
            )?;
            transaction.execute("DELETE FROM group_members WHERE name = ?1", [&group.name])?;
            let sql = "INSERT INTO group_members (device, name) VALUES (?1, ?2) ON CONFLICT (device, name) DO NOTHING";
            for device in members {
                transaction.prepare_cached(sql)?.execute([device.as_str(), &group.name])?;
            }
            Ok(())
        })
    }

    /// Forgets a group; false if there was none.
    pub(crate) fn remove_group(&self, name: &str) -> Result<bool, DbError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM group_members WHERE name = ?1", [name])?;
            Ok(transaction.execute("DELETE FROM device_groups WHERE name = ?1", [name])? > 0)
        })
    }

    /// All groups, by name.
    pub(crate) fn groups(&self) -> Result<Vec<StoredGroup>, DbError> {
        self.read(|connection| {
            let sql = "SELECT name, description, selector FROM device_groups ORDER BY name";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                Ok(StoredGroup { name: row.get(0)?, description: row.get(1)?, selector: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Devices that a group names, by name.
    pub(crate) fn members(&self, group: &str) -> Result<Vec<DeviceId>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device FROM group_members WHERE name = ?1 ORDER BY device";
            let mut statement = connection.prepare_cached(sql)?;
            let names = statement.query_map([group], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
    }

    /// True if there is such a device, revoked or not.
    pub(crate) fn is_known(&self, device: &DeviceId) -> Result<bool, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT 1 FROM devices WHERE device = ?1")?;
            Ok(statement.query_row([device.as_str()], |_| Ok(())).optional()?.is_some())
        })
    }
}

fn read(row: &super::sql::Row<'_>) -> super::sql::Result<Row> {
    let said = match row.get(13)? {
        None => None,
        Some(received_s) => Some(Said {
            received_s,
            desired_version: row.get(14)?,
            applied_version: row.get(15)?,
            policy_version: row.get(16)?,
            model: row.get(17)?,
            target: row.get(18)?,
            context_tokens: row.get(19)?,
            speed_milli: row.get(20)?,
            refusals: row.get(21)?,
            waits: row.get(22)?,
            reasons: row.get(23)?,
            backlog: row.get(24)?,
            dead_letters: row.get(25)?,
            measured_at_s: row.get(26)?,
            cpu: row.get(27)?,
            cores: row.get(28)?,
            features: row.get(29)?,
            memory_bytes: row.get(30)?,
            available_bytes: row.get(31)?,
            disk_bytes: row.get(32)?,
        }),
    };
    Ok(Row {
        device: row.get(0)?,
        enrolled_s: row.get(1)?,
        revoked_s: row.get(2)?,
        agent: row.get(3)?,
        online: row.get(4)?,
        seen_s: row.get(5)?,
        desired_version: row.get(6)?,
        desired_not_after_s: row.get(7)?,
        is_assigned: row.get::<_, Option<String>>(8)?.is_some(),
        wanted: row.get(9)?,
        site: row.get(10)?,
        certificate_issued_s: row.get(11)?,
        certificate_not_after_s: row.get(12)?,
        said,
        labels: BTreeMap::new(),
        groups: BTreeSet::new(),
    })
}
