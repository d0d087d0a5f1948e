//! `outpost update …`: hands a build to the running agent, which tries it; where none runs, the next start does.

use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_disk::{Clock, StateLock};
use outpost_update::{Before, Builds};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json};
use crate::args::Update;
use crate::config::Config;
use crate::updates;

/// Runs the command.
pub(super) async fn run(here: &Here, command: Update) -> Result<Outcome> {
    match command {
        Update::Install { file, again } => install(here, &file, again).await,
        Update::Show => show(here).await,
    }
}

async fn install(here: &Here, file: &Path, again: bool) -> Result<Outcome> {
    let file = file.canonicalize().with_context(|| format!("cannot find `{}`", file.display()))?;
    let client = here.client();
    let is_up = client.is_up().await;
    let staged = if is_up {
        let path = file.to_str().with_context(|| format!("`{}` is no text: move it elsewhere", file.display()))?;
        let wish = json!({ "file": path, "again": again });
        client.request("POST", "/outpost/update", Some(&wish)).await.context("what runs goes on")?
    } else {
        install_alone(here, &file, again).context("nothing changed")?
    };
    if here.json {
        say_json(&staged)?;
        return Ok(Outcome::Done);
    }
    let version = staged["version"].as_str().unwrap_or_default();
    let when = if is_up { "the agent starts again with it now" } else { "the next `outpost run` starts it" };
    say(format!("version {version} is on trial: {when}, and it is kept if it proves healthy"))?;
    Ok(Outcome::Done)
}

/// On a state directory without an agent.
fn install_alone(here: &Here, file: &Path, again: bool) -> Result<Value> {
    here.state.prepare()?;
    let config = Config::load_or_create(&here.state.config())?;
    let lock = StateLock::acquire(here.state.root()).context("an agent is starting on this directory")?;
    let builds = Builds::at(here.state.root()).trying_for(config.update.trial_seconds);
    let (candidate, opened) = updates::candidate(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    if again {
        builds.forgive(candidate.sha256)?;
    }
    let clock = Clock::open(here.state.ledgers())?;
    match builds.stage(&candidate, Before::default(), opened) {
        Ok(staged) => {
            if let Err(error) = here.record_alone(&lock, &clock, updates::staged_record(&staged)) {
                builds.withdraw()?;
                return Err(error);
            }
            Ok(Value::Object(updates::facts(&staged)))
        }
        Err(refused) => {
            if let Some(record) = updates::refused_record(&candidate, &refused) {
                here.record_alone(&lock, &clock, record)?;
            }
            bail!("{refused} (code `{}`)", refused.code())
        }
    }
}

async fn show(here: &Here) -> Result<Outcome> {
    let client = here.client();
    let is_up = client.is_up().await;
    let standing = if is_up {
        client.get("/outpost/status").await?["agent"]["build"].clone()
    } else {
        updates::standing(&Builds::at(here.state.root()))
    };
    if here.json {
        say_json(&standing)?;
        return Ok(Outcome::Done);
    }
    if let Some(error) = standing["error"].as_str() {
        bail!("{error}");
    }
    let named = |build: &Value| {
        let digest = build["sha256"].as_str().map(|digest| format!("  sha256 {digest}")).unwrap_or_default();
        format!("{} ({}){digest}", text(build, "version"), text(build, "target"))
    };
    let (running, confirmed, trial, back) =
        (&standing["running"], &standing["confirmed"], &standing["trial"], &standing["rolled_back"]);
    if is_up {
        let from = if running["source"] == "slot" { "a slot" } else { "the package" };
        let trial = if running["on_trial"] == true { ", on trial" } else { "" };
        say(format!("runs         {}, from {from}{trial}", named(running)))?;
    } else {
        say("runs         nothing")?;
    }
    say(format!("packaged     {}", text(running, "packaged")))?;
    if confirmed.is_object() {
        say(format!("confirmed    {}", named(confirmed)))?;
    }
    if trial.is_object() {
        say(format!("on trial     {}, {} starts so far", named(trial), trial["attempts"]))?;
    }
    if back.is_object() {
        say(format!("rolled back  {}: {}", named(back), text(back, "reason")))?;
    }
    for note in standing["passed_over"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        say(format!("passed over  {note}"))?;
    }
    Ok(Outcome::Done)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("unknown")
}
