//! `outpost model pull`: a model from the configured directories or from a hub, through the running agent or one of its own.

use std::io::Write;

use anyhow::{Context, Result, bail};
use outpost_serve::Progress;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::bar::Bar;
use super::store::open;
use super::{Here, say};
use crate::app::{Agent, Overrides};
use crate::client::Client;
use crate::config::Config;
use crate::models::hub::Wish;
use crate::models::sources;

/// Runs the command.
pub(super) async fn run(here: &Here, reference: &str, file: Option<&str>) -> Result<()> {
    let called = fetch(here, reference, file).await?;
    say(format!("`{called}` is here"))
}

/// Fetches a model, and gives the name that it can be asked for with.
pub(crate) async fn fetch(here: &Here, reference: &str, file: Option<&str>) -> Result<String> {
    let reference = match file {
        None => reference.to_owned(),
        Some(pattern) => match Wish::parse(reference)? {
            Some(wish) => format!("{wish}#{pattern}"),
            None => bail!("`--file` is for a hub's repository: write `hf:OWNER/REPO`, or a well-known model"),
        },
    };
    let client = here.client();
    if client.is_up().await {
        return through(&client, &reference).await;
    }
    here.state.prepare()?;
    let config = Config::load_or_create(&here.state.config())?;
    if let Some(found) = sources::find(&config.model.sources, &reference) {
        return from_directory(here, &found, &reference).await;
    }
    if Wish::parse(&reference)?.is_none() {
        bail!(
            "none of the directories in `model.sources` of outpost.toml has a model file `{reference}`, and it is no well-known \
             model; write `hf:OWNER/REPO` for one of a hub"
        );
    }
    // This command is its own agent for as long as it lasts: same policy, same records.
    let agent = idle(here, config).await?;
    let outcome = through(&client, &reference).await;
    agent.stop().await;
    outcome
}

/// An agent that answers on its socket and loads nothing.
async fn idle(here: &Here, mut config: Config) -> Result<Agent> {
    config.api.listen.clear();
    config.api.unix_socket = true;
    let overrides = Overrides { offline: true, idle: true, ..Overrides::default() };
    Agent::start(here.state.clone(), config, overrides).await
}

async fn through(client: &Client, reference: &str) -> Result<String> {
    let (mut bar, mut called) = (Bar::new("bytes"), reference.to_owned());
    client.post_lines("/api/pull", &json!({"model": reference}), |line| told(line, &mut bar, &mut called)).await?;
    Ok(called)
}

async fn from_directory(here: &Here, file: &std::path::Path, reference: &str) -> Result<String> {
    let mut bar = Bar::new("bytes");
    let (sender, mut progress) = mpsc::channel(16);
    let store = open(here)?;
    let telling = tokio::spawn(async move {
        while let Some(step) = progress.recv().await {
            if let Progress::Bytes { total, completed, .. } = step {
                bar.at(completed, total);
            }
        }
    });
    let imported = sources::import(&store, file, &sender).await;
    drop(sender);
    telling.await.context("telling how far it is was interrupted")?;
    imported.with_context(|| format!("`{}` is not imported", file.display()))?;
    Ok(reference.to_owned())
}

/// One line of the agent's.
fn told(line: &str, bar: &mut Bar, called: &mut String) -> Result<()> {
    let line: Value = serde_json::from_str(line).context("the agent sent a line that is not JSON")?;
    if let Some(error) = line["error"].as_str() {
        bail!("{error}");
    }
    if let Some(name) = line["model"].as_str() {
        name.clone_into(called);
        return Ok(());
    }
    if let (Some(completed), Some(total)) = (line["completed"].as_u64(), line["total"].as_u64()) {
        bar.at(completed, total);
    } else if let Some(step) = line["status"].as_str().filter(|step| *step != "success") {
        bar.wipe();
        // Talk that cannot be shown is no reason to stop the work.
        writeln!(std::io::stderr().lock(), "{step}").ok();
    }
    Ok(())
}
