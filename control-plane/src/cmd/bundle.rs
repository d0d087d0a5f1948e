//! `outpost-control bundle …`: sticks for boxes without a network.

use std::path::Path;

use anyhow::{Result, ensure};
use outpost_control::{BroughtHome, BundleRequest, Config, Fleet};
use serde_json::json;

use super::backup::at;
use super::{on_record, open, say, say_json};
use crate::args::Bundle;

/// Runs the command.
pub(super) fn run(config: Config, command: Bundle, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    match command {
        Bundle::Export { directory, devices, without_models } => {
            let devices = devices.iter().map(|device| device.parse()).collect::<Result<_, _>>()?;
            let summary = fleet.export_bundle(&directory, &BundleRequest { devices, without_models })?;
            if as_json {
                return say_json(&summary);
            }
            for (device, version) in &summary.desired {
                say(format!("desired state {version} for `{device}`"))?;
            }
            say(format!(
                "`{}` is complete: {} bytes copied, {} were there before",
                directory.display(),
                summary.copied_bytes,
                summary.present_bytes
            ))
        }
        Bundle::Import { directory } => import(&fleet, &directory, as_json),
    }
}

/// What one device's part is worth does not keep the others from being taken in.
fn import(fleet: &Fleet, directory: &Path, as_json: bool) -> Result<()> {
    let outcomes = fleet.import_home(&on_record::user(), directory)?;
    let refused: Vec<_> = outcomes
        .iter()
        .filter_map(|(device, outcome)| outcome.as_ref().err().map(|error| format!("`{device}`: {error}")))
        .collect();
    let brought: Vec<_> = outcomes.into_iter().filter_map(|(_, outcome)| outcome.ok()).collect();
    if as_json {
        say_json(&json!({ "brought": brought, "refused": refused }))?;
    } else {
        for BroughtHome { device, mirrored, letters, stored, newer_made_at_s } in brought {
            let newer = newer_made_at_s.map(|at_s| format!("; a newer stick, of {}, was taken in before", at(at_s)));
            say(format!(
                "`{device}`: {mirrored} audit records are mirrored, {stored} of {letters} messages are stored{}",
                newer.unwrap_or_default()
            ))?;
        }
    }
    ensure!(refused.is_empty(), "not taken in: {}", refused.join("; "));
    Ok(())
}
