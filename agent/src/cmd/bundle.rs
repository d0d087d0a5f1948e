//! `outpost bundle …`: hands a stick to the running agent, to take it in or to write it; does it itself where none runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json};
use crate::app::{export_alone, import_alone};
use crate::args::Bundle;
use crate::config::Config;

/// Runs the command.
pub(super) async fn run(here: &Here, command: Bundle) -> Result<Outcome> {
    match command {
        Bundle::Import { directory } => import(here, &directory).await,
        Bundle::Export { directory, from } => export(here, &directory, from).await,
    }
}

async fn import(here: &Here, directory: &Path) -> Result<Outcome> {
    let found = find(directory)?;
    let client = here.client();
    let imported = if client.is_up().await {
        let wish = json!({ "directory": as_text(&found)? });
        client.request("POST", "/outpost/bundle/import", Some(&wish)).await.context("nothing changed")?
    } else {
        here.state.prepare()?;
        let config = Config::load_or_create(&here.state.config())?;
        Value::Object(import_alone(&here.state, &config, &found).await.context("nothing changed")?)
    };
    tell(here, &imported)
}

async fn export(here: &Here, directory: &Path, from: Option<u64>) -> Result<Outcome> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create `{}`", directory.display()))?;
    let found = find(directory)?;
    let client = here.client();
    let sent = if client.is_up().await {
        let wish = json!({ "directory": as_text(&found)?, "from": from });
        client.request("POST", "/outpost/bundle/export", Some(&wish)).await.context("nothing is finished")?
    } else {
        here.state.prepare()?;
        let config = Config::load_or_create(&here.state.config())?;
        export_alone(&here.state, &config, &found, from).await.context("nothing is finished")?
    };
    if here.json {
        say_json(&sent)?;
    } else {
        say(format!(
            "audit records {} to {} and {} messages are in `{}`",
            sent["first_record"],
            sent["records"],
            sent["letters"],
            directory.display()
        ))?;
        if sent["complete"] == false {
            say("the stick is full: import it, bring the answer here, and export again for the rest")?;
        }
    }
    Ok(Outcome::Done)
}

/// The agent works in another directory than whoever asks.
fn find(directory: &Path) -> Result<PathBuf> {
    directory.canonicalize().with_context(|| format!("cannot find `{}`", directory.display()))
}

fn as_text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is no text: mount the stick elsewhere", path.display()))
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
        let answer = &imported["answer"];
        if answer.is_object() {
            say(format!("  the control plane has {} messages of this box", answer["stored"]))?;
            if let Some(records) = answer["cosigned"].as_u64() {
                say(format!("  and vouches for the first {records} records of its audit log"))?;
            }
        }
    }
    if let Some(refused) = imported["answer_refused"].as_str() {
        bail!("version {version} is in force, but {refused}");
    }
    Ok(Outcome::Done)
}
