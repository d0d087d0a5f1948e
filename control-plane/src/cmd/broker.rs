//! `outpost-control broker …`: files for a broker that is not ours.

use anyhow::Result;
use outpost_control::Config;
use outpost_control::broker::Dialect;
use serde_json::json;

use super::{open, say, say_json};
use crate::args::{Broker, BrokerName};

/// Runs the command.
pub(super) fn run(config: Config, command: &Broker, as_json: bool) -> Result<()> {
    let mosquitto = match command {
        Broker::Config { mosquitto } => mosquitto,
        Broker::Rules { dialect } => {
            let dialect = match dialect {
                BrokerName::Mosquitto => Dialect::Mosquitto,
                BrokerName::Emqx => Dialect::Emqx,
            };
            let rules = open(config)?.broker_rules(dialect);
            return if as_json { say_json(&json!({"rules": rules})) } else { say(rules.trim_end()) };
        }
    };
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
