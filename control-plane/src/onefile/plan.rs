//! What a file wants different from what is here: checked whole, then compared thing by thing.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::{DeviceId, Fingerprint, TargetKind};

use super::change::{Change, FleetPlan, Step};
use super::form::{Device, Kind, Work};
use super::notes;
use super::now::Now;
use super::read::FleetFile;
use super::rules::{Given, Groups, give};
use super::table::{Lines, nearest};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::MOST_LABELS;

/// What a file is compared with.
pub(super) struct Comparison<'a> {
    pub(super) file: &'a FleetFile,
    pub(super) now: &'a Now,
    pub(super) prune: bool,
    /// What the rules give, and which line does.
    pub(super) given: Given,
    /// Lines of rules that mean nobody.
    pub(super) idle_rules: Vec<usize>,
    /// Models of the catalogue; none before the first release.
    pub(super) models: Option<BTreeSet<String>>,
}

impl Fleet {
    /// What `apply` would do with a file. With `prune`, what is here and not in the file is taken away, of the kinds that
    /// the file lists.
    ///
    /// # Errors
    /// [`FleetError::FleetFile`] with every line that cannot be.
    pub fn plan_file(&self, file: &FleetFile, prune: bool) -> Result<FleetPlan, FleetError> {
        let now = self.listed_now()?;
        let mut lines = Lines::of("");
        if let Some((line, tenant)) = file.tenant.as_ref().filter(|(_, tenant)| tenant != self.config().tenant.as_str())
        {
            let ours = &self.config().tenant;
            lines.wrong_in(*line, format!("the file is for the tenant `{tenant}`, this is `{ours}`"));
        }
        let comparison = self.compared(file, &now, prune, &mut lines)?;
        let (mut changes, removals) = comparison.steps();
        comparison.check(&changes, &mut lines);
        lines.judge()?;
        let change = |step: Step| Change::new(step, &now.held);
        let mut left = Vec::new();
        if prune {
            changes.splice(0..0, removals);
        } else {
            left.extend(removals.into_iter().map(change));
        }
        let waiting = self.waiting(&now, &comparison.models)?;
        let notes = notes::of(&comparison, &waiting);
        Ok(FleetPlan { changes: changes.into_iter().map(change).collect(), left, waiting, notes })
    }

    /// A file beside what is here, with its rules followed.
    pub(super) fn compared<'a>(
        &self,
        file: &'a FleetFile,
        now: &'a Now,
        prune: bool,
        lines: &mut Lines,
    ) -> Result<Comparison<'a>, FleetError> {
        let groups = Groups::of(file, now, prune && file.kinds.contains(&Kind::Group));
        for (name, group) in &file.listed.groups {
            if let Some(Ok(selector)) = group.selector.as_ref().map(|text| text.parse()) {
                groups.follow(&selector, file.line(Kind::Group, name), lines);
            }
        }
        let (given, idle_rules) = give(file, now, prune, &groups, lines);
        let models = self.models()?;
        Ok(Comparison { file, now, prune, given, idle_rules, models })
    }

    /// Models that the newest catalogue lists; none before the first release.
    pub(super) fn models(&self) -> Result<Option<BTreeSet<String>>, FleetError> {
        let database = &self.inner.database;
        if database.current_catalogue()?.is_none() {
            return Ok(None);
        }
        let model = |kind: TargetKind| match kind {
            TargetKind::Variant(facts) => Some(facts.model.model.to_string()),
            _ => None,
        };
        Ok(Some(database.targets()?.into_iter().filter_map(|target| model(target.kind)).collect()))
    }
}

impl Comparison<'_> {
    /// What a device should run, and the line that says so.
    pub(super) fn work(&self, device: &DeviceId) -> Option<(Work, usize)> {
        let own = self.file.listed.devices.get(device).and_then(|device| device.work.clone());
        let line = self.file.line(Kind::Device, device.as_str());
        own.map(|work| (work, line)).or_else(|| self.given.get(device).cloned())
    }

    /// What is added or changed, and what only `--prune` takes away.
    fn steps(&self) -> (Vec<Step>, Vec<Step>) {
        let (mut steps, mut removals) = (Vec::new(), Vec::new());
        let (wanted, current) = (&self.file.listed, &self.now.listed);
        if self.file.kinds.contains(&Kind::Device) {
            for device in current.devices.keys().filter(|device| !wanted.devices.contains_key(*device)) {
                let device = device.clone();
                let is_enrolled = self.now.enrolled.contains(&device);
                removals.push(if is_enrolled { Step::Revoke { device } } else { Step::Forget { device } });
            }
        }
        let nothing = Device::default();
        for (id, device) in &wanted.devices {
            if !current.devices.contains_key(id) {
                steps.push(Step::Await { device: id.clone() });
            }
            self.device(id, device, current.devices.get(id).unwrap_or(&nothing), &mut steps, &mut removals);
        }
        let works: BTreeSet<&DeviceId> = wanted.devices.keys().chain(self.given.keys()).collect();
        for id in works {
            let before = current.devices.get(id).and_then(|device| device.work.clone());
            if let Some((after, _)) = self.work(id).filter(|(after, _)| Some(after) != before.as_ref()) {
                steps.push(Step::Work { device: id.clone(), before, after });
            }
        }
        let things = (&mut steps, &mut removals);
        let things = self.kind(Kind::Group, &wanted.groups, &current.groups, things, |name, before, after| {
            Step::Group { name, before, after }
        });
        let things = self.kind(Kind::Person, &wanted.people, &current.people, things, |name, before, after| {
            Step::Person { name, before, after }
        });
        self.kind(Kind::Token, &wanted.tokens, &current.tokens, things, |name, before, after| Step::Token {
            name,
            before,
            after,
        });
        // Device by device, as people read it, then the other kinds.
        steps.sort_by(|one, other| {
            one.device().is_none().cmp(&other.device().is_none()).then(one.device().cmp(&other.device()))
        });
        (steps, removals)
    }

    fn device(
        &self,
        id: &DeviceId,
        wanted: &Device,
        current: &Device,
        steps: &mut Vec<Step>,
        removals: &mut Vec<Step>,
    ) {
        let device = || id.clone();
        // The key of an enrolled device changes when it renews; a file that is older takes nothing from it.
        if !self.now.enrolled.contains(id) && wanted.key != current.key {
            let step = Step::Key { device: device(), before: current.key, after: wanted.key };
            if wanted.key.is_some() { steps.push(step) } else { removals.push(step) }
        }
        if wanted.site != current.site {
            let step = Step::Site { device: device(), before: current.site.clone(), after: wanted.site.clone() };
            if wanted.site.is_some() { steps.push(step) } else { removals.push(step) }
        }
        for (key, after) in &wanted.labels {
            let before = current.labels.get(key);
            if before != Some(after) {
                let (key, before, after) = (key.clone(), before.cloned(), Some(after.clone()));
                steps.push(Step::Label { device: device(), key, before, after });
            }
        }
        for (key, before) in current.labels.iter().filter(|(key, _)| !wanted.labels.contains_key(*key)) {
            let (key, before) = (key.clone(), Some(before.clone()));
            removals.push(Step::Label { device: device(), key, before, after: None });
        }
    }

    /// Things of one kind that are compared whole.
    fn kind<'s, T: Clone + PartialEq>(
        &self,
        kind: Kind,
        wanted: &BTreeMap<String, T>,
        current: &BTreeMap<String, T>,
        (steps, removals): (&'s mut Vec<Step>, &'s mut Vec<Step>),
        step: impl Fn(String, Option<T>, Option<T>) -> Step,
    ) -> (&'s mut Vec<Step>, &'s mut Vec<Step>) {
        for (name, after) in wanted {
            let before = current.get(name);
            if before != Some(after) {
                steps.push(step(name.clone(), before.cloned(), Some(after.clone())));
            }
        }
        if self.file.kinds.contains(&kind) {
            for (name, before) in current.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                removals.push(step(name.clone(), Some(before.clone()), None));
            }
        }
        (steps, removals)
    }

    /// Looks whether everything that would change can be.
    fn check(&self, steps: &[Step], lines: &mut Lines) {
        for device in self.file.listed.devices.keys().filter(|device| self.now.revoked.contains(*device)) {
            let line = self.file.line(Kind::Device, device.as_str());
            let way_out = "take it out of the file, or let it in again with `outpost-control device allow`";
            lines.wrong_in(line, format!("`{device}` was revoked: {way_out}"));
        }
        for name in self.file.listed.people.keys().filter(|name| self.now.vouched.contains(*name)) {
            let line = self.file.line(Kind::Person, name);
            let way_out = "take the person out of the file, and give the roles at the provider";
            lines.wrong_in(
                line,
                format!("`{name}` signs in at the provider, which says what roles that gives: {way_out}"),
            );
        }
        for (name, group) in &self.file.listed.groups {
            for member in group.members.iter().filter(|member| !self.will_be(member)) {
                let line = self.file.line(Kind::Group, name);
                lines.wrong_in(line, format!("`{name}` has a member `{member}`, and there is no such device"));
            }
        }
        let owners: BTreeMap<Fingerprint, &DeviceId> =
            self.now.listed.devices.iter().filter_map(|(id, device)| Some((device.key?, id))).collect();
        for step in steps {
            match step {
                Step::Key { device, after: Some(key), .. } => self.check_key(device, key, &owners, lines),
                Step::Label { device, .. } => self.check_labels(device, lines),
                Step::Work { device, after, .. } => self.check_model(device, after, lines),
                Step::Token { name, .. } if self.now.revoked_tokens.contains(name) => {
                    let line = self.file.line(Kind::Token, name);
                    let way_out = "take it out of the file, or choose another name";
                    lines.wrong_in(line, format!("the token `{name}` was revoked: {way_out}"));
                }
                _ => {}
            }
        }
    }

    fn will_be(&self, device: &DeviceId) -> bool {
        let prunes = self.prune && self.file.kinds.contains(&Kind::Device);
        self.file.listed.devices.contains_key(device) || (!prunes && self.now.listed.devices.contains_key(device))
    }

    fn check_key(
        &self,
        device: &DeviceId,
        key: &Fingerprint,
        owners: &BTreeMap<Fingerprint, &DeviceId>,
        lines: &mut Lines,
    ) {
        let Some(owner) = owners.get(key).filter(|owner| **owner != device) else { return };
        let gives_it_up = !self.now.enrolled.contains(*owner)
            && self.file.listed.devices.get(*owner).is_some_and(|owner| owner.key.is_some());
        if self.will_be(owner) && !gives_it_up {
            let line = self.file.line(Kind::Device, device.as_str());
            lines.wrong_in(line, format!("the key of `{device}` is that of `{owner}`: revoke that one first"));
        }
    }

    fn check_labels(&self, device: &DeviceId, lines: &mut Lines) {
        let labels = |listed: &super::form::Listed| -> BTreeSet<String> {
            listed.devices.get(device).into_iter().flat_map(|device| device.labels.keys().cloned()).collect()
        };
        let mut keys = labels(&self.file.listed);
        if !self.prune {
            keys.extend(labels(&self.now.listed));
        }
        if keys.len() > MOST_LABELS {
            let line = self.file.line(Kind::Device, device.as_str());
            lines.wrong_in(line, format!("`{device}` would have {} labels, {MOST_LABELS} at most", keys.len()));
        }
    }

    /// Before the first release no model is known, and all of them are waited for; from then on a wrong one is a mistake.
    fn check_model(&self, device: &DeviceId, work: &Work, lines: &mut Lines) {
        let (Some(models), Some(model)) = (&self.models, work.model()) else { return };
        if !models.contains(model.as_str()) {
            let line = self.work(device).map_or(1, |(_, line)| line);
            let known: Vec<&str> = models.iter().map(String::as_str).collect();
            let meant = nearest(model.as_str(), &known);
            lines.wrong_in(line, format!("`{device}` should run `{model}`, which is not in the catalogue{meant}"));
        }
    }
}
