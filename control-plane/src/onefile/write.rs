//! Writing a fleet file: the same fleet gives the same bytes.

use std::fmt::Write as _;

use super::form::{Kind, Listed, Work};

/// What every file begins with.
fn heading(tenant: &str, with_people: bool) -> String {
    let people = if with_people {
        ""
    } else {
        "# People and tokens are left out: whoever exported it may not administer them.\n"
    };
    format!(
        "# The fleet `{tenant}` in one file: `outpost-control apply -f FILE` makes it so, here or on an empty server.\n\
         # Not in it: certificates and keys, the signed catalogue, passwords, secrets of tokens, logs. For those there is\n\
         # `outpost-control backup`; without one, devices enrol again and the holders of the offline keys release again.\n\
         {people}\n[fleet]\nform = 1\ntenant = {}\n",
        quoted(tenant)
    )
}

/// A fleet as a file.
pub(super) fn write(listed: &Listed, tenant: &str, with_people: bool) -> String {
    let mut file = heading(tenant, with_people);
    for (name, group) in &listed.groups {
        section(&mut file, Kind::Group);
        line(&mut file, "name", &quoted(name));
        if !group.description.is_empty() {
            line(&mut file, "description", &quoted(&group.description));
        }
        match &group.selector {
            Some(selector) => line(&mut file, "where", &quoted(selector)),
            None => line(&mut file, "members", &list(group.members.iter().map(|member| member.as_str()))),
        }
    }
    for (name, rights) in listed.people.iter().filter(|_| with_people) {
        section(&mut file, Kind::Person);
        line(&mut file, "name", &quoted(name));
        line(&mut file, "roles", &list(rights.roles.iter().map(String::as_str)));
        if rights.disabled {
            line(&mut file, "disabled", "true");
        }
    }
    for (name, token) in listed.tokens.iter().filter(|_| with_people) {
        section(&mut file, Kind::Token);
        line(&mut file, "name", &quoted(name));
        line(&mut file, "roles", &list(token.roles.iter().map(String::as_str)));
        if !token.scope.is_empty() {
            line(&mut file, "scope", &list(token.scope.iter().map(String::as_str)));
        }
    }
    for (id, device) in &listed.devices {
        section(&mut file, Kind::Device);
        line(&mut file, "id", &quoted(id.as_str()));
        if let Some(key) = device.key {
            line(&mut file, "key", &quoted(&key.to_string()));
        }
        if let Some(site) = &device.site {
            line(&mut file, "site", &quoted(site));
        }
        if !device.labels.is_empty() {
            let labels = device.labels.iter().map(|(key, value)| format!("{} = {}", bare(key), quoted(value)));
            line(&mut file, "labels", &format!("{{ {} }}", labels.collect::<Vec<_>>().join(", ")));
        }
        match &device.work {
            None => {}
            Some(Work::Idle) => line(&mut file, "idle", "true"),
            Some(Work::Model { model, minimum_context_tokens }) => {
                line(&mut file, "model", &quoted(model.as_str()));
                line(&mut file, "minimum_context", &minimum_context_tokens.to_string());
            }
        }
    }
    file
}

fn section(file: &mut String, kind: Kind) {
    // Writing to a `String` does not fail.
    let _ = write!(file, "\n[[{}]]\n", kind.name());
}

fn line(file: &mut String, key: &str, value: &str) {
    let _ = writeln!(file, "{key} = {value}");
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", words.map(quoted).collect::<Vec<_>>().join(", "))
}

/// A key without quotes, where it may stand so.
fn bare(key: &str) -> String {
    let is_bare = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
