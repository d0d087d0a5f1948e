//! Making the fleet what a file wants, in one transaction: all of it or nothing.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;

use super::FleetFileError;
use super::change::{FleetPlan, Step};
use super::form::{Grouping, Rights, Token, Work, joined};
use super::read::FleetFile;
use crate::db::StoredGroup;
use crate::fleet::{Fleet, FleetError};
use crate::people::{Actor, Happening};

impl Fleet {
    /// Does what [`plan_file`](Self::plan_file) said, if it would still say the same. Where nothing is different, nothing is
    /// written and nothing is signed.
    ///
    /// # Errors
    /// [`FleetFileError::Moved`] if the fleet has changed meanwhile; then, as for any other error, nothing was done.
    pub fn apply_plan(&self, file: &FleetFile, plan: &FleetPlan, prune: bool) -> Result<(), FleetError> {
        if plan.changes.is_empty() {
            return Ok(());
        }
        self.inner.database.together(|| {
            if self.plan_file(file, prune)?.changes != plan.changes {
                return Err(FleetFileError::Moved.into());
            }
            let steps: Vec<&Step> = plan.changes.iter().map(|change| &change.step).collect();
            self.take_steps(&steps)
        })?;
        self.touch();
        Ok(())
    }

    /// The same for somebody who must be permitted each thing; what is done, and what is refused, is on record.
    pub(crate) fn apply_as(&self, actor: &Actor, file: &FleetFile, prune: bool) -> Result<FleetPlan, FleetError> {
        let plan = self.plan_file(file, prune)?;
        self.permit_each(actor, &plan.asked())?;
        if let Err(error) = self.apply_plan(file, &plan, prune) {
            if let Some((act, _)) = plan.asked().first() {
                let failed = Happening::of(actor, *act, "fleet file");
                self.record(&Happening { outcome: error.to_string(), ..failed })?;
            }
            return Err(error);
        }
        Ok(plan)
    }

    fn take_steps(&self, steps: &[&Step]) -> Result<(), FleetError> {
        let database = &self.inner.database;
        // What is given up first: keys may change hands, and names.
        for step in steps {
            match step {
                Step::Revoke { device } => self.revoke(device)?,
                Step::Forget { device } => database.forget_name(device)?,
                Step::Key { device, before: Some(_), .. } => database.forbid_open_keys(device)?,
                _ => {}
            }
        }
        let mut works: BTreeMap<&Work, Vec<DeviceId>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Revoke { .. } | Step::Forget { .. } => {}
                Step::Await { device } => database.await_device(device, None)?,
                Step::Key { device, after, .. } => {
                    // A name that stays without its key is awaited all the same.
                    database.await_device(device, None)?;
                    let keys = after.map(|key| (device.clone(), key));
                    self.allow_keys(keys.as_slice())?;
                }
                Step::Site { device, after, .. } => database.set_site(device, after.as_deref())?,
                Step::Label { device, key, after: Some(value), .. } => {
                    database.set_labels(device, &[(key.clone(), value.clone())].into(), &[])?;
                }
                Step::Label { device, key, after: None, .. } => {
                    database.set_labels(device, &BTreeMap::new(), std::slice::from_ref(key))?;
                }
                Step::Work { device, after, .. } => works.entry(after).or_default().push(device.clone()),
                Step::Group { name, after, .. } => self.keep_or_remove_group(name, after.as_ref())?,
                Step::Person { name, before, after } => self.keep_or_remove_person(name, before, after)?,
                Step::Token { name, after, .. } => self.keep_or_remove_token(name, after.as_ref())?,
            }
        }
        if steps.iter().any(|step| matches!(step, Step::Group { .. })) {
            self.check_groups()?;
        }
        works.into_iter().try_for_each(|(work, devices)| self.record_work(work, &devices))
    }

    /// Has devices told what to run: at once those that can be, the others when they can.
    fn record_work(&self, work: &Work, devices: &[DeviceId]) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let assignment = work.assignment();
        let can_be_signed = self.is_released(work)?;
        let mut now = Vec::new();
        for device in devices {
            if can_be_signed && database.is_admitted(device)? {
                database.stop_awaiting(device)?;
                now.push(device.clone());
            } else {
                database.await_device(device, Some(&assignment))?;
            }
        }
        if !now.is_empty() {
            self.assign_all(&now, &assignment)?;
        }
        Ok(())
    }

    /// True if a desired state that says so can be signed.
    fn is_released(&self, work: &Work) -> Result<bool, FleetError> {
        let listed = |models: std::collections::BTreeSet<String>| {
            work.model().is_none_or(|model| models.contains(model.as_str()))
        };
        Ok(self.models()?.is_some_and(listed))
    }

    /// Has those told that a file awaited and that are enrolled now, or this one: after it enrolled, and after a release.
    pub(crate) fn settle_awaited(&self, only: Option<&DeviceId>) -> Result<(), FleetError> {
        let database = &self.inner.database;
        if database.arrived(only)?.is_empty() {
            return Ok(());
        }
        database.together(|| {
            let mut works: BTreeMap<Work, Vec<DeviceId>> = BTreeMap::new();
            for (device, wish) in database.arrived(only)? {
                match wish {
                    // What was assigned meanwhile is newer than the wish.
                    Some(wish) if !database.is_assigned(&device)? => {
                        works.entry(Work::of(wish)).or_default().push(device);
                    }
                    _ => database.stop_awaiting(&device)?,
                }
            }
            for (work, devices) in works {
                if self.is_released(&work)? {
                    self.record_work(&work, &devices)?;
                }
            }
            Ok::<_, FleetError>(())
        })?;
        self.touch();
        Ok(())
    }

    fn keep_or_remove_group(&self, name: &str, after: Option<&Grouping>) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let Some(Grouping { description, selector, members }) = after else {
            database.remove_group(name)?;
            return Ok(());
        };
        let (name, description, selector) = (name.to_owned(), description.clone(), selector.clone());
        let members: Vec<DeviceId> = members.iter().cloned().collect();
        Ok(database.keep_group(&StoredGroup { name, description, selector }, &members)?)
    }

    fn keep_or_remove_person(
        &self,
        name: &str,
        before: &Option<Rights>,
        after: &Option<Rights>,
    ) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let Some(after) = after else { return self.remove_person(name) };
        let roles: Vec<String> = after.roles.iter().cloned().collect();
        match before {
            None => drop(database.add_person(name, &roles, self.now_s())?),
            Some(before) if before.roles != after.roles => self.set_person_roles(name, &roles)?,
            Some(_) => {}
        }
        // Only if it changes: either way ends the sessions.
        if after.disabled != before.as_ref().is_some_and(|before| before.disabled) {
            self.disable_person(name, after.disabled)?;
        }
        Ok(())
    }

    fn keep_or_remove_token(&self, name: &str, after: Option<&Token>) -> Result<(), FleetError> {
        let database = &self.inner.database;
        match after {
            None => {
                database.stop_awaiting_token(name)?;
                database.revoke_api_token(name, self.now_s())?;
            }
            Some(Token { roles, scope }) => {
                let (roles, scope) = (joined(roles), joined(scope));
                if !database.set_token_roles(name, &roles, &scope, self.now_s())? {
                    database.await_token(name, &roles, &scope)?;
                }
            }
        }
        Ok(())
    }
}
