//! `outpost bundle import`: hands a stick to the running agent, or takes it in where none runs.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json};
use crate::app::import_alone;
use crate::args::Bundle;
use crate::client::Client;
use crate::config::Config;

/// Runs the command.
pub(super) async fn run(here: &Here, command: Bundle) -> Result<Outcome> {
    match command {
        Bundle::Import { directory } => import(here, &directory).await,
    }
}

async fn import(here: &Here, directory: &Path) -> Result<Outcome> {
    // The agent works in another directory than whoever asks.
    let found = directory.canonicalize().with_context(|| format!("cannot find `{}`", directory.display()))?;
    let client = Client::new(&here.state.socket());
    let imported = if client.is_up().await {
        let path =
            found.to_str().with_context(|| format!("`{}` is no text: mount the stick elsewhere", found.display()))?;
        let wish = json!({ "directory": path });
        client.request("POST", "/outpost/bundle/import", Some(&wish)).await.context("nothing changed")?
    } else {
        here.state.prepare()?;
        let config = Config::load_or_create(&here.state.config())?;
        Value::Object(import_alone(&here.state, &config, &found).await.context("nothing changed")?)
    };
    tell(here, &imported)
}

/// Accepted is not yet in force: what is missing then is said, and fails the command.
fn tell(here: &Here, imported: &Value) -> Result<Outcome> {
    if here.json {
        say_json(imported)?;
    }
    let version = &imported["version"];
    let text = |reason: &Value, name: &str| reason[name].as_str().unwrap_or_default().to_owned();
    let reasons = imported["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<_> = reasons
        .map(|reason| format!("{} ({}): {}", text(reason, "subject"), text(reason, "code"), text(reason, "detail")))
        .collect();
    if imported["applied_version"] != *version {
        bail!("version {version} is accepted, but not all of it is in force: {}", reasons.join("; "));
    }
    if !here.json {
        say(format!("version {version} is in force"))?;
        for reason in reasons {
            say(format!("  passed over: {reason}"))?;
        }
    }
    Ok(Outcome::Done)
}
