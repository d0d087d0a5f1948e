//! `outpost-control bom …`: bills of materials, on standard output.

use anyhow::Result;
use outpost_contract::DeviceId;
use outpost_control::Config;

use super::{open, say_json};
use crate::args::Bom;

/// Runs the command.
pub(super) fn run(config: Config, command: &Bom) -> Result<()> {
    let fleet = open(config)?;
    match command {
        Bom::Device { device } => say_json(&fleet.bom_of_device(&device.parse::<DeviceId>()?)?),
        Bom::Fleet => say_json(&fleet.bom_of_fleet()?),
    }
}
