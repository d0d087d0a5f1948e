//! What is ordered of many devices at once: read, signed for and written in a few statements.

use std::collections::BTreeMap;

use outpost_contract::{DeviceId, ModelId};

use super::many::names;
use super::sql::{Kind, ToSql as _, Value};
use super::{Assignment, Database, DbError, Pin};

/// What the next desired state of a device follows on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Basis {
    /// Version of the newest that was signed; 0 if none was.
    pub(crate) signed: u64,
    /// The newest that the device says it has accepted.
    pub(crate) reported: u64,
    /// What it says besides the assignment.
    pub(crate) pin: Pin,
}

/// A desired state as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) device: DeviceId,
    pub(crate) version: u64,
    pub(crate) not_after_s: i64,
    pub(crate) envelope: Vec<u8>,
}

impl Database {
    /// What the next desired states of devices follow on; a device that is not admitted has none.
    pub(crate) fn bases(&self, devices: &[DeviceId]) -> Result<BTreeMap<DeviceId, Basis>, DbError> {
        let sql =
            "SELECT d.device, coalesce(s.version, 0), coalesce(f.desired_version, 0), p.rollout, p.policy, b.version
             FROM devices d LEFT JOIN desired s ON s.device = d.device LEFT JOIN facts f ON f.device = d.device
             LEFT JOIN pins p ON p.device = d.device LEFT JOIN pinned_builds b ON b.device = d.device
             WHERE d.revoked_s IS NULL AND d.device IN ({rows})";
        self.read(|connection| {
            let rows = connection.query_many(sql, &names(devices), |row| {
                let (policy, build): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
                let pin = Pin::read(row.get(3)?, policy.as_deref(), build.as_deref());
                let basis = Basis { signed: row.get(1)?, reported: row.get(2)?, pin };
                Ok((row.get::<_, String>(0)?, basis))
            })?;
            Ok(rows.into_iter().filter_map(|(name, basis)| Some((name.parse().ok()?, basis))).collect())
        })
    }

    /// Keeps what was signed in the place of what was before. The caller's transaction has read the versions before.
    pub(crate) fn keep_signed(&self, signed: &[Signed]) -> Result<(), DbError> {
        let sql = "INSERT INTO desired (device, version, not_after_s, envelope) VALUES {rows}
             ON CONFLICT (device) DO UPDATE SET version = excluded.version, not_after_s = excluded.not_after_s,
             envelope = excluded.envelope";
        let mut rows = Vec::with_capacity(signed.len());
        for one in signed {
            rows.push([
                Value::Text(one.device.as_str()),
                one.version.to_sql()?,
                Value::Integer(one.not_after_s),
                Value::Blob(&one.envelope),
            ]);
        }
        self.write(|transaction| Ok(transaction.execute_many(sql, &[], &rows).map(|_| ())?))
    }

    /// Remembers what each device should run.
    pub(crate) fn assign_each(&self, assigned: &[(&DeviceId, &Assignment)]) -> Result<(), DbError> {
        let sql = "INSERT INTO assignments (device, model, minimum_context_tokens) VALUES {rows}
             ON CONFLICT (device) DO UPDATE SET model = excluded.model,
             minimum_context_tokens = excluded.minimum_context_tokens";
        let rows: Vec<_> = assigned.iter().map(|(device, assignment)| wish_of(device, assignment)).collect();
        self.write(|transaction| Ok(transaction.execute_many(sql, &[], &rows).map(|_| ())?))
    }

    /// Notes that something newer rules devices, of those that an active rollout holds.
    pub(crate) fn depart_all(&self, devices: &[DeviceId], by: &str) -> Result<(), DbError> {
        let sql = "INSERT INTO rollout_departures (device, by_whom)
             SELECT DISTINCT r.device, CAST(?1 AS TEXT) FROM rollout_devices r JOIN rollouts o ON o.name = r.name
             WHERE r.is_held = 1 AND o.is_active = 1 AND r.device IN ({rows})
             ON CONFLICT (device) DO UPDATE SET by_whom = excluded.by_whom WHERE rollout_departures.by_whom <> ''";
        let rows = names(devices);
        self.write(|transaction| Ok(transaction.execute_many(sql, &[Value::Text(by)], &rows).map(|_| ())?))
    }

    /// Desired states of devices name no rollout any more.
    pub(crate) fn unroll(&self, devices: &[DeviceId]) -> Result<(), DbError> {
        let sql = "UPDATE pins SET rollout = NULL WHERE rollout IS NOT NULL AND device IN ({rows})";
        let rows = names(devices);
        self.write(|transaction| Ok(transaction.execute_many(sql, &[], &rows).map(|_| ())?))
    }

    /// Which active rollout holds which device, and in which wave, from 0; a device that is about to leave is held by none.
    pub(crate) fn held_by_rollouts(&self) -> Result<BTreeMap<DeviceId, (String, usize)>, DbError> {
        let sql = "SELECT r.device, r.name, r.wave FROM rollout_devices r JOIN rollouts o ON o.name = r.name
             WHERE r.is_held = 1 AND o.is_active = 1
             AND NOT EXISTS (SELECT 1 FROM rollout_departures g WHERE g.device = r.device)";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| {
                let wave = usize::try_from(row.get::<_, i64>(2)?).unwrap_or(usize::MAX);
                Ok((row.get::<_, String>(0)?, (row.get(1)?, wave)))
            })?;
            let mut held = BTreeMap::new();
            for row in rows {
                let (name, place) = row?;
                if let Ok(device) = name.parse() {
                    held.insert(device, place);
                }
            }
            Ok(held)
        })
    }
}

/// A device and what it should run, as columns.
pub(super) fn wish_of<'v>(device: &'v DeviceId, assignment: &'v Assignment) -> [Value<'v>; 3] {
    let model = assignment.model.as_ref().map(ModelId::as_str);
    [
        Value::Text(device.as_str()),
        model.map_or(Value::Null(Kind::Text), Value::Text),
        Value::Integer(assignment.minimum_context_tokens.into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::testing::both;
    use crate::db::{StoredMember, StoredRollout};

    fn id(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    #[test]
    fn devices_are_ordered_and_leave_their_rollouts_all_at_once() {
        both(|database| {
            let devices = [id("till-1"), id("till-2"), id("till-3")];
            let enter = |device: &DeviceId| {
                let sql = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, 1, x'00', '', '')";
                database.write(|connection| Ok(connection.execute(sql, [device.as_str()])?)).unwrap();
            };
            devices.iter().for_each(enter);
            assert!(database.revoke(&devices[2], 5).unwrap());
            let rollout = StoredRollout {
                name: "march".into(),
                created_s: 1,
                is_active: true,
                state: "running".into(),
                revision: 0,
                request: "{}".into(),
                document: "{}".into(),
            };
            assert!(database.keep_rollout(&rollout).unwrap());
            let member = |(wave, device): (usize, &DeviceId)| StoredMember {
                device: device.clone(),
                wave,
                status: "assigned",
                is_held: true,
                heard: 0,
                document: "{}".into(),
            };
            database.keep_members("march", &devices[..2].iter().enumerate().map(member).collect::<Vec<_>>()).unwrap();
            let pin = Pin {
                rollout: Some("march".into()),
                policy: Some("policy-night.v2.json".parse().unwrap()),
                build: Some("0.3.0".parse().unwrap()),
            };
            database.keep_pin(&devices[0], &pin).unwrap();
            database.keep_pin(&devices[1], &pin).unwrap();
            assert_eq!(database.pinned_builds().unwrap(), BTreeMap::from([("0.3.0".to_owned(), 2)]));
            database.unpin(&devices[1]).unwrap();
            assert_eq!(database.pinned_builds().unwrap(), BTreeMap::from([("0.3.0".to_owned(), 1)]));
            assert_eq!(database.pin(&devices[0]).unwrap(), pin);
            let held = database.held_by_rollouts().unwrap();
            assert_eq!(held[&devices[1]], ("march".to_owned(), 1));

            let signed = |device: &DeviceId, version| Signed {
                device: device.clone(),
                version,
                not_after_s: 9,
                envelope: vec![1],
            };
            database.keep_signed(&[signed(&devices[0], 7)]).unwrap();
            database.keep_signed(&[signed(&devices[0], 8), signed(&devices[1], 1)]).unwrap();
            let bases = database.bases(&devices).unwrap();
            assert_eq!(
                bases.keys().collect::<Vec<_>>(),
                devices[..2].iter().collect::<Vec<_>>(),
                "revoked: not one of them"
            );
            assert_eq!(bases[&devices[0]], Basis { signed: 8, reported: 0, pin: pin.clone() });

            let (demo, idle) = (
                Assignment { model: Some("demo".parse().unwrap()), minimum_context_tokens: 512 },
                Assignment { model: None, minimum_context_tokens: 7 },
            );
            database.assign_each(&[(&devices[0], &demo), (&devices[1], &demo)]).unwrap();
            database.assign_each(&[(&devices[1], &idle)]).unwrap();
            let assigned: Vec<_> = database
                .assignments()
                .unwrap()
                .into_iter()
                .map(|(_, assigned, version, _)| (assigned, version))
                .collect();
            assert_eq!(assigned, [(demo, 8), (idle, 1)]);
            assert_eq!(database.signed_for(&devices).unwrap().len(), 2);

            database.depart_all(&devices, "a fleet file").unwrap();
            database.unroll(&devices).unwrap();
            let left: Vec<_> = database.departures().unwrap();
            let by = |device: &DeviceId| (device.clone(), "a fleet file".to_owned());
            assert_eq!(left, devices[..2].iter().map(by).collect::<Vec<_>>(), "of those that a rollout holds");
            assert_eq!(database.pin(&devices[0]).unwrap(), Pin { rollout: None, ..pin.clone() });
            database.keep_pin(&devices[0], &Pin { build: None, ..pin }).unwrap();
            assert_eq!(database.pinned_builds().unwrap(), BTreeMap::new());
            assert_eq!(database.held_by_rollouts().unwrap(), BTreeMap::new());
            // Who was revoked meanwhile stays so.
            database.depart(&devices[0], "").unwrap();
            database.depart_all(&devices, "a fleet file").unwrap();
            assert_eq!(database.departures().unwrap()[0].1, "");
        });
    }
}
