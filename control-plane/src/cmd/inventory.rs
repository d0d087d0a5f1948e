//! `outpost-control device ls`, `device label`, `group …` and `plan`: the inventory and what it answers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use outpost_contract::DeviceId;
use outpost_control::{Clock, Config, DeviceView, Fleet, MOST_PER_PAGE, Question, Selector};
use serde_json::{Value, json};

use super::device::{id, to_json};
use super::{open, say, say_json};
use crate::args;

/// Lists the devices that a selector means, page by page.
pub(super) fn list(fleet: &Fleet, selector: Option<&str>, as_json: bool) -> Result<()> {
    let selector = selector.map_or(Ok(Selector::all()), |text| fleet.selector(text))?;
    let now_s = Clock::system().now_s();
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let page = fleet.views(&selector, after.as_ref(), MOST_PER_PAGE)?;
        for view in page.devices {
            if as_json {
                all.push(whole(fleet, &view)?);
            } else {
                say(view.line(now_s))?;
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if as_json { say_json(&all) } else { Ok(()) }
}

/// A device as it always was in this list, with what the inventory knows beside it.
fn whole(fleet: &Fleet, view: &DeviceView) -> Result<Value> {
    let mut device = to_json(&fleet.device(&view.device)?);
    if let Some(fields) = device.as_object_mut() {
        fields.insert("drift".into(), json!(view.drift));
        fields.insert("words".into(), json!(view.words));
        fields.insert("labels".into(), json!(view.labels));
        fields.insert("groups".into(), json!(view.groups));
        fields.insert("certificate".into(), json!(view.certificate));
        fields.insert("clock".into(), json!(view.clock));
    }
    Ok(device)
}

/// Sets, removes and shows labels.
pub(super) fn label(
    fleet: &Fleet,
    device: &DeviceId,
    labels: &[String],
    remove: &[String],
    as_json: bool,
) -> Result<()> {
    let mut set = BTreeMap::new();
    for label in labels {
        let Some((key, value)) = label.split_once('=') else {
            bail!("`{}` is no label: write KEY=VALUE, as in `role=till`", label.escape_debug());
        };
        set.insert(key.to_owned(), value.to_owned());
    }
    let labels = match set.is_empty() && remove.is_empty() {
        true => fleet.labels(device)?,
        false => fleet.set_labels(device, &set, remove)?,
    };
    if as_json {
        return say_json(&json!({"device": device, "labels": labels}));
    }
    labels.iter().try_for_each(|(key, value)| say(format!("{key}={value}")))
}

/// `outpost-control group …`
pub(super) fn group(config: Config, command: args::Group, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    match command {
        args::Group::Create { name, members, selector, description } => {
            let members = members.iter().map(|device| id(device)).collect::<Result<Vec<_>>>()?;
            fleet.keep_group(&outpost_control::Group { name: name.clone(), description, selector, members })?;
            show(&fleet, &name, as_json)
        }
        args::Group::Ls => {
            let groups = fleet.groups()?;
            if as_json {
                return say_json(&groups);
            }
            groups.iter().try_for_each(|group| {
                let members = format!("{} members", group.members.len());
                let who = group.selector.as_ref().unwrap_or(&members);
                say(format!("{:<20} {who}  {}", group.name, group.description).trim_end())
            })
        }
        args::Group::Show { name } => show(&fleet, &name, as_json),
        args::Group::Rm { name } => {
            fleet.remove_group(&name)?;
            if as_json { say_json(&json!({"removed": name})) } else { say(format!("the group `{name}` is gone")) }
        }
    }
}

fn show(fleet: &Fleet, name: &str, as_json: bool) -> Result<()> {
    let group = fleet.group(name)?;
    let devices = fleet.select(&fleet.selector(&format!("group={name}"))?)?;
    if as_json {
        return say_json(&json!({"group": group, "devices": devices}));
    }
    if let Some(selector) = &group.selector {
        say(format!("where {selector}"))?;
    }
    devices.iter().try_for_each(|device| say(device.as_str()))
}

/// `outpost-control plan`
pub(super) fn plan(config: Config, asked: args::Plan, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    let args::Plan { model, context, tokens_per_second, selector } = asked;
    let model = model.parse().context("`--model`")?;
    let question = Question { model, context_tokens: context, tokens_per_second, selector, limit: usize::MAX };
    let answer = fleet.what_if(&question)?;
    if as_json {
        return say_json(&answer);
    }
    say(&answer.summary)?;
    for device in &answer.devices {
        let target = device.target.as_ref().map_or("-", |target| target.as_str());
        let mark = if device.lack.is_none() { "+" } else { "-" };
        say(format!("{mark} {:<20} {target:<36} {}", device.device.as_str(), device.because))?;
    }
    Ok(())
}
