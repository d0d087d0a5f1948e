//! `outpost status`: what the running agent does.

use anyhow::Result;
use serde_json::Value;

use super::{Here, Outcome, say, say_json};

/// Runs the command.
pub(super) async fn run(here: &Here) -> Result<Outcome> {
    let status = here.client().get("/outpost/status").await?;
    if here.json {
        say_json(&status)?;
        return Ok(Outcome::Done);
    }
    print("", &status)?;
    Ok(Outcome::Done)
}

/// One fact a line; what is nested gets its parent's name before its own.
fn print(prefix: &str, value: &Value) -> Result<()> {
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            Value::Object(_) => print(&format!("{prefix}{name}."), value)?,
            Value::String(text) => say(format!("{:<36} {text}", format!("{prefix}{name}")))?,
            Value::Null => {}
            other => say(format!("{:<36} {other}", format!("{prefix}{name}")))?,
        }
    }
    Ok(())
}
