//! Reading a fleet file: form and limits first, then what each section means. Every mistake with its line, as many as there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use outpost_contract::{DeviceId, Fingerprint};
use outpost_selector::{Selector, is_label_key, is_label_value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::FleetFileError;
use super::form::{Device, Grouping, Kind, Listed, MINIMUM_CONTEXT, Rights, Token, Work};
use super::table::{Lines, Table, nearest, shown, understood};
use crate::fleet::{Fleet, FleetError};
use crate::inventory::{DESCRIPTION_BYTES, MOST_GROUPS, MOST_LABELS};
use crate::people::{Act, check_name, check_roles};

/// Largest file: it holds as many devices as there may be, each with its key, its site and half a dozen labels.
pub const FLEET_FILE_BYTES: usize = 32 * 1024 * 1024;

/// Entries of one kind, groups and rules apart.
pub(super) const MOST_ENTRIES: usize = 50_000;

/// `[[assign]]` sections.
const MOST_RULES: usize = 500;

/// What may stand at the top.
const SECTIONS: [&str; 6] = ["fleet", "device", "assign", "group", "person", "token"];

/// The form that this version reads and writes.
const FORM: u32 = 1;

/// A fleet file, read and found well formed.
#[derive(Debug, Clone, Default)]
pub struct FleetFile {
    pub(super) listed: Listed,
    pub(super) rules: Vec<Rule>,
    /// Kinds that stand in it, be it as an empty list.
    pub(super) kinds: BTreeSet<Kind>,
    /// The tenant that it is for, and the line that says so.
    pub(super) tenant: Option<(usize, String)>,
    lines: HashMap<(Kind, String), usize>,
}

/// `[[assign]]`: what the devices that a selector means are told to run, unless they say so themselves.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) line: usize,
    pub(super) selector: Selector,
    pub(super) work: Work,
}

impl FleetFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`FleetFileError::Mistakes`], each with its line.
    pub fn read(text: &str) -> Result<Self, FleetFileError> {
        if text.len() > FLEET_FILE_BYTES {
            return Err(FleetFileError::TooLarge);
        }
        let mut lines = Lines::of(text);
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                lines.wrong(at, format!("this is not TOML: {}", shown(error.message())));
                return Err(lines.judge().err().unwrap_or(FleetFileError::TooLarge));
            }
        };
        let mut file = Self::default();
        file.sections(document.get_ref(), &mut lines);
        lines.judge()?;
        Ok(file)
    }

    /// The line where something is first named; 1 if it is not.
    pub(super) fn line(&self, kind: Kind, name: &str) -> usize {
        self.lines.get(&(kind, name.to_owned())).copied().unwrap_or(1)
    }

    /// True if it says something about people or tokens.
    pub(crate) fn concerns_people(&self) -> bool {
        self.kinds.contains(&Kind::Person) || self.kinds.contains(&Kind::Token)
    }

    fn sections(&mut self, document: &DeTable<'_>, lines: &mut Lines) {
        for key in document.keys().filter(|key| !SECTIONS.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref().as_ref();
            let why = match word {
                "site" => "; a site is no more than a name here: write `site = \"…\"` in `[[device]]`".to_owned(),
                "rollout" | "webhook" | "policy" | "catalogue" | "model" => {
                    "; a fleet file does not hold that, `--help` says what it holds".to_owned()
                }
                other => nearest(other, &SECTIONS),
            };
            lines.wrong(key.span().start, format!("unknown section `{}`{why}", shown(word)));
        }
        if let Some(value) = document.get("fleet") {
            self.fleet(value, lines);
        }
        self.each(document, "device", Some(Kind::Device), MOST_ENTRIES, lines, Self::device);
        self.each(document, "group", Some(Kind::Group), MOST_GROUPS, lines, Self::group);
        self.each(document, "person", Some(Kind::Person), MOST_ENTRIES, lines, Self::person);
        self.each(document, "token", Some(Kind::Token), MOST_ENTRIES, lines, Self::token);
        self.each(document, "assign", None, MOST_RULES, lines, Self::rule);
        self.unique_keys(lines);
    }

    fn each(
        &mut self,
        document: &DeTable<'_>,
        section: &'static str,
        kind: Option<Kind>,
        most: usize,
        lines: &mut Lines,
        mut read: impl FnMut(&mut Self, Table<'_>, &mut Lines),
    ) {
        let Some(value) = document.get(section) else { return };
        let at = value.span().start;
        let DeValue::Array(entries) = value.get_ref() else {
            return lines.wrong(at, format!("write `[[{section}]]`, with two brackets: there may be many"));
        };
        if entries.len() > most {
            let parts =
                if kind == Some(Kind::Device) { ": part the file, and apply the parts without `--prune`" } else { "" };
            return lines.wrong(at, format!("there are {} `[[{section}]]`, {most} at most{parts}", entries.len()));
        }
        self.kinds.extend(kind);
        let name = match section {
            "device" => "[[device]]",
            "group" => "[[group]]",
            "person" => "[[person]]",
            "token" => "[[token]]",
            _ => "[[assign]]",
        };
        for entry in entries.iter() {
            if let Some(table) = Table::of(name, entry, lines) {
                read(self, table, lines);
            }
        }
    }

    fn fleet(&mut self, value: &Spanned<DeValue<'_>>, lines: &mut Lines) {
        let Some(table) = Table::of("[fleet]", value, lines) else { return };
        table.check(&["form", "tenant"], lines);
        if let Some(form) = table.number("form", lines).filter(|form| *form != FORM) {
            lines.wrong(table.at, format!("the file has form {form}, this version reads form {FORM}"));
        }
        self.tenant = table.text("tenant", lines).map(|(at, tenant)| (lines.line(at), tenant.to_owned()));
    }

    fn device(&mut self, table: Table<'_>, lines: &mut Lines) {
        table.check(&["id", "key", "site", "labels", "model", "minimum_context", "idle"], lines);
        let work = work(table, lines);
        let device = Device {
            key: table.read::<Fingerprint>("key", lines),
            site: site(table, lines),
            labels: labels(table, lines),
            work,
        };
        let Some((at, text)) = table.needed("id", lines) else { return };
        let Some(id) = understood::<DeviceId>(at, text, lines) else { return };
        if let Err(error) = Fleet::check_device_name(&id) {
            return lines.wrong(at, error.to_string());
        }
        if self.is_first(Kind::Device, id.as_str(), at, lines) {
            self.listed.devices.insert(id, device);
        }
    }

    fn group(&mut self, table: Table<'_>, lines: &mut Lines) {
        table.check(&["name", "description", "where", "members"], lines);
        let description = table.text("description", lines);
        if let Some((at, _)) =
            description.filter(|(_, text)| text.len() > DESCRIPTION_BYTES || text.chars().any(char::is_control))
        {
            lines.wrong(at, format!("a description is one line of {DESCRIPTION_BYTES} bytes at most"));
        }
        let selector = table.read::<Selector>("where", lines).map(|selector| selector.to_string());
        let members = table.texts("members", lines);
        if table.entries.contains_key("where") == table.entries.contains_key("members") {
            lines.wrong(table.at, "`[[group]]` has either `where` or `members`");
        }
        let members = members.unwrap_or_default();
        let members = members.into_iter().filter_map(|(at, name)| understood(at, name, lines)).collect();
        let description = description.map_or_else(String::new, |(_, text)| text.to_owned());
        let Some((at, name)) = table.needed("name", lines) else { return };
        // A group is named as a device is.
        if name.parse::<DeviceId>().is_err() {
            return lines.wrong(at, "a group is named with 1 to 64 of a-z, 0-9 and `-`, as in `canary`");
        }
        if self.is_first(Kind::Group, name, at, lines) {
            self.listed.groups.insert(name.to_owned(), Grouping { description, selector, members });
        }
    }

    fn person(&mut self, table: Table<'_>, lines: &mut Lines) {
        table.check(&["name", "roles", "disabled"], lines);
        let rights = Rights { roles: roles(table, lines), disabled: table.flag("disabled", lines) };
        if let Some(name) = self.name(Kind::Person, table, lines) {
            self.listed.people.insert(name, rights);
        }
    }

    fn token(&mut self, table: Table<'_>, lines: &mut Lines) {
        table.check(&["name", "roles", "scope"], lines);
        let mut scope = BTreeSet::new();
        for (at, act) in table.texts("scope", lines).unwrap_or_default() {
            if Act::from_name(act).is_none() {
                let acts: Vec<_> = Act::ALL.iter().map(|act| act.name()).collect();
                let meant = nearest(act, &acts);
                lines.wrong(at, format!("`{}` is no act{meant}; a scope names acts: {}", shown(act), acts.join(", ")));
            }
            scope.insert(act.to_owned());
        }
        let token = Token { roles: roles(table, lines), scope };
        if let Some(name) = self.name(Kind::Token, table, lines) {
            self.listed.tokens.insert(name, token);
        }
    }

    fn rule(&mut self, table: Table<'_>, lines: &mut Lines) {
        table.check(&["where", "model", "minimum_context", "idle"], lines);
        let work = work(table, lines);
        if work.is_none() {
            lines.wrong(table.at, "`[[assign]]` says what to run: `model = \"…\"` or `idle = true`");
        }
        let selector = table.needed("where", lines).and_then(|(at, text)| understood(at, text, lines));
        if let (Some(selector), Some(work)) = (selector, work) {
            self.rules.push(Rule { line: lines.line(table.at), selector, work });
        }
    }

    /// The name of a person or token, if it is one and stands here first.
    fn name(&mut self, kind: Kind, table: Table<'_>, lines: &mut Lines) -> Option<String> {
        let (at, name) = table.needed("name", lines)?;
        if let Err(error) = check_name(name) {
            lines.wrong(at, error.to_string());
            return None;
        }
        self.is_first(kind, name, at, lines).then(|| name.to_owned())
    }

    fn is_first(&mut self, kind: Kind, name: &str, at: usize, lines: &mut Lines) -> bool {
        if self.has(kind, name) {
            let first = self.line(kind, name);
            lines.wrong(at, format!("the {} `{}` stands in line {first} already", kind.name(), shown(name)));
            return false;
        }
        self.lines.insert((kind, name.to_owned()), lines.line(at));
        true
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Device => name.parse().is_ok_and(|id: DeviceId| self.listed.devices.contains_key(&id)),
            Kind::Group => self.listed.groups.contains_key(name),
            Kind::Person => self.listed.people.contains_key(name),
            Kind::Token => self.listed.tokens.contains_key(name),
        }
    }

    fn unique_keys(&self, lines: &mut Lines) {
        let mut owners: HashMap<Fingerprint, &DeviceId> = HashMap::new();
        for (id, key) in self.listed.devices.iter().filter_map(|(id, device)| Some((id, device.key?))) {
            if let Some(other) = owners.insert(key, id) {
                let line = self.line(Kind::Device, id.as_str());
                lines.wrong_in(line, format!("`{id}` and `{other}` have the same key {key}"));
            }
        }
    }
}

/// What a section says about what to run.
fn work(table: Table<'_>, lines: &mut Lines) -> Option<Work> {
    let model = table.read("model", lines);
    let minimum = table.number("minimum_context", lines);
    let (named, idle) = (table.entries.contains_key("model"), table.flag("idle", lines));
    if idle && named {
        lines.wrong(table.at, "`idle = true` runs no model: leave `model` out");
    }
    if minimum.is_some() && !named {
        lines.wrong(table.at, "`minimum_context` is that of a model: say which, with `model`");
    }
    match model {
        Some(model) => Some(Work::Model { model, minimum_context_tokens: minimum.unwrap_or(MINIMUM_CONTEXT) }),
        None => idle.then_some(Work::Idle),
    }
}

/// A site is named as a device is.
fn site(table: Table<'_>, lines: &mut Lines) -> Option<String> {
    let (at, site) = table.text("site", lines)?;
    if site.parse::<DeviceId>().is_err() {
        lines.wrong(at, FleetError::Site(shown(site)).to_string());
    }
    Some(site.to_owned())
}

fn labels(table: Table<'_>, lines: &mut Lines) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(value) = table.entries.get("labels") else { return labels };
    let Some(written) = Table::of("labels", value, lines) else { return labels };
    for key in written.entries.keys() {
        let (at, key) = (key.span().start, key.get_ref().as_ref());
        let Some((_, value)) = written.text(key, lines) else { continue };
        if !is_label_key(key) {
            let rule = "1 to 63 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter";
            lines.wrong(at, format!("`{}` is no key of a label: write {rule}", shown(key)));
        } else if !is_label_value(value) {
            let rule = "1 to 63 of A-Z, a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit";
            lines.wrong(at, format!("`{}` is no value of a label: write {rule}", shown(value)));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    if labels.len() > MOST_LABELS {
        lines.wrong(written.at, format!("a device has {MOST_LABELS} labels at most"));
    }
    labels
}

fn roles(table: Table<'_>, lines: &mut Lines) -> BTreeSet<String> {
    let roles: Vec<String> =
        table.texts("roles", lines).unwrap_or_default().into_iter().map(|(_, role)| role.to_owned()).collect();
    if let Err(error) = check_roles(&roles) {
        lines.wrong(table.at, error.to_string());
    }
    roles.into_iter().collect()
}
