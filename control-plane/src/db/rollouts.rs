//! Rollouts as they are written down: each a document, and a row for each of its devices.

use std::collections::BTreeMap;

use outpost_contract::{BuildVersion, DeviceId, TargetName};

use super::sql::{OptionalExtension, params};
use super::{Database, DbError};

/// Notices of a rollout that are kept.
const NOTICES_KEPT: i64 = 1000;

/// Where a report stands among all of its device, as one number: the start that it is of, and its sequence in that.
const PLACE: &str = "(f.ordinal * 4294967296 + CASE WHEN f.sequence < 4294967295 THEN f.sequence ELSE 4294967295 END)";

/// A rollout without its devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRollout {
    pub(crate) name: String,
    pub(crate) created_s: i64,
    pub(crate) is_active: bool,
    /// One word, for lists and counts.
    pub(crate) state: String,
    /// Goes up whenever it is written; 0 if it never was.
    pub(crate) revision: i64,
    /// What was asked for, JSON.
    pub(crate) request: String,
    /// The state of the machine without its devices, JSON.
    pub(crate) document: String,
}

/// A device of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMember {
    pub(crate) device: DeviceId,
    pub(crate) wave: usize,
    pub(crate) status: &'static str,
    /// It has not left.
    pub(crate) is_held: bool,
    pub(crate) heard: u64,
    /// As the machine has it, JSON.
    pub(crate) document: String,
}

/// A report that its rollout has not heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unheard {
    pub(crate) device: DeviceId,
    /// The desired state that carried the last order.
    pub(crate) version: u64,
    pub(crate) place: u64,
    /// The report, JSON.
    pub(crate) document: String,
}

/// Something that happened in a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredNotice {
    pub(crate) number: i64,
    pub(crate) at_s: i64,
    /// The notice, JSON.
    pub(crate) document: String,
}

/// What the desired state of a device says besides its assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The rollout that asked for it.
    pub(crate) rollout: Option<String>,
    /// The policy's target in the catalogue, if it is not the one that all others have.
    pub(crate) policy: Option<TargetName>,
    /// The version of the agent, if a rollout said one.
    pub(crate) build: Option<BuildVersion>,
}

const ROLLOUT: &str = "SELECT name, created_s, is_active, state, revision, request, document FROM rollouts";

fn rollout(row: &super::sql::Row<'_>) -> super::sql::Result<StoredRollout> {
    Ok(StoredRollout {
        name: row.get(0)?,
        created_s: row.get(1)?,
        is_active: row.get::<_, i64>(2)? != 0,
        state: row.get(3)?,
        revision: row.get(4)?,
        request: row.get(5)?,
        document: row.get(6)?,
    })
}

impl Database {
    /// Writes a rollout in the place of the revision that it was read at; false if somebody wrote it meanwhile.
    pub(crate) fn keep_rollout(&self, one: &StoredRollout) -> Result<bool, DbError> {
        self.write(|transaction| {
            let is_active = i64::from(one.is_active);
            if one.revision == 0 {
                let sql = "INSERT INTO rollouts (name, created_s, is_active, state, revision, request, document)
                     VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6) ON CONFLICT (name) DO NOTHING";
                let values = params![one.name, one.created_s, is_active, one.state, one.request, one.document];
                return Ok(transaction.prepare_cached(sql)?.execute(values)? == 1);
            }
            let sql = "UPDATE rollouts SET is_active = ?3, state = ?4, revision = revision + 1, document = ?5
                 WHERE name = ?1 AND revision = ?2";
            let values = params![one.name, one.revision, is_active, one.state, one.document];
            Ok(transaction.prepare_cached(sql)?.execute(values)? == 1)
        })
    }

    /// One rollout.
    pub(crate) fn rollout(&self, name: &str) -> Result<Option<StoredRollout>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{ROLLOUT} WHERE name = ?1"))?;
            Ok(statement.query_row([name], rollout).optional()?)
        })
    }

    /// Rollouts by name, those after `after`.
    pub(crate) fn rollouts_after(&self, after: &str, most: usize) -> Result<Vec<StoredRollout>, DbError> {
        self.read(|connection| {
            let sql = format!("{ROLLOUT} WHERE name > ?1 ORDER BY name LIMIT ?2");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![after, limit(most)], rollout)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The rollouts that began last, the newest first.
    pub(crate) fn newest_rollouts(&self, most: usize) -> Result<Vec<StoredRollout>, DbError> {
        self.read(|connection| {
            let sql = format!("{ROLLOUT} ORDER BY created_s DESC, name DESC LIMIT ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([limit(most)], rollout)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Names and revisions of those that have not ended.
    pub(crate) fn active_rollouts(&self) -> Result<Vec<(String, i64)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT name, revision FROM rollouts WHERE is_active = 1 ORDER BY name";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Writes devices of a rollout; the version of the last order of each stays.
    pub(crate) fn keep_members(&self, rollout: &str, members: &[StoredMember]) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO rollout_devices (device, name, wave, status, is_held, heard, version, document)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)
                 ON CONFLICT (name, device) DO UPDATE SET wave = excluded.wave, status = excluded.status,
                 is_held = excluded.is_held, heard = excluded.heard, document = excluded.document";
            let mut statement = transaction.prepare_cached(sql)?;
            for one in members {
                let (wave, is_held) = (i64::try_from(one.wave).unwrap_or(i64::MAX), i64::from(one.is_held));
                let device = one.device.as_str();
                statement.execute(params![device, rollout, wave, one.status, is_held, one.heard, one.document])?;
            }
            Ok(())
        })
    }

    /// Notes which desired state carried the last order of a device.
    pub(crate) fn note_order(&self, rollout: &str, device: &DeviceId, version: u64) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "UPDATE rollout_devices SET version = ?3 WHERE name = ?1 AND device = ?2";
            transaction.prepare_cached(sql)?.execute(params![rollout, device.as_str(), version])?;
            Ok(())
        })
    }

    /// All devices of a rollout, as the machine has them.
    pub(crate) fn members_of(&self, rollout: &str) -> Result<Vec<(DeviceId, String)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device, document FROM rollout_devices WHERE name = ?1 ORDER BY device";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([rollout], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            named(rows)
        })
    }

    /// Some devices of a rollout by name, of one status or of any.
    pub(crate) fn members_after(
        &self,
        rollout: &str,
        status: Option<&str>,
        after: &str,
        most: usize,
    ) -> Result<Vec<(DeviceId, String)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device, document FROM rollout_devices
                 WHERE name = ?1 AND device > ?2 AND (?3 = '' OR status = ?3) ORDER BY device LIMIT ?4";
            let mut statement = connection.prepare_cached(sql)?;
            let values = params![rollout, after, status.unwrap_or_default(), limit(most)];
            let rows = statement.query_map(values, |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            named(rows)
        })
    }

    /// How many devices of each wave have which status.
    pub(crate) fn member_counts(&self, rollout: &str) -> Result<Vec<(usize, String, u64)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT wave, status, count(*) FROM rollout_devices WHERE name = ?1 GROUP BY wave, status";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([rollout], |row| {
                Ok((usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX), row.get(1)?, row.get(2)?))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The newest reports of devices that were ordered something, where their rollout has not heard them; those from before
    /// the order, which say nothing about it, are left out.
    pub(crate) fn unheard(&self, rollout: &str, most: usize) -> Result<Vec<Unheard>, DbError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT r.device, r.version, {PLACE}, p.document FROM rollout_devices r JOIN facts f ON f.device = r.device
                 JOIN reports p ON p.device = f.device AND p.ordinal = f.ordinal AND p.sequence = f.sequence
                 WHERE r.name = ?1 AND r.is_held = 1 AND r.version > 0 AND {PLACE} > r.heard
                 AND (f.desired_version >= r.version OR f.applied_version >= r.version OR f.refusals > 0)
                 ORDER BY r.device LIMIT ?2"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params![rollout, limit(most)], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
            let mut unheard = Vec::new();
            for row in rows {
                let (name, version, place, document) = row?;
                let Ok(device) = name.parse() else { continue };
                unheard.push(Unheard { device, version, place, document });
            }
            Ok(unheard)
        })
    }

    /// The place of the newest report of a device, if it has reported.
    pub(crate) fn place_of_report(&self, device: &DeviceId) -> Result<Option<u64>, DbError> {
        self.read(|connection| {
            let sql = format!("SELECT {PLACE} FROM facts f WHERE f.device = ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row([device.as_str()], |row| row.get(0)).optional()?)
        })
    }

    /// Notes that something newer rules a device, if an active rollout holds it: an empty name if it was revoked.
    pub(crate) fn depart(&self, device: &DeviceId, by: &str) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO rollout_departures (device, by_whom)
                 SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM rollout_devices r JOIN rollouts o ON o.name = r.name
                     WHERE r.device = ?1 AND r.is_held = 1 AND o.is_active = 1)
                 ON CONFLICT (device) DO UPDATE SET by_whom = excluded.by_whom WHERE rollout_departures.by_whom <> ''";
            transaction.prepare_cached(sql)?.execute([device.as_str(), by])?;
            Ok(())
        })
    }

    /// Devices that left, and what rules them now.
    pub(crate) fn departures(&self) -> Result<Vec<(DeviceId, String)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device, by_whom FROM rollout_departures ORDER BY device";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            named(rows)
        })
    }

    /// Forgets that they left: it was heard, or is overtaken.
    pub(crate) fn forget_departures(&self, devices: &[DeviceId]) -> Result<(), DbError> {
        self.write(|transaction| {
            let mut statement = transaction.prepare_cached("DELETE FROM rollout_departures WHERE device = ?1")?;
            for device in devices {
                statement.execute([device.as_str()])?;
            }
            Ok(())
        })
    }

    /// Keeps what happened, in its order.
    pub(crate) fn add_notices(&self, rollout: &str, at_s: i64, notices: &[String]) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "SELECT coalesce(max(number), 0) FROM rollout_notices WHERE name = ?1";
            let mut number: i64 = transaction.prepare_cached(sql)?.query_row([rollout], |row| row.get(0))?;
            let sql = "INSERT INTO rollout_notices (name, number, at_s, document) VALUES (?1, ?2, ?3, ?4)";
            for notice in notices {
                number += 1;
                transaction.prepare_cached(sql)?.execute(params![rollout, number, at_s, notice])?;
            }
            let sql = "DELETE FROM rollout_notices WHERE name = ?1 AND number <= ?2";
            transaction.prepare_cached(sql)?.execute(params![rollout, number - NOTICES_KEPT])?;
            Ok(())
        })
    }

    /// What happened last, the newest first.
    pub(crate) fn notices(&self, rollout: &str, most: usize) -> Result<Vec<StoredNotice>, DbError> {
        self.read(|connection| {
            let sql =
                "SELECT number, at_s, document FROM rollout_notices WHERE name = ?1 ORDER BY number DESC LIMIT ?2";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(params![rollout, limit(most)], |row| {
                Ok(StoredNotice { number: row.get(0)?, at_s: row.get(1)?, document: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// What the desired state of a device says besides its assignment.
    pub(crate) fn pin(&self, device: &DeviceId) -> Result<Pin, DbError> {
        self.read(|connection| {
            let sql =
                "SELECT p.rollout, p.policy, b.version FROM pins p LEFT JOIN pinned_builds b ON b.device = p.device
                 WHERE p.device = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let row = statement.query_row([device.as_str()], |row| {
                let (policy, build): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
                Ok(Pin::read(row.get(0)?, policy.as_deref(), build.as_deref()))
            });
            Ok(row.optional()?.unwrap_or_default())
        })
    }

    /// Keeps that.
    pub(crate) fn keep_pin(&self, device: &DeviceId, pin: &Pin) -> Result<(), DbError> {
        self.write(|transaction| {
            let sql = "INSERT INTO pins (device, rollout, policy) VALUES (?1, ?2, ?3)
                 ON CONFLICT (device) DO UPDATE SET rollout = excluded.rollout, policy = excluded.policy";
            let values = params![device.as_str(), pin.rollout, pin.policy.as_ref().map(TargetName::as_str)];
            transaction.prepare_cached(sql)?.execute(values)?;
            match &pin.build {
                Some(version) => {
                    let sql = "INSERT INTO pinned_builds (device, version) VALUES (?1, ?2)
                         ON CONFLICT (device) DO UPDATE SET version = excluded.version";
                    transaction.prepare_cached(sql)?.execute(params![device.as_str(), version.as_str()])?;
                }
                None => forget_build(transaction, device)?,
            }
            Ok(())
        })
    }

    /// How many devices are told to run which version of the agent.
    pub(crate) fn pinned_builds(&self) -> Result<BTreeMap<String, u64>, DbError> {
        self.read(|connection| {
            let sql = "SELECT version, count(*) FROM pinned_builds GROUP BY version ORDER BY version";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Forgets it.
    pub(crate) fn unpin(&self, device: &DeviceId) -> Result<(), DbError> {
        self.write(|transaction| {
            transaction.prepare_cached("DELETE FROM pins WHERE device = ?1")?.execute([device.as_str()])?;
            forget_build(transaction, device)
        })
    }

    /// How many devices are admitted: whether somebody may have joined.
    pub(crate) fn admitted_count(&self) -> Result<u64, DbError> {
        self.read(|connection| {
            let sql = "SELECT count(*) FROM devices WHERE revoked_s IS NULL";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        })
    }
}

impl Pin {
    /// As the columns have it.
    pub(super) fn read(rollout: Option<String>, policy: Option<&str>, build: Option<&str>) -> Self {
        Self {
            rollout,
            policy: policy.and_then(|name| name.parse().ok()),
            build: build.and_then(|text| text.parse().ok()),
        }
    }
}

fn forget_build(transaction: &super::sql::Connection, device: &DeviceId) -> Result<(), DbError> {
    transaction.prepare_cached("DELETE FROM pinned_builds WHERE device = ?1")?.execute([device.as_str()])?;
    Ok(())
}

/// Rows whose first column names a device.
fn named<T>(rows: impl Iterator<Item = super::sql::Result<(String, T)>>) -> Result<Vec<(DeviceId, T)>, DbError> {
    let mut read = Vec::new();
    for row in rows {
        let (name, value) = row?;
        if let Ok(device) = name.parse() {
            read.push((device, value));
        }
    }
    Ok(read)
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}
