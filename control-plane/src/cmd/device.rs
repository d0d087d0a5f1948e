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
        Device::Ls { selector } => super::inventory::list(&fleet, selector.as_deref(), as_json),
        Device::Label { device, labels, remove } => {
            super::inventory::label(&fleet, &id(&device)?, &labels, &remove, as_json)
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

pub(super) fn to_json(device: &DeviceSummary) -> Value {
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
