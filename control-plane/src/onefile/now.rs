//! The fleet as the database has it, in the form of a file.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::DeviceId;

use super::form::{Device, Grouping, Listed, Rights, Token, Work};
use crate::db::DbError;
use crate::fleet::{Fleet, FleetError};

/// What is here.
#[derive(Debug, Default)]
pub(super) struct Now {
    pub(super) listed: Listed,
    pub(super) enrolled: BTreeSet<DeviceId>,
    pub(super) revoked: BTreeSet<DeviceId>,
    /// Devices that cannot be told yet what to run.
    pub(super) untold: BTreeSet<DeviceId>,
    pub(super) revoked_tokens: BTreeSet<String>,
    pub(super) awaited_tokens: BTreeSet<String>,
    /// People who have never set a password.
    pub(super) without_password: BTreeSet<String>,
    /// People for whom a provider vouches: what it says of them makes their roles.
    pub(super) vouched: BTreeSet<String>,
    /// Which active rollout holds which device, and in which wave, from 0.
    pub(super) held: BTreeMap<DeviceId, (String, usize)>,
}

impl Fleet {
    /// Reads all of it as one moment.
    pub(super) fn listed_now(&self) -> Result<Now, FleetError> {
        self.inner.database.together(|| {
            let mut now = Now { held: self.inner.database.held_by_rollouts()?, ..Now::default() };
            self.read_devices(&mut now)?;
            self.read_groups(&mut now)?;
            self.read_people(&mut now)?;
            Ok(now)
        })
    }

    fn read_devices(&self, now: &mut Now) -> Result<(), DbError> {
        let database = &self.inner.database;
        let mut devices: BTreeMap<DeviceId, Device> = BTreeMap::new();
        for (device, is_revoked, key) in database.device_keys()? {
            if is_revoked {
                now.revoked.insert(device);
            } else {
                now.enrolled.insert(device.clone());
                devices.insert(device, Device { key: Some(key), ..Device::default() });
            }
        }
        for (device, key) in database.open_keys()? {
            if !now.enrolled.contains(&device) {
                // Whoever allows a key again lets a revoked name in again.
                now.revoked.remove(&device);
                devices.entry(device).or_default().key = Some(key);
            }
        }
        let awaited = database.awaited()?;
        for (device, _) in awaited.iter().filter(|(device, _)| !now.revoked.contains(device)) {
            devices.entry(device.clone()).or_default();
        }
        for (device, assignment, ..) in database.assignments()? {
            if let Some(device) = devices.get_mut(&device) {
                device.work = Some(Work::of(assignment));
            }
        }
        for (device, wish) in awaited {
            if let (Some(listed), Some(wish)) = (devices.get_mut(&device), wish) {
                // What is assigned meanwhile counts: a wish that is overtaken is dropped when the device arrives.
                if listed.work.is_none() {
                    listed.work = Some(Work::of(wish));
                    now.untold.insert(device);
                }
            }
        }
        for (device, site) in database.every_site()? {
            if let Some(device) = devices.get_mut(&device) {
                device.site = Some(site);
            }
        }
        for (device, key, value) in database.every_label()? {
            if let Some(device) = devices.get_mut(&device) {
                device.labels.insert(key, value);
            }
        }
        now.listed.devices = devices;
        Ok(())
    }

    fn read_groups(&self, now: &mut Now) -> Result<(), FleetError> {
        for group in self.groups()? {
            // Members that are revoked stay in the database, and are nobody that a file could name.
            let members = group.members.into_iter().filter(|member| now.listed.devices.contains_key(member)).collect();
            let (description, selector) = (group.description, group.selector);
            now.listed.groups.insert(group.name, Grouping { description, selector, members });
        }
        Ok(())
    }

    fn read_people(&self, now: &mut Now) -> Result<(), FleetError> {
        let set = |words: Vec<String>| words.into_iter().collect::<BTreeSet<_>>();
        // Whom a provider vouches for, its roles make: no file does.
        now.vouched = self.inner.database.vouched_people()?.into_iter().collect();
        for person in self.people()?.into_iter().filter(|person| !now.vouched.contains(&person.name)) {
            if !person.has_password {
                now.without_password.insert(person.name.clone());
            }
            let rights = Rights { roles: set(person.roles), disabled: person.disabled_s.is_some() };
            now.listed.people.insert(person.name, rights);
        }
        for token in self.api_tokens()? {
            if token.revoked_s.is_some() {
                now.revoked_tokens.insert(token.name);
            } else if token.expires_s > self.now_s() {
                let (roles, scope) = (set(token.roles), set(token.scope));
                now.listed.tokens.insert(token.name, Token { roles, scope });
            }
        }
        let split = |words: &str| words.split_whitespace().map(str::to_owned).collect();
        for (name, roles, scope) in self.inner.database.awaited_tokens()? {
            if !now.listed.tokens.contains_key(&name) && !now.revoked_tokens.contains(&name) {
                let token = Token { roles: split(&roles), scope: split(&scope) };
                now.listed.tokens.insert(name.clone(), token);
                now.awaited_tokens.insert(name);
            }
        }
        Ok(())
    }
}
