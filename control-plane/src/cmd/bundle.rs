//! `outpost-control bundle …`: sticks for boxes without a network.

use anyhow::Result;
use outpost_control::{BundleRequest, Config};

use super::{open, say, say_json};
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
    }
}
