//! Making the fleet what a file wants, in one transaction: all of it or nothing.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::DeviceId;

use super::FleetFileError;
use super::change::{FleetPlan, Step};
use super::form::{Grouping, Rights, Token, joined};
use super::read::FleetFile;
use crate::db::{Assignment, StoredGroup};
use crate::fleet::{Fleet, FleetError};
use crate::people::{Actor, Happening};

/// Who takes a device from its rollout, as that has it on record.
pub(super) const BY_FILE: &str = "a fleet file";

/// True if a desired state that says so can be signed, by the models of the newest catalogue.
pub(super) fn is_released(models: &Option<BTreeSet<String>>, work: &Assignment) -> bool {
    let lists = |models: &BTreeSet<String>| work.model.as_ref().is_none_or(|model| models.contains(model.as_str()));
    models.as_ref().is_some_and(lists)
}

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
        let mut given_up = Vec::new();
        for step in steps {
            match step {
                Step::Revoke { device } => self.revoke(device)?,
                Step::Forget { device } => database.forget_name(device)?,
                Step::Key { device, before: Some(_), .. } => given_up.push(device.clone()),
                _ => {}
            }
        }
        database.forbid_open_keys(&given_up)?;
        let (mut names, mut keys, mut sites) = (Vec::new(), Vec::new(), Vec::new());
        let (mut labels, mut works) = (Vec::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Revoke { .. } | Step::Forget { .. } => {}
                Step::Await { device } => names.push(device.clone()),
                Step::Key { device, after, .. } => {
                    // A name that stays without its key is awaited all the same.
                    names.push(device.clone());
                    keys.extend(after.map(|key| (device.clone(), key)));
                }
                Step::Site { device, after, .. } => sites.push((device, after.as_deref())),
                Step::Label { device, key, after, .. } => labels.push((device, key.as_str(), after.as_deref())),
                Step::Work { device, after, .. } => drop(works.insert(device, after.assignment())),
                Step::Group { name, after, .. } => self.keep_or_remove_group(name, after.as_ref())?,
                Step::Person { name, before, after } => self.keep_or_remove_person(name, before, after)?,
                Step::Token { name, after, .. } => self.keep_or_remove_token(name, after.as_ref())?,
            }
        }
        names.dedup();
        database.await_names(&names)?;
        self.allow_keys(&keys)?;
        database.set_sites(&sites)?;
        database.set_every_label(&labels)?;
        if steps.iter().any(|step| matches!(step, Step::Group { .. })) {
            self.check_groups()?;
        }
        self.record_works(&works)
    }

    /// Has devices told what to run: at once those that can be, the others when they can. Whoever is here and may not run what
    /// is wanted spoils all of it: that is for whoever applies the file to know.
    fn record_works(&self, works: &BTreeMap<&DeviceId, Assignment>) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let devices: Vec<DeviceId> = works.keys().map(|device| (*device).clone()).collect();
        let (models, here) = (self.models()?, database.bases(&devices)?);
        let can_be_told =
            |(device, work): &(&DeviceId, &Assignment)| is_released(&models, work) && here.contains_key(*device);
        let all = works.iter().map(|(device, work)| (*device, work));
        let (now, later): (BTreeMap<_, _>, BTreeMap<_, _>) = all.partition(can_be_told);
        database.await_each(&later.into_iter().collect::<Vec<_>>())?;
        let told: Vec<DeviceId> = now.keys().map(|device| (*device).clone()).collect();
        database.stop_awaiting(&told)?;
        if now.is_empty() {
            return Ok(());
        }
        self.assign_each(&now, BY_FILE)?.into_values().try_for_each(|told| told.map(|_| ()))
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
