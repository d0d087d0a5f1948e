//! An installation that ends before any of the calls that change the disk: the next start gives an agent that answers.
//!
//! The short form ends it before a few of them; `OUTPOST_KILLS=100 cargo e2e updates::points` before each.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, ensure};
use outpost_tests::builds::{Does, StandIn};
use outpost_tests::process::Process;
use serde_json::Value;

use super::site::Site;

/// Calls by which a slot, its record and the audit log come onto the disk.
const CALLS: &str = "fsync,fdatasync,rename,unlink,ftruncate";

/// A whole installation makes fewer on each thread.
const MOST: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_ends_at_any_call_leaves_a_working_agent() -> Result<()> {
    let is_whole = std::env::var("OUTPOST_KILLS").is_ok();
    let folder = tempfile::tempdir()?;
    let build = StandIn::make(folder.path(), "0.2.0", Does::Serves)?;
    let (mut point, mut chosen_at) = (1, None);
    loop {
        ensure!(point < MOST, "the installation never ends");
        let site = Site::new()?;
        let ended = install(&site, &build, point)?;
        let found: Value = serde_json::from_str(&site.say(&["--json", "update", "show"])?)?;
        let is_chosen = found["trial"]["version"] == "0.2.0";
        ensure!(is_chosen || found["trial"].is_null(), "{found}");
        let version = if is_chosen { "0.2.0" } else { env!("CARGO_PKG_VERSION") };
        let words = site.run();
        let agent = Process::start(&site.outpost, &words.iter().map(String::as_str).collect::<Vec<_>>())?;
        site.answers(&format!("after an installation that ended at call {point}")).await?;
        let is_settled = |standing: &Value| standing["trial"].is_null() && standing["running"]["version"] == version;
        site.stands(&format!("{version} to run after call {point}"), is_settled).await?;
        site.verifies()?;
        drop(agent);
        if is_chosen && chosen_at.is_none() {
            chosen_at = Some(point);
        }
        if ended.success() {
            ensure!(is_chosen, "it said that it is done: {found}");
            break;
        }
        // Few calls are between two commits; the steps of the short form grow, so that its last is the end.
        point += if is_whole { 1 } else { point.max(3) };
    }
    ensure!(chosen_at.is_some(), "no build was ever chosen");
    Ok(())
}

/// Installs a build where no agent runs, and ends before any thread makes its so-manieth call.
fn install(site: &Site, build: &Path, point: usize) -> Result<ExitStatus> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CALLS}")]);
    command.args(["-e", &format!("inject={CALLS}:signal=SIGKILL:when={point}")]).arg(&site.outpost);
    command.arg("--state").arg(site.state()).args(["update", "install"]).arg(build);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.context("strace is not installed; `tests/run tools` installs it")
}
