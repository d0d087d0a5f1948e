//! `[[assign]]`: what a selector gives to the devices that say nothing themselves. It asks only for what operators say of a
//! device (name, site, labels, groups), so that the same file means the same today and tomorrow.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::DeviceId;
use outpost_selector::{Facts, Field, Selector};

use super::form::{Grouping, Kind, Work};
use super::now::Now;
use super::read::{FleetFile, Rule};
use super::table::Lines;

/// What the rules give, and the line that does.
pub(super) type Given = BTreeMap<DeviceId, (Work, usize)>;

/// The groups as they would be, and who is named by them.
pub(super) struct Groups {
    defined: BTreeMap<String, Selector>,
    fixed: BTreeMap<DeviceId, BTreeSet<String>>,
    names: BTreeSet<String>,
}

impl Groups {
    /// Those of the file, and those that are here and stay.
    pub(super) fn of(file: &FleetFile, now: &Now, prunes: bool) -> Self {
        let stay = now.listed.groups.iter().filter(|(name, _)| !prunes && !file.listed.groups.contains_key(*name));
        let mut groups = Self { defined: BTreeMap::new(), fixed: BTreeMap::new(), names: BTreeSet::new() };
        for (name, group) in stay.chain(&file.listed.groups) {
            groups.add(name, group);
        }
        groups
    }

    fn add(&mut self, name: &str, group: &Grouping) {
        self.names.insert(name.to_owned());
        // What was read once, by the file or by the database, reads again.
        if let Some(Ok(selector)) = group.selector.as_ref().map(|text| text.parse()) {
            self.defined.insert(name.to_owned(), selector);
        }
        for member in &group.members {
            self.fixed.entry(member.clone()).or_default().insert(name.to_owned());
        }
    }

    /// Looks whether a selector's groups are there and can be followed; the selector without them.
    pub(super) fn follow(&self, selector: &Selector, line: usize, lines: &mut Lines) -> Option<Selector> {
        if let Some(unknown) = selector.groups().find(|name| !self.names.contains(name)) {
            let known: Vec<&str> = self.names.iter().map(String::as_str).collect();
            let meant = super::table::nearest(&unknown, &known);
            lines.wrong_in(line, format!("there is no group `{}`{meant}", super::table::shown(&unknown)));
            return None;
        }
        let followed = selector.expand(&self.defined);
        followed.map_err(|error| lines.wrong_in(line, error.to_string())).ok()
    }
}

/// Gives each device what the rules that mean it say: one thing, or it is a mistake.
pub(super) fn give(
    file: &FleetFile,
    now: &Now,
    prune: bool,
    groups: &Groups,
    lines: &mut Lines,
) -> (Given, Vec<usize>) {
    let mut given = Given::new();
    let mut followed: Vec<(&Rule, Selector)> = Vec::new();
    for rule in &file.rules {
        let selector = groups.follow(&rule.selector, rule.line, lines);
        followed
            .extend(selector.filter(|selector| is_steady(selector, rule.line, lines)).map(|selector| (rule, selector)));
    }
    let mut idle: BTreeSet<usize> = followed.iter().map(|(rule, _)| rule.line).collect();
    let mut told = BTreeSet::new();
    let stay = now.listed.devices.keys().filter(|_| !(prune && file.kinds.contains(&Kind::Device)));
    let devices: BTreeSet<&DeviceId> = stay.chain(file.listed.devices.keys()).collect();
    for device in devices.into_iter().filter(|_| !followed.is_empty()) {
        let facts = facts(device, file, now, prune, groups);
        let mut first: Option<&Rule> = None;
        let has_own = file.listed.devices.get(device).is_some_and(|device| device.work.is_some());
        for (rule, _) in followed.iter().filter(|(_, selector)| selector.matches(&facts)) {
            idle.remove(&rule.line);
            match first {
                None => first = Some(rule),
                Some(other) if other.work != rule.work && !has_own && told.insert((other.line, rule.line)) => {
                    let (one, two) = (&other.work, &rule.work);
                    lines.wrong_in(
                        rule.line,
                        format!(
                            "`{device}` would run {two} by this and {one} by line {}: let one exclude the other \
                             (`and not …`), or give the device its own `model`",
                            other.line
                        ),
                    );
                }
                Some(_) => {}
            }
        }
        if let (Some(rule), false) = (first, has_own) {
            given.insert(device.clone(), (rule.work.clone(), rule.line));
        }
    }
    (given, idle.into_iter().collect())
}

/// What operators say of a device: the file first, then what is here and stays.
fn facts(device: &DeviceId, file: &FleetFile, now: &Now, prune: bool, groups: &Groups) -> Facts {
    let (wanted, current) = (file.listed.devices.get(device), now.listed.devices.get(device));
    let current = current.filter(|_| !prune || wanted.is_none());
    let site = wanted.and_then(|wanted| wanted.site.clone());
    let mut labels = current.map(|current| current.labels.clone()).unwrap_or_default();
    labels.extend(wanted.map(|wanted| wanted.labels.clone()).unwrap_or_default());
    Facts {
        name: device.to_string(),
        site: site.or_else(|| current.and_then(|current| current.site.clone())),
        labels,
        groups: groups.fixed.get(device).cloned().unwrap_or_default(),
        ..Facts::default()
    }
}

fn is_steady(selector: &Selector, line: usize, lines: &mut Lines) -> bool {
    let measured = selector.fields().find(|field| !matches!(field, Field::Name | Field::Site | Field::Group));
    if let Some(field) = measured {
        lines.wrong_in(
            line,
            format!(
                "`{}` is what a device reports and changes by itself: select by `name`, `site`, `group` or `label.…`",
                field.name()
            ),
        );
    }
    measured.is_none()
}
