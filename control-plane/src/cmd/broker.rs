//! `outpost-control broker …`: files for a broker that is not ours.

use anyhow::Result;
use outpost_control::Config;
use serde_json::json;

use super::{open, say, say_json};
use crate::args::Broker;

/// Runs the command.
pub(super) fn run(config: Config, command: &Broker, as_json: bool) -> Result<()> {
    let Broker::Config { mosquitto } = command;
    let files = open(config)?.write_mosquitto(mosquitto)?;
    let (settings, list) = (files.settings.display(), files.revocation_list.display());
    if as_json {
        return say_json(&json!({"settings": files.settings, "revocation_list": files.revocation_list}));
    }
    say(format!(
        "start it with: mosquitto -c {settings}\nthe key must be readable for Mosquitto's user, and `outpost-control.toml` must \
         say: revocation_list = \"{list}\""
    ))
}
