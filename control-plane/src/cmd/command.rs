//! `outpost-control device command|commands|events`: what devices are asked to do, what they answer, what happened on them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use outpost_contract::{CommandId, CommandState, DeviceId, Operation};
use outpost_control::{CommandRecord, Fleet};

use super::{say, say_json};
use crate::args::Device;

/// How often it is looked for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long after its deadline an answer is waited for: the device may have begun just before.
const GRACE_S: i64 = 30;

/// Runs the command.
pub(super) fn run(fleet: &Fleet, command: Device, as_json: bool) -> Result<()> {
    match command {
        Device::Command { words, all, wait, minutes, seconds, subject, basis, asked_by } => {
            let Some((op, devices)) = words.split_last() else { bail!("say what the devices are to do") };
            let op = match op.as_str() {
                "status" => Operation::Status,
                "restart" => Operation::Restart,
                "drain" => Operation::Drain { seconds },
                "collect-diagnostics" | "collect_diagnostics" => Operation::CollectDiagnostics,
                "rescan" => Operation::Rescan,
                "probe" => Operation::Probe,
                "erase" => Operation::Erase { subject, basis },
                other => bail!(
                    "`{other}` is nothing that a device does: status, restart, drain, collect-diagnostics, rescan, probe \
                     or erase"
                ),
            };
            let devices = chosen(fleet, devices, all)?;
            let asked_by = asked_by.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "an operator".to_owned());
            let mut given = Vec::new();
            for device in devices {
                let id = fleet.command(&device, op.clone(), i64::from(minutes) * 60, &asked_by)?;
                given.push((device, id));
            }
            follow(fleet, given, wait, as_json)
        }
        Device::Commands { device, id: Some(id), out } => {
            let (device, id): (DeviceId, CommandId) = (device.parse()?, id.parse()?);
            let Some(path) = out else { return say_json(&fleet.command_record(&device, &id)?) };
            let bytes =
                fleet.write_collected(&device, &id, &path)?.context("not all of what it collects is here yet")?;
            say(format!("{bytes} bytes are in `{}`, compressed with zstd", path.display()))
        }
        Device::Commands { device, id: None, .. } => {
            let commands = fleet.commands(&device.parse()?)?;
            if as_json {
                return say_json(&commands);
            }
            commands.iter().try_for_each(|command| say(line(command)))
        }
        Device::Events { device } => {
            let events = fleet.events(&device.parse()?)?;
            if as_json {
                return say_json(&events);
            }
            events.iter().try_for_each(|event| say(format!("{}  {:<20} {}", event.at_s, event.kind, event.text)))
        }
        _ => bail!("this is no command about commands"),
    }
}

pub(super) fn chosen(fleet: &Fleet, named: &[String], all: bool) -> Result<Vec<DeviceId>> {
    match (named, all) {
        ([], true) => {
            let devices = fleet.devices()?;
            Ok(devices.into_iter().filter(|device| device.revoked_s.is_none()).map(|device| device.device).collect())
        }
        ([], false) => bail!("name the devices, or say `--all`"),
        (_, true) => bail!("name devices or say `--all`, not both"),
        (named, false) => Ok(named.iter().map(|name| name.parse()).collect::<Result<_, _>>()?),
    }
}

/// Says what was given, or with `wait` what came of it.
fn follow(fleet: &Fleet, given: Vec<(DeviceId, CommandId)>, wait: bool, as_json: bool) -> Result<()> {
    let mut records = Vec::new();
    let mut not_done = 0;
    for (device, id) in given {
        let mut record = fleet.command_record(&device, &id)?;
        while wait && !record.is_settled() && outpost_control::Clock::system().now_s() <= record.not_after_s + GRACE_S {
            std::thread::sleep(LOOK_EVERY);
            record = fleet.command_record(&device, &id)?;
        }
        not_done += usize::from(wait && record.state != Some(CommandState::Done));
        if !as_json {
            say(line(&record))?;
        }
        records.push(record);
    }
    if as_json {
        say_json(&records)?;
    }
    if not_done > 0 {
        bail!("{not_done} of {} devices did not do it", records.len());
    }
    Ok(())
}

/// One command on one line: which, for whom, by whom, how far.
fn line(record: &CommandRecord) -> String {
    let state = record.state.map_or("unanswered", CommandState::name);
    let text = record.answer.as_ref().map_or("", |answer| answer.text.as_str());
    format!(
        "{}  {:<20} {:<20} {state:<10} by {} {text}",
        record.id,
        record.device.as_str(),
        record.op.name(),
        record.asked_by
    )
}
