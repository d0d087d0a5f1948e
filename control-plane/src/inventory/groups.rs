//! Labels and groups: words that operators attach to devices, and names for those that are meant together.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;
use outpost_selector::{Selector, is_label_key, is_label_value};
use serde::{Deserialize, Serialize};

use super::defined;
use crate::db::StoredGroup;
use crate::fleet::{Fleet, FleetError};

/// Labels of one device.
pub(crate) const MOST_LABELS: usize = 64;

/// Groups of a fleet: every selector may look through all of them.
pub(crate) const MOST_GROUPS: usize = 500;

/// Longest description of a group, bytes.
pub(crate) const DESCRIPTION_BYTES: usize = 200;

/// Devices that are meant together: those that a selector means, or those that are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, as devices are named.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Whom it means; without it, its members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Devices that are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<DeviceId>,
}

impl Fleet {
    /// Sets and removes labels of a device, and gives those that it has then.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`]; [`FleetError::Inventory`] if a key or value is none, or there are too many.
    pub fn set_labels(
        &self,
        device: &DeviceId,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) -> Result<BTreeMap<String, String>, FleetError> {
        let shown = |text: &str| super::words::clean(text, 40);
        if let Some(key) = set.keys().chain(remove).find(|key| !is_label_key(key)) {
            let rule = "1 to 63 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter";
            return Err(FleetError::Inventory(format!("`{}` is no key of a label: write {rule}", shown(key))));
        }
        if let Some(value) = set.values().find(|value| !is_label_value(value)) {
            let rule = "1 to 63 of A-Z, a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit";
            return Err(FleetError::Inventory(format!("`{}` is no value of a label: write {rule}", shown(value))));
        }
        let database = &self.inner.database;
        let labels = database.together(|| {
            if !database.is_known(device)? {
                return Err(FleetError::UnknownDevice(device.clone()));
            }
            database.set_labels(device, set, remove)?;
            let labels = database.labels(device)?;
            if labels.len() > MOST_LABELS {
                return Err(FleetError::Inventory(format!("a device has {MOST_LABELS} labels at most; remove some")));
            }
            Ok(labels)
        })?;
        self.tell_news();
        Ok(labels)
    }

    /// Labels of a device.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`] if it is not there.
    pub fn labels(&self, device: &DeviceId) -> Result<BTreeMap<String, String>, FleetError> {
        if !self.inner.database.is_known(device)? {
            return Err(FleetError::UnknownDevice(device.clone()));
        }
        Ok(self.inner.database.labels(device)?)
    }

    /// Makes a group, or puts it in the place of the one of that name.
    ///
    /// # Errors
    /// [`FleetError::Inventory`] if it has both a selector and members, or goes round in circles with others;
    /// [`FleetError::Selector`] if its selector is none; [`FleetError::UnknownDevice`] for a member that is not there.
    pub fn keep_group(&self, group: &Group) -> Result<(), FleetError> {
        let wrong = |words: &str| Err(FleetError::Inventory(words.to_owned()));
        if group.name.parse::<DeviceId>().is_err() {
            return wrong("a group is named with 1 to 64 of a-z, 0-9 and `-`, as in `canary`");
        }
        if group.description.len() > DESCRIPTION_BYTES || group.description.chars().any(char::is_control) {
            return wrong("a description is one line of 200 bytes at most");
        }
        if group.selector.is_some() && !group.members.is_empty() {
            return wrong("a group has a selector or members, not both");
        }
        let selector = group.selector.as_deref().map(|text| text.parse::<Selector>()).transpose()?;
        let database = &self.inner.database;
        database.together(|| {
            for device in &group.members {
                if !database.is_known(device)? && !database.is_awaited(device)? {
                    return Err(FleetError::UnknownDevice(device.clone()));
                }
            }
            let stored = StoredGroup {
                name: group.name.clone(),
                description: group.description.clone(),
                selector: selector.as_ref().map(Selector::to_string),
            };
            database.keep_group(&stored, &group.members)?;
            self.check_groups()
        })?;
        self.tell_news();
        Ok(())
    }

    /// Looks whether all groups that are stored go together: not too many, none unknown, none in circles.
    pub(crate) fn check_groups(&self) -> Result<(), FleetError> {
        let groups = self.groups_read()?;
        if groups.len() > MOST_GROUPS {
            return Err(FleetError::Inventory(format!("a fleet has {MOST_GROUPS} groups at most")));
        }
        let named = groups.values().flatten().flat_map(Selector::groups).find(|name| !groups.contains_key(name));
        if let Some(name) = named {
            return Err(FleetError::UnknownGroup(name));
        }
        let defined = defined(groups);
        for selector in defined.values() {
            selector.expand(&defined)?;
        }
        Ok(())
    }

    /// All groups, by name; members only of those that name them.
    ///
    /// # Errors
    /// If the database fails.
    pub fn groups(&self) -> Result<Vec<Group>, FleetError> {
        self.inner.database.groups()?.into_iter().map(|group| self.with_members(group)).collect()
    }

    /// One group.
    ///
    /// # Errors
    /// [`FleetError::UnknownGroup`] if it is not there.
    pub fn group(&self, name: &str) -> Result<Group, FleetError> {
        let found = self.inner.database.groups()?.into_iter().find(|group| group.name == name);
        self.with_members(found.ok_or_else(|| FleetError::UnknownGroup(super::words::clean(name, 64)))?)
    }

    /// Forgets a group that no other one is defined by.
    ///
    /// # Errors
    /// [`FleetError::UnknownGroup`]; [`FleetError::Inventory`] if another group needs it.
    pub fn remove_group(&self, name: &str) -> Result<(), FleetError> {
        let database = &self.inner.database;
        database.together(|| {
            let groups = self.groups_read()?;
            let needs = |selector: &Option<Selector>| selector.iter().flat_map(Selector::groups).any(|one| one == name);
            if let Some((other, _)) = groups.iter().find(|(other, selector)| *other != name && needs(selector)) {
                return Err(FleetError::Inventory(format!(
                    "the group `{other}` is defined by it; change that one first"
                )));
            }
            match database.remove_group(name)? {
                true => Ok(()),
                false => Err(FleetError::UnknownGroup(super::words::clean(name, 64))),
            }
        })?;
        self.tell_news();
        Ok(())
    }

    fn with_members(&self, group: StoredGroup) -> Result<Group, FleetError> {
        let StoredGroup { name, description, selector } = group;
        let members = if selector.is_none() { self.inner.database.members(&name)? } else { Vec::new() };
        Ok(Group { name, description, selector, members })
    }
}
