//! Access review: who came in which role, by which means and with which credential, since when, and what nobody used.

use std::collections::BTreeSet;

use super::bounded::{Bounded, Fold};
use super::denials::Times;
use super::page::{Cell, Page, many, minute};
use super::seen::{Period, Seen};
use crate::Kind;

const ROWS: usize = 1_024;
const SHOWN: usize = 50;
/// Roles, methods and kinds of one principal beyond these are not told apart.
const NAMES: usize = 16;

#[derive(Debug, Clone, Default)]
struct Person {
    kinds: BTreeSet<String>,
    roles: BTreeSet<String>,
    methods: BTreeSet<String>,
    records: u64,
    refused: u64,
    period: Period,
}

impl Fold for Person {
    fn fold(&mut self, other: &Self) {
        for (names, more) in
            [(&mut self.kinds, &other.kinds), (&mut self.roles, &other.roles), (&mut self.methods, &other.methods)]
        {
            more.iter().for_each(|name| insert(names, name));
        }
        self.records += other.records;
        self.refused += other.refused;
        self.period.fold(&other.period);
    }
}

/// A key as its records tell it, over the whole log.
#[derive(Debug, Clone, Default)]
struct Key {
    roles: String,
    made_ms: Option<i64>,
    revoked_ms: Option<i64>,
    replaces: String,
}

impl Fold for Key {
    /// Keys have no sum.
    fn fold(&mut self, _: &Self) {}
}

/// Who came, and how.
#[derive(Debug)]
pub(super) struct Access {
    people: Bounded<String, Person>,
    roles: Bounded<String, Times>,
    methods: Bounded<String, Times>,
    /// By method and credential, over the whole log: a key that is not used in the range may have been before.
    credentials: Bounded<(String, String), Times>,
    keys: Bounded<String, Key>,
    pub(super) made: u64,
    pub(super) revoked: u64,
}

impl Access {
    pub(super) fn new() -> Self {
        Self {
            people: Bounded::new(ROWS),
            roles: Bounded::new(ROWS),
            methods: Bounded::new(ROWS),
            credentials: Bounded::new(ROWS),
            keys: Bounded::new(ROWS),
            made: 0,
            revoked: 0,
        }
    }

    /// What is needed of every record, in the range or not.
    pub(super) fn follow(&mut self, seen: &Seen<'_>) {
        if !seen.text("detail.credential").is_empty() {
            let key = (seen.owned("who.auth"), seen.owned("detail.credential"));
            self.credentials.of(key).add(1, seen.wall_ms);
        }
        if !matches!(seen.kind, Some(Kind::KeyCreate | Kind::KeyRevoke)) {
            return;
        }
        let key = self.keys.of(seen.owned("detail.key"));
        key.roles = seen.owned("detail.roles");
        if seen.kind == Some(Kind::KeyCreate) {
            key.made_ms.get_or_insert(seen.wall_ms);
            key.replaces = seen.owned("detail.replaces");
        } else {
            key.revoked_ms.get_or_insert(seen.wall_ms);
        }
    }

    pub(super) fn take(&mut self, seen: &Seen<'_>) {
        self.made += u64::from(seen.kind == Some(Kind::KeyCreate));
        self.revoked += u64::from(seen.kind == Some(Kind::KeyRevoke));
        let Some(pid) = seen.leaf.who() else { return };
        let person = self.people.of(pid.to_owned());
        person.records += 1;
        person.refused += u64::from(seen.is_denied());
        person.period.add(seen.wall_ms);
        insert(&mut person.kinds, seen.text("who.kind"));
        insert(&mut person.methods, seen.text("who.auth"));
        if !seen.text("who.auth").is_empty() {
            self.methods.of(seen.owned("who.auth")).add(1, seen.wall_ms);
        }
        for role in seen.leaf.texts("who.roles") {
            insert(&mut person.roles, role);
            self.roles.of(role.to_owned()).add(1, seen.wall_ms);
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.note(
            "From what records say of those who acted. Who could have acted and never did is in the policy and in the \
             identity provider, not in the log: `outpost policy review` says who can do what.",
        );
        let (rows, rest) = self.people.ranked(SHOWN, |person| person.records);
        let cells = rows.into_iter().map(|(name, person)| of_person(Cell::HeadCode(name.clone()), person));
        let rest = rest.iter().map(|(name, person)| of_person(Cell::Head(name.clone()), person));
        page.table(
            format_args!("Who came, in which roles and by which means: {}", self.people.how_many()),
            &["Principal", "Kind", "Roles", "Proven by", "Records", "Refused", "First seen (UTC)", "Last seen (UTC)"],
            cells.chain(rest).collect(),
            "No record of this range names who acted.",
        );
        page.markup("<div class=\"pair\">");
        of_names(page, "Use by role", &["Role", "Records", "First (UTC)", "Last (UTC)"], &self.roles);
        of_names(page, "Use by means of proof", &["Proven by", "Records", "First (UTC)", "Last (UTC)"], &self.methods);
        page.markup("</div>");
        page.note("Proven by: jwt is a token of an identity provider, key an API key of this device, mtls a certificate, uds the account of the machine that connected.");
        self.credentials_table(page);
        self.keys_table(page);
        self.questions(page);
    }

    fn credentials_table(&self, page: &mut Page) {
        let (rows, rest) = self.credentials.ranked(SHOWN, |times| times.count);
        let largest = rows.first().map_or(0, |(_, times)| times.count);
        let row = |names: [Cell; 2], times: &Times| {
            let [first, second] = names;
            vec![
                first,
                second,
                Cell::Bar(times.count, largest),
                Cell::On(times.period.first_ms),
                Cell::On(times.period.last_ms),
            ]
        };
        let cells = rows
            .iter()
            .map(|((method, credential), times)| row([Cell::HeadCode(credential.clone()), Cell::said(method)], times));
        let rest = rest.iter().map(|(name, times)| row([Cell::Head(name.clone()), Cell::said("")], times));
        page.table(
            "Credentials and their use, over the whole log: the id of an API key, the key id of a token, the serial of a certificate",
            &["Credential", "Proven by", "Records", "First used (UTC)", "Last used (UTC)"],
            cells.chain(rest).collect(),
            "No record names a credential.",
        );
    }

    fn keys_table(&self, page: &mut Page) {
        let rows = self.keys.iter().take(SHOWN).map(|(id, key)| {
            let last_used = self.used(id).and_then(|times| times.period.last_ms);
            vec![
                Cell::HeadCode(id.clone()),
                Cell::said(&key.roles.replace(',', ", ")),
                Cell::At(key.made_ms),
                Cell::At(last_used),
                Cell::Text(key.revoked_ms.map_or_else(|| "still counts".to_owned(), minute)),
                if key.replaces.is_empty() { Cell::said("") } else { Cell::Code(key.replaces.clone()) },
            ]
        });
        let left_out = self.keys.iter().count().saturating_sub(SHOWN);
        let more = if left_out > 0 { format!("; {left_out} more are not listed") } else { String::new() };
        page.table(
            format_args!("API keys made or revoked on record: {}{more}", self.keys.how_many()),
            &["Key", "Roles", "Made (UTC)", "Last used (UTC)", "Revoked (UTC)", "Replaces"],
            rows.collect(),
            "No API key was made or revoked on record.",
        );
    }

    fn used(&self, key: &str) -> Option<&Times> {
        self.credentials.get(&("key".to_owned(), key.to_owned()))
    }

    /// What an access review asks about: what nobody used, and what was used when it should not have been.
    fn questions(&self, page: &mut Page) {
        page.heading("What to ask about");
        if self.credentials.has_later() || self.roles.has_later() || self.keys.has_later() {
            return page.paragraph(
                "There are more credentials, roles or keys than this report tells apart, so it cannot say which were never used.",
            );
        }
        let mut questions = Vec::new();
        for (id, key) in self.keys.iter() {
            let roles = key.roles.replace(',', ", ");
            let last_used = self.used(id).and_then(|times| times.period.last_ms);
            match (key.revoked_ms, last_used) {
                (None, None) => questions.push(format!("API key {id} ({roles}) was made and never used: should it exist?")),
                (Some(revoked), Some(last)) if last > revoked => questions.push(format!(
                    "API key {id} ({roles}) is named by a record of {} UTC, after it was revoked at {}: a request that was under \
                     way ends so, and so does one that should not have been let in.",
                    minute(last),
                    minute(revoked),
                )),
                _ => {}
            }
        }
        let given = self.keys.iter().flat_map(|(_, key)| key.roles.split(',')).filter(|role| !role.is_empty());
        let given: BTreeSet<String> = given.map(str::to_owned).collect();
        let unused = given.iter().filter(|role| self.roles.get(role).is_none());
        questions.extend(
            unused.map(|role| format!("The role {role} is given to API keys, and nobody came in it in this range.")),
        );
        if questions.is_empty() {
            return page.paragraph(
                "Nothing: every API key that still counts was used, none after its revocation, and every role that a key \
                 carries came in this range.",
            );
        }
        page.markup("<ul>");
        questions.iter().take(SHOWN).for_each(|question| page.element("li", &[], question));
        page.markup("</ul>\n");
        let more = questions.len().saturating_sub(SHOWN) as u64;
        if more > 0 {
            page.paragraph(format_args!("And {} more like these.", super::page::grouped(more)));
        }
    }

    pub(super) fn sentence(&self) -> String {
        format!(
            "{} and {} on record.",
            many(self.made, "API key was made", "API keys were made"),
            many(self.revoked, "was revoked", "were revoked"),
        )
    }
}

fn of_person(name: Cell, person: &Person) -> Vec<Cell> {
    let list = |names: &BTreeSet<String>| Cell::said(&names.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    vec![
        name,
        list(&person.kinds),
        list(&person.roles),
        list(&person.methods),
        Cell::Number(person.records),
        Cell::Number(person.refused),
        Cell::On(person.period.first_ms),
        Cell::On(person.period.last_ms),
    ]
}

fn of_names(page: &mut Page, caption: &'static str, columns: &[&'static str], table: &Bounded<String, Times>) {
    let (rows, rest) = table.ranked(SHOWN, |times| times.count);
    let largest = rows.first().map_or(0, |(_, times)| times.count);
    let cells = rows.into_iter().map(|(name, times)| (name.clone(), times.clone())).chain(rest).map(|(name, times)| {
        vec![
            Cell::Head(name),
            Cell::Bar(times.count, largest),
            Cell::On(times.period.first_ms),
            Cell::On(times.period.last_ms),
        ]
    });
    page.table(caption, columns, cells.collect(), "None.");
}

fn insert(names: &mut BTreeSet<String>, name: &str) {
    if !name.is_empty() && names.len() < NAMES {
        names.insert(name.to_owned());
    }
}
