//! `kill -9` at random moments of an update: the next start gives an agent that answers and whose log verifies.
//!
//! `OUTPOST_KILLS=100 cargo e2e updates::kills` runs the long form.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_tests::builds::{Does, StandIn};
use outpost_tests::process::Process;
use serde_json::Value;

use super::site::Site;

/// An update of a second's trial is over by then.
const LONGEST: Duration = Duration::from_millis(3_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_is_killed_at_any_moment_leaves_a_working_agent() -> Result<()> {
    let kills: u32 = std::env::var("OUTPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let site = Site::new()?;
    let mut agent = start(&site)?;
    site.answers("before any update").await?;
    let mut ran = env!("CARGO_PKG_VERSION").to_owned();
    let mut met = BTreeMap::<&str, u32>::new();
    for round in 0..kills {
        let version = format!("0.{}.0", round + 2);
        let file = StandIn::make(site.folder(), &version, Does::Serves)?;
        let mut install = std::process::Command::new(&site.outpost);
        install.arg("--state").arg(site.state()).args(["update", "install"]).arg(&file);
        let mut install = Process::spawn(install.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
        tokio::time::sleep(moment(round)?).await;
        agent.kill();
        // Whoever asked is told that the agent is gone; it does not do it itself.
        install.kill();
        std::fs::remove_file(&file)?;

        let found: Value = serde_json::from_str(&site.say(&["--json", "update", "show"])?)?;
        *met.entry(place(&found, &version)).or_default() += 1;
        agent = start(&site)?;
        site.answers(&format!("after kill {round}")).await?;
        site.verifies()?;
        let is_settled = |standing: &Value| standing["trial"].is_null() && standing["running"]["on_trial"] == false;
        let standing = site.stands("the trial to end", is_settled).await?;
        let runs = standing["running"]["version"].as_str().context("it says its version")?.to_owned();
        ensure!(runs == ran || runs == version, "after {ran} and an update to {version}, {runs} runs");
        ensure!(standing["rolled_back"].is_null(), "one kill is no failed build: {standing}");
        let was_chosen = found["trial"].is_object() || found["confirmed"]["version"] == version.as_str();
        ensure!(!was_chosen || runs == version, "{version} was chosen, and {runs} runs: {found}");
        ran = runs;
    }
    site.verifies()?;
    writeln!(std::io::stderr(), "{kills} kills, met at: {met:?}; {ran} runs at the end")?;
    Ok(())
}

fn start(site: &Site) -> Result<Process> {
    let arguments = site.run();
    Process::start(&site.outpost, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A random moment; every other one lies in the first part, where bytes are copied and proven.
fn moment(round: u32) -> Result<Duration> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).context("no randomness")?;
    let longest = if round.is_multiple_of(2) { LONGEST / 5 } else { LONGEST };
    Ok(longest * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX))
}

/// Where in the update the kill came.
fn place(found: &Value, version: &str) -> &'static str {
    match (&found["trial"], &found["confirmed"]["version"]) {
        (_, confirmed) if confirmed == version => "confirmed",
        (Value::Null, _) => "not chosen yet",
        (trial, _) if trial["attempts"] == 0 => "chosen",
        _ => "on trial",
    }
}
