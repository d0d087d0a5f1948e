//! `outpost-control device codes|allow|requests|accept|reject`: who may enrol, besides the bearer of a single code.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use outpost_contract::{DeviceId, Fingerprint};
use outpost_control::{EnrolmentRequest, Fleet, parse_keys, parse_names};
use serde_json::json;

use super::device::id;
use super::{say, say_json};
use crate::args::Device;

/// Largest list that is read: 16 MiB.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// Runs the command.
pub(super) fn run(fleet: &Fleet, command: Device, as_json: bool) -> Result<()> {
    match command {
        Device::Codes { file, minutes } => codes(fleet, &read(&file)?, minutes, as_json),
        Device::Allow { device: Some(device), key_sha256: Some(key), .. } => {
            allow(fleet, &[(id(&device)?, key.parse()?)], as_json)
        }
        Device::Allow { file: Some(file), .. } => allow(fleet, &parse_keys(&read(&file)?)?, as_json),
        Device::Accept { fingerprint, name } => {
            fleet.accept_request(&fingerprint.parse()?, &id(&name)?)?;
            done(as_json, "accepted", &name, "gets its certificate the next time it asks")
        }
        Device::Reject { fingerprint } => {
            let fingerprint: Fingerprint = fingerprint.parse()?;
            fleet.reject_request(&fingerprint)?;
            done(as_json, "rejected", &fingerprint.to_string(), "is turned away from now on")
        }
        _ => requests(&fleet.enrol_requests()?, as_json),
    }
}

fn codes(fleet: &Fleet, list: &str, minutes: u32, as_json: bool) -> Result<()> {
    let devices = parse_names(list)?;
    let codes = fleet.create_codes(&devices, i64::from(minutes) * 60)?;
    let mut made = devices.iter().zip(&codes);
    if as_json {
        let made = made.map(|(device, code)| json!({"device": device, "code": code, "valid_minutes": minutes}));
        return say_json(&made.collect::<Vec<_>>());
    }
    made.try_for_each(|(device, code)| say(format!("{device} {code}")))
}

fn allow(fleet: &Fleet, keys: &[(DeviceId, Fingerprint)], as_json: bool) -> Result<()> {
    fleet.allow_keys(keys)?;
    if as_json {
        let keys = keys.iter().map(|(device, key)| json!({"device": device, "fingerprint": key}));
        return say_json(&keys.collect::<Vec<_>>());
    }
    keys.iter().try_for_each(|(device, key)| say(format!("{key} may enrol as `{device}`")))
}

fn requests(requests: &[EnrolmentRequest], as_json: bool) -> Result<()> {
    if as_json {
        return say_json(&requests);
    }
    requests.iter().try_for_each(|request| {
        let EnrolmentRequest { fingerprint, address, agent, first_s, seen_s, .. } = request;
        let decided = if request.rejected_s.is_some() { "rejected" } else { "waiting" };
        let (wished, agent) = (shown(&request.wished_name), shown(agent));
        say(format!(
            "{fingerprint}\n    {decided}, wishes to be `{wished}`, from {address}, agent {agent}, first asked {}, last {}",
            time(*first_s),
            time(*seen_s)
        ))
    })
}

/// A stranger's words, fit for a terminal.
fn shown(text: &str) -> String {
    text.chars().take(64).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn done(as_json: bool, verdict: &str, whom: &str, what_follows: &str) -> Result<()> {
    if as_json {
        return say_json(&json!({ verdict: whom }));
    }
    say(format!("`{whom}` {what_follows}"))
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?),
    };
    let read = input.take(MOST_BYTES + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read `{}`", path.display()))?;
    ensure!(text.len() as u64 <= MOST_BYTES, "`{}` is larger than 16 MiB; split it", path.display());
    Ok(text)
}
