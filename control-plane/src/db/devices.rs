//! Devices, what is assigned to them, and what was signed for them.

use outpost_contract::{DeviceId, ModelId, Reported};
use serde::{Deserialize, Serialize};

use super::many::names;
use super::sql::{self, OptionalExtension, params};
use super::{Database, DbError, document};

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSummary {
    /// The device.
    pub device: DeviceId,
    /// When it enrolled, seconds since 1970-01-01 UTC.
    pub enrolled_s: i64,
    /// When it was revoked, if it was.
    pub revoked_s: Option<i64>,
    /// The agent's version at enrolment or, if it has reported since, then.
    pub agent: String,
    /// Connected now.
    pub online: bool,
    /// Last heard of, seconds since 1970-01-01 UTC; `None` if never.
    pub seen_s: Option<i64>,
    /// Version of the newest desired state signed for it; 0 if none.
    pub desired_version: u64,
    /// What it is assigned.
    pub assignment: Option<Assignment>,
    /// The newest that it reported.
    pub reported: Option<Reported>,
    /// The key that signs its audit checkpoints, as a C2SP verifier key.
    pub audit_key: String,
    /// The site whose line it shares, if one was said.
    #[serde(default)]
    pub site: Option<String>,
    /// When the last stick from it was taken in, if one was.
    #[serde(default)]
    pub stick_s: Option<i64>,
}

/// What an operator wants a device to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The model; `None` runs none.
    pub model: Option<ModelId>,
    /// Smallest context that is of use, tokens.
    pub minimum_context_tokens: u32,
}

/// A device with what it is assigned, and the version and end of what was signed for it.
pub(crate) type Assigned = (DeviceId, Assignment, u64, i64);

const ASSIGNED: &str =
    "SELECT a.device, a.model, a.minimum_context_tokens, coalesce(s.version, 0), coalesce(s.not_after_s, 0)
    FROM assignments a LEFT JOIN desired s USING (device)";

/// One of those; none for a name that no device can have.
fn assigned(row: &sql::Row<'_>) -> sql::Result<Option<Assigned>> {
    let (name, model): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    let assignment =
        Assignment { model: model.and_then(|model| model.parse().ok()), minimum_context_tokens: row.get(2)? };
    let (version, not_after_s) = (row.get(3)?, row.get(4)?);
    Ok(name.parse().ok().map(|device| (device, assignment, version, not_after_s)))
}

const SUMMARY: &str = "SELECT d.device, d.enrolled_s, d.revoked_s, d.agent, coalesce(c.online, 0), c.seen_s,
    coalesce(s.version, 0), a.device, a.model, a.minimum_context_tokens, d.audit_key,
    (SELECT document FROM reports r WHERE r.device = d.device ORDER BY ordinal DESC, sequence DESC LIMIT 1),
    (SELECT site FROM sites t WHERE t.device = d.device),
    (SELECT imported_s FROM homes h WHERE h.device = d.device)
    FROM devices d LEFT JOIN contacts c USING (device) LEFT JOIN desired s USING (device)
    LEFT JOIN assignments a USING (device)";

impl Database {
    /// All devices, by name.
    pub(crate) fn devices(&self) -> Result<Vec<DeviceSummary>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{SUMMARY} ORDER BY d.device"))?;
            let rows = statement.query_map([], Row::read)?.collect::<Result<Vec<_>, _>>()?;
            rows.into_iter().filter_map(|row| row.summary().transpose()).collect()
        })
    }

    /// One device.
    pub(crate) fn device(&self, device: &DeviceId) -> Result<Option<DeviceSummary>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{SUMMARY} WHERE d.device = ?1"))?;
            let row = statement.query_row([device.as_str()], Row::read).optional()?;
            Ok(row.map(Row::summary).transpose()?.flatten())
        })
    }

    /// True if the device is enrolled and not revoked.
    pub(crate) fn is_admitted(&self, device: &DeviceId) -> Result<bool, DbError> {
        self.read(|connection| {
            let sql = "SELECT 1 FROM devices WHERE device = ?1 AND revoked_s IS NULL";
            Ok(connection.prepare_cached(sql)?.exists([device.as_str()])?)
        })
    }

    /// Marks a device as revoked; false if it is not there or was already.
    pub(crate) fn revoke(&self, device: &DeviceId, now_s: i64) -> Result<bool, DbError> {
        self.write(|transaction| {
            let sql = "UPDATE devices SET revoked_s = ?2 WHERE device = ?1 AND revoked_s IS NULL";
            let revoked = transaction.execute(sql, params![device.as_str(), now_s])? > 0;
            transaction.execute("DELETE FROM assignments WHERE device = ?1", [device.as_str()])?;
            // Codes and allowed keys let in whoever has them: one that is left over would undo this.
            transaction.execute("DELETE FROM codes WHERE device = ?1", [device.as_str()])?;
            transaction.execute("DELETE FROM allowed_keys WHERE device = ?1", [device.as_str()])?;
            let sql = "UPDATE certificates SET revoked_s = ?2 WHERE device = ?1 AND revoked_s IS NULL";
            transaction.execute(sql, params![device.as_str(), now_s])?;
            transaction.execute("UPDATE contacts SET online = 0 WHERE device = ?1", [device.as_str()])?;
            Ok(revoked)
        })
    }

    /// The key that an admitted device signs its audit log with; none if it is not admitted.
    pub(crate) fn audit_key(&self, device: &DeviceId) -> Result<Option<String>, DbError> {
        self.read(|connection| {
            let sql = "SELECT audit_key FROM devices WHERE device = ?1 AND revoked_s IS NULL";
            Ok(connection.prepare_cached(sql)?.query_row([device.as_str()], |row| row.get(0)).optional()?)
        })
    }

    /// The devices, admitted or not, whose audit logs have names that begin so.
    pub(crate) fn owners_of_logs(&self, begin: &str) -> Result<Vec<String>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device FROM devices WHERE substr(audit_key, 1, length(?1)) = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([begin], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The key (SHA-256) that a device enrolled with last, admitted or not, and that of its audit log.
    pub(crate) fn registered_log(&self, device: &DeviceId) -> Result<Option<([u8; 32], String)>, DbError> {
        self.read(|connection| {
            let sql = "SELECT key_sha256, audit_key FROM devices WHERE device = ?1";
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_row([device.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })
    }

    /// Devices that are not admitted any more.
    pub(crate) fn revoked(&self) -> Result<Vec<DeviceId>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT device FROM devices WHERE revoked_s IS NOT NULL")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
    }

    /// Remembers what a device should run.
    pub(crate) fn assign(&self, device: &DeviceId, assignment: &Assignment) -> Result<(), DbError> {
        self.write(|transaction| {
            let model = assignment.model.as_ref().map(ModelId::as_str);
            let sql = "INSERT INTO assignments (device, model, minimum_context_tokens) VALUES (?1, ?2, ?3)
                 ON CONFLICT (device) DO UPDATE SET model = excluded.model,
                 minimum_context_tokens = excluded.minimum_context_tokens";
            let values = params![device.as_str(), model, assignment.minimum_context_tokens];
            transaction.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })
    }

    /// Every assignment, with the version and end of what was signed for it (0 and 0 if nothing was).
    pub(crate) fn assignments(&self) -> Result<Vec<Assigned>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{ASSIGNED} ORDER BY a.device"))?;
            let rows = statement.query_map([], assigned)?;
            Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
        })
    }

    /// The same of these devices, as far as they have one.
    pub(crate) fn assignments_of(&self, devices: &[DeviceId]) -> Result<Vec<Assigned>, DbError> {
        let sql = format!("{ASSIGNED} WHERE a.device IN ({{rows}})");
        self.read(|connection| {
            Ok(connection.query_many(&sql, &names(devices), assigned)?.into_iter().flatten().collect())
        })
    }

    /// The newest signed document of each admitted device that has an assignment: what was signed for the bearer of a name
    /// before it was revoked is not for the next one.
    pub(crate) fn signed(&self) -> Result<Vec<(DeviceId, u64, Vec<u8>)>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.device, s.version, s.envelope FROM desired s JOIN devices d USING (device)
                 JOIN assignments a USING (device) WHERE d.revoked_s IS NULL ORDER BY s.device",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
            let mut signed = Vec::new();
            for row in rows {
                let (name, version, envelope) = row?;
                if let Ok(device) = name.parse() {
                    signed.push((device, version, envelope));
                }
            }
            Ok(signed)
        })
    }

    /// What [`signed`](Self::signed) gives, without the documents: of ten thousand devices, these are few bytes.
    pub(crate) fn signed_versions(&self) -> Result<Vec<(DeviceId, u64)>, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.device, s.version FROM desired s JOIN devices d USING (device)
                 JOIN assignments a USING (device) WHERE d.revoked_s IS NULL ORDER BY s.device",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            Ok(rows.into_iter().filter_map(|(name, version)| Some((name.parse().ok()?, version))).collect())
        })
    }

    /// The newest signed documents of some devices; a device that is not [`signed`](Self::signed) for any more has none.
    pub(crate) fn signed_for(&self, devices: &[DeviceId]) -> Result<Vec<(DeviceId, u64, Vec<u8>)>, DbError> {
        let sql = "SELECT s.device, s.version, s.envelope FROM desired s JOIN devices d USING (device)
             JOIN assignments a USING (device) WHERE d.revoked_s IS NULL AND s.device IN ({rows})";
        self.read(|connection| {
            let read = |row: &super::sql::Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
            let rows = connection.query_many(sql, &names(devices), read)?.into_iter();
            Ok(rows.filter_map(|(name, version, envelope)| Some((name.parse().ok()?, version, envelope))).collect())
        })
    }

    /// Version of the newest document signed for a device; 0 if none.
    pub(crate) fn desired_version(&self, device: &DeviceId) -> Result<u64, DbError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT version FROM desired WHERE device = ?1")?;
            Ok(statement.query_row([device.as_str()], |row| row.get(0)).optional()?.unwrap_or(0))
        })
    }
}

struct Row {
    device: String,
    enrolled_s: i64,
    revoked_s: Option<i64>,
    agent: String,
    online: bool,
    seen_s: Option<i64>,
    desired_version: u64,
    assigned: bool,
    model: Option<String>,
    minimum_context_tokens: Option<u32>,
    audit_key: String,
    report: Option<String>,
    site: Option<String>,
    stick_s: Option<i64>,
}

impl Row {
    fn read(row: &super::sql::Row<'_>) -> super::sql::Result<Self> {
        Ok(Self {
            device: row.get(0)?,
            enrolled_s: row.get(1)?,
            revoked_s: row.get(2)?,
            agent: row.get(3)?,
            online: row.get(4)?,
            seen_s: row.get(5)?,
            desired_version: row.get(6)?,
            assigned: row.get::<_, Option<String>>(7)?.is_some(),
            model: row.get(8)?,
            minimum_context_tokens: row.get(9)?,
            audit_key: row.get(10)?,
            report: row.get(11)?,
            site: row.get(12)?,
            stick_s: row.get(13)?,
        })
    }

    /// `None` if the name is none, which no enrolment writes.
    fn summary(self) -> Result<Option<DeviceSummary>, DbError> {
        let Ok(device) = self.device.parse() else { return Ok(None) };
        let reported: Option<Reported> =
            self.report.as_deref().map(|text| document("reported state", text)).transpose()?;
        Ok(Some(DeviceSummary {
            device,
            enrolled_s: self.enrolled_s,
            revoked_s: self.revoked_s,
            agent: reported.as_ref().map_or(self.agent, |reported| reported.agent.clone()),
            online: self.online,
            seen_s: self.seen_s,
            desired_version: self.desired_version,
            assignment: self.assigned.then(|| Assignment {
                model: self.model.and_then(|model| model.parse().ok()),
                minimum_context_tokens: self.minimum_context_tokens.unwrap_or(0),
            }),
            reported,
            audit_key: self.audit_key,
            site: self.site,
            stick_s: self.stick_s,
        }))
    }
}
