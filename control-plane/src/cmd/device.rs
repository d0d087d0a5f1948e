//! `outpost-control device …`: enrolment, inventory, assignment, revocation.

use anyhow::{Context, Result};
use outpost_contract::{DeviceId, ModelId};
use outpost_control::{Assignment, Config, DeviceSummary};
use serde_json::{Value, json};

use super::{enrolment, open, say, say_json};
use crate::args::Device;

/// Runs the command.
pub(super) fn run(config: Config, command: Device, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    match command {
        Device::Code { device, minutes } => {
            let code = fleet.create_code(&id(&device)?, i64::from(minutes) * 60)?;
            if as_json {
                return say_json(&json!({"device": device, "code": code, "valid_minutes": minutes}));
            }
            say(code)
        }
        Device::Codes { .. }
        | Device::Allow { .. }
        | Device::Requests
        | Device::Accept { .. }
        | Device::Reject { .. } => enrolment::run(&fleet, command, as_json),
        Device::Ls => {
            let devices = fleet.devices()?;
            if as_json {
                return say_json(&devices.iter().map(to_json).collect::<Vec<_>>());
            }
            devices.iter().try_for_each(|device| say(line(device)))
        }
        Device::Show { device } => say_json(&to_json(&fleet.device(&id(&device)?)?)),
        Device::Assign { devices, all, model, minimum_context } => {
            let model = model.map(|model| model.parse::<ModelId>()).transpose().context("`--model`")?;
            let assignment = Assignment { model, minimum_context_tokens: minimum_context };
            let devices = super::command::chosen(&fleet, &devices, all)?;
            let versions = fleet.assign_all(&devices, &assignment)?;
            let told = devices.iter().zip(versions);
            if as_json {
                let mut told: Vec<_> =
                    told.map(|(device, version)| json!({"device": device, "desired_version": version})).collect();
                return match (all, told.len()) {
                    (false, 1) => say_json(&told.remove(0)),
                    _ => say_json(&told),
                };
            }
            told.into_iter()
                .try_for_each(|(device, version)| say(format!("desired state {version} is signed for `{device}`")))
        }
        Device::Site { device, site } => {
            fleet.set_site(&id(&device)?, site.as_deref())?;
            if as_json {
                return say_json(&json!({"device": device, "site": site}));
            }
            say(match site {
                Some(site) => format!("`{device}` is at `{site}`"),
                None => format!("`{device}` is at no site"),
            })
        }
        command @ (Device::Command { .. } | Device::Commands { .. } | Device::Events { .. }) => {
            super::command::run(&fleet, command, as_json)
        }
        Device::Revoke { device } => {
            fleet.revoke(&id(&device)?)?;
            say(format!("`{device}` is revoked"))
        }
    }
}

pub(super) fn id(text: &str) -> Result<DeviceId> {
    Ok(text.parse()?)
}

fn to_json(device: &DeviceSummary) -> Value {
    json!({
        "device": device.device,
        "enrolled_s": device.enrolled_s,
        "revoked_s": device.revoked_s,
        "agent": device.agent,
        "online": device.online,
        "seen_s": device.seen_s,
        "desired_version": device.desired_version,
        "assignment": device.assignment,
        "reported": device.reported,
        "audit_key": device.audit_key,
        "site": device.site,
        "stick_s": device.stick_s,
    })
}

/// One device on one line: connected, what it runs, how far it is, why not further.
fn line(device: &DeviceSummary) -> String {
    let presence = match (device.revoked_s, device.online) {
        (Some(_), _) => "revoked",
        (None, true) => "online",
        (None, false) => "offline",
    };
    let (mut runs, mut applied, mut reasons) = ("nothing".to_owned(), 0, String::new());
    if let Some(reported) = &device.reported {
        applied = reported.applied_version;
        if let Some(model) = &reported.model {
            runs = model.target.to_string();
        }
        reasons = reported.reasons.iter().map(|reason| reason.detail.as_str()).collect::<Vec<_>>().join("; ");
        if let Some(transfer) = &reported.transfer {
            reasons = format!("{} {transfer} {reasons}", transfer.target);
        }
        if reported.link.dead_letters > 0 {
            reasons = format!("ALARM: {} messages were given up; {reasons}", reported.link.dead_letters);
        }
    }
    let site = device.site.as_deref().unwrap_or("-");
    format!(
        "{:<20} {site:<12} {presence:<8} {runs:<36} {applied}/{} {reasons}",
        device.device.as_str(),
        device.desired_version
    )
}
