//! What a file cannot do by itself, and the command that can.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;

use super::awaited::{Wait, Waiting};
use super::form::Device;
use super::plan::Comparison;

/// Names that a note shows.
const SHOWN: usize = 5;

/// Notes for whoever applies the file.
pub(super) fn of(comparison: &Comparison<'_>, waiting: &[Waiting]) -> Vec<String> {
    let Comparison { file, now, models, idle_rules, .. } = comparison;
    let mut notes: Vec<String> =
        idle_rules.iter().map(|line| format!("line {line}: `[[assign]]` means no device")).collect();
    let absent = || file.listed.devices.iter().filter(|(id, _)| !now.enrolled.contains(*id));
    let key_of = |id: &DeviceId| now.listed.devices.get(id).and_then(|device| device.key);
    let has_key = |(id, device): &(&DeviceId, &Device)| device.key.is_some() || key_of(id).is_some();
    let with_key: Vec<_> = absent().filter(has_key).map(|(id, _)| id.as_str()).collect();
    let without: Vec<_> = absent().filter(|entry| !has_key(entry)).map(|(id, _)| id.as_str()).collect();
    if !with_key.is_empty() {
        notes.push(format!(
            "{} may enrol with the keys in the file, on the device: `outpost enroll --server URL --ca ca.pem`; certificates \
             are this server's own, and only `outpost-control backup` carries them to another one",
            names(&with_key)
        ));
    }
    if !without.is_empty() {
        notes.push(format!("{} cannot enrol without a code: `outpost-control device code NAME`", names(&without)));
    }
    let works = || {
        let all = file.listed.devices.keys().chain(comparison.given.keys());
        let works = all.filter_map(|id| Some((id, comparison.work(id)?.0)));
        works.collect::<BTreeMap<_, _>>()
    };
    match models {
        None if !works().is_empty() => notes.push(
            "nothing is released here yet: devices are told what to run once it is, with the offline keys: \
             `outpost-control catalogue release`"
                .to_owned(),
        ),
        None => {}
        Some(_) => {
            let mut alike: BTreeMap<&Wait, Vec<&str>> = BTreeMap::new();
            for one in waiting {
                alike.entry(&one.waits_for).or_default().push(one.device.as_str());
            }
            notes.extend(alike.iter().map(|(wait, devices)| format!("{} wait for {wait}", names(devices))));
        }
    }
    let renewed: Vec<_> = file
        .listed
        .devices
        .iter()
        .filter(|(id, device)| now.enrolled.contains(*id) && device.key.is_some() && device.key != key_of(id))
        .map(|(id, _)| id.as_str())
        .collect();
    if !renewed.is_empty() {
        notes.push(format!(
            "{} enrolled with another key than the file has, or renewed it: `outpost-control export` has the one in use",
            names(&renewed)
        ));
    }
    let people: Vec<_> = file
        .listed
        .people
        .keys()
        .filter(|name| !now.listed.people.contains_key(*name) || now.without_password.contains(*name))
        .map(String::as_str)
        .collect();
    if !people.is_empty() {
        let have = if people.len() == 1 { "has" } else { "have" };
        notes.push(format!("{} {have} no password: `outpost-control person reset NAME` makes a code", names(&people)));
    }
    let tokens: Vec<_> = file
        .listed
        .tokens
        .keys()
        .filter(|name| !now.listed.tokens.contains_key(*name) || now.awaited_tokens.contains(*name))
        .map(String::as_str)
        .collect();
    if !tokens.is_empty() {
        notes.push(format!(
            "the secrets of the tokens {} are in no file: `outpost-control token create --name NAME …` makes a new one",
            names(&tokens)
        ));
    }
    notes
}

fn names(names: &[&str]) -> String {
    let first = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}
