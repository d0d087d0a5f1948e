//! `outpost status`: what the running agent does.

use anyhow::Result;

use super::{Here, Outcome, say, say_json};
use crate::client::Client;

/// Runs the command.
pub(super) async fn run(here: &Here) -> Result<Outcome> {
    let status = Client::new(&here.state.socket()).get("/outpost/status").await?;
    if here.json {
        say_json(&status)?;
        return Ok(Outcome::Done);
    }
    for (name, value) in status.as_object().into_iter().flatten() {
        match value {
            serde_json::Value::String(text) => say(format!("{name:<18} {text}"))?,
            other => say(format!("{name:<18} {other}"))?,
        }
    }
    Ok(Outcome::Done)
}
