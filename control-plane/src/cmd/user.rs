//! `outpost-control user …`: tokens for people and services.

use anyhow::Result;
use outpost_control::Config;
use serde_json::json;

use super::{open, say, say_json};
use crate::args::User;

/// Runs the command.
pub(super) fn run(config: Config, command: User, as_json: bool) -> Result<()> {
    let User::Token { name, roles, hours } = command;
    let token = open(config)?.issue_token(&name, &roles, i64::from(hours) * 3600)?;
    if as_json {
        return say_json(&json!({"name": name, "roles": roles, "token": token, "valid_hours": hours}));
    }
    say(token)
}
