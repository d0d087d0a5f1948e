//! The agent updates itself: a newer build is tried and kept, a broken one is not, and nobody has to be there for it.
//!
//! The builds are stand-ins (`tests/stand_in`): they say a version of their own and then are the real agent, or are broken.

mod kills;
mod points;
mod site;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use outpost_agent::client::Client;
use outpost_tests::builds::{Does, StandIn};
use outpost_tests::process::Process;
use serde_json::Value;

use site::{Kept, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_build_is_kept_and_after_a_broken_one_the_agent_is_back_by_itself() -> Result<()> {
    let site = Site::new()?;
    let kept = Kept::start(&site)?;
    site.answers("before any update").await?;
    let standing = site.standing().await.context("it runs")?;
    ensure!(standing["running"]["source"] == "packaged", "{standing}");

    let next = StandIn::make(site.folder(), "0.2.0", Does::Serves)?;
    let said = install(&site, &next)?;
    ensure!(said.contains("version 0.2.0 is on trial"), "{said}");
    // Callers wait in the supervisor's socket while it starts again.
    Client::new(&kept.socket).get("/outpost/status").await.context("who waits in the socket is forgotten")?;
    site.stands("0.2.0 to be confirmed", |standing| standing["confirmed"]["version"] == "0.2.0").await?;
    let standing = site.stands("0.2.0 to run", |standing| runs(standing, "0.2.0")).await?;
    ensure!(standing["running"]["packaged"] == env!("CARGO_PKG_VERSION"), "{standing}");
    site.answers("from 0.2.0").await?;

    let broken = [
        ("0.3.0", Does::Crashes, "it ended 2 times before it was healthy"),
        ("0.3.1", Does::LosesTheModel, "the model that served before does not serve"),
        ("0.3.2", Does::Hangs, "it ended 2 times before it was healthy"),
    ];
    for (version, does, reason) in broken {
        let file = StandIn::make(site.folder(), version, does)?;
        install(&site, &file)?;
        let is_back = |standing: &Value| runs(standing, "0.2.0") && standing["rolled_back"]["version"] == version;
        let standing = site.stands(&format!("{version} to be rolled back"), is_back).await?;
        let told = standing["rolled_back"]["reason"].as_str().unwrap_or_default();
        ensure!(told.contains(reason), "{version}: {told}");
        site.answers(&format!("after {version}")).await?;
        // The same bytes are not tried again.
        let again = refusal(&site, &file)?;
        ensure!(again.contains("rolled_back") && again.contains(told), "{again}");
    }

    let client = Client::new(&site.state().join("outpost.sock"));
    let page = client.get_text("/metrics", None).await?;
    let builds: Vec<_> = page.lines().filter(|line| line.starts_with("outpost_build_info{")).collect();
    ensure!(
        builds.len() == 1 && builds[0].contains(r#"version="0.2.0""#) && builds[0].contains(r#"source="slot""#),
        "{builds:?}"
    );
    let shown = site.say(&["update", "show"])?;
    ensure!(shown.contains("runs         0.2.0") && shown.contains("rolled back  0.3.2"), "{shown}");

    drop(kept);
    site.verifies()?;
    let versions = |kind: &str| -> Result<Vec<String>> {
        let records = site.records(kind)?;
        Ok(records.iter().map(|record| record["detail"]["version"].as_str().unwrap_or_default().to_owned()).collect())
    };
    ensure!(sorted(versions("update.staged")?) == ["0.2.0", "0.3.0", "0.3.1", "0.3.2"]);
    ensure!(sorted(versions("update.confirmed")?) == ["0.2.0"]);
    ensure!(sorted(versions("update.rolled_back")?) == ["0.3.0", "0.3.1", "0.3.2"]);
    // What crashes or hangs at once leaves no record of its own start.
    ensure!(sorted(versions("update.started")?) == ["0.2.0", "0.3.1", "0.3.1"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_is_not_for_this_box_is_refused_with_the_reason_and_what_runs_goes_on() -> Result<()> {
    let site = Site::new()?;
    let _kept = Kept::start(&site)?;
    site.answers("before any update").await?;
    let good = StandIn::make(site.folder(), "0.2.0", Does::Serves)?;
    let bytes = std::fs::read(&good)?;
    let changed = |name: &str, bytes: &[u8]| {
        let file = site.folder().join(name);
        std::fs::write(&file, bytes).map(|()| file)
    };
    let mut foreign = bytes.clone();
    // The machine of an ELF header: one that nobody builds for.
    foreign[18..20].copy_from_slice(&8_u16.to_le_bytes());
    let cases = [
        (changed("foreign", &foreign)?, "wrong_architecture", "wrong architecture: it is a build for"),
        (changed("half", &bytes[..bytes.len() / 2])?, "self_check_failed", "did not pass its self-check"),
        (changed("words", b"#!/bin/sh\nexit 0\n# and a few more words\n")?, "no_program", "no program for Linux"),
        (
            StandIn::make(site.folder(), "0.3.0", Does::NeedsAnotherProcessor)?,
            "lacks_kernel",
            "a kernel that this processor lacks",
        ),
        (StandIn::make(site.folder(), "0.3.1", Does::Miscounts)?, "self_check_failed", "gives other products"),
        (StandIn::make(site.folder(), "0.0.1", Does::Serves)?, "not_newer", "is not newer than the packaged program"),
    ];
    for (file, code, words) in &cases {
        let told = refusal(&site, file)?;
        ensure!(told.contains(code) && told.contains(words), "{}: {told}", file.display());
    }
    site.answers("after all of them").await?;
    let standing = site.standing().await.context("it runs")?;
    ensure!(standing["running"]["source"] == "packaged" && standing["trial"].is_null(), "{standing}");
    let codes: Vec<_> = site.records("update.refused")?.iter().map(|record| record["detail"]["code"].clone()).collect();
    ensure!(codes.len() == cases.len(), "{codes:?}");
    site.verifies()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_without_room_for_a_second_slot_says_how_much_is_missing_and_serves_on() -> Result<()> {
    let site = Site::new()?;
    let slots = site.state().join("builds");
    std::fs::create_dir(&slots)?;
    // A disk of their own, in a namespace that the agent alone is in: smaller than what stays free beside a build.
    let small_disk = r#"mount -t tmpfs -o size=16m,mode=700 slots "$0" && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", small_disk]).arg(&slots);
    command.arg(&site.outpost).args(site.run()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let agent = Process::spawn(&mut command)?;
    site.answers("before any update").await?;
    let next = StandIn::make(site.folder(), "0.2.0", Does::Serves)?;
    let needed = std::fs::metadata(&next)?.len() + (32 << 20);
    let told = refusal(&site, &next)?;
    ensure!(
        told.contains("no_room") && told.contains(&format!("no room for the second slot: {needed} bytes")),
        "{told}"
    );
    site.answers("after it").await?;
    let standing = site.standing().await.context("it runs")?;
    ensure!(standing["running"]["source"] == "packaged" && standing["trial"].is_null(), "{standing}");
    drop(agent);
    let refused = site.records("update.refused")?;
    ensure!(refused.len() == 1 && refused[0]["detail"]["code"] == "no_room", "{refused:?}");
    site.verifies()
}

#[test]
fn a_state_of_a_newer_agent_is_refused_and_left_as_it_is() -> Result<()> {
    let site = Site::new()?;
    let before = files(&site)?;
    std::fs::write(site.state().join("format"), "3 0.9.0\n")?;
    let run: Vec<String> = site.run();
    let refused = site.try_to(&run[2..].iter().map(String::as_str).collect::<Vec<_>>())?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && told.contains("was written by outpost 0.9.0 (format 3)"), "{told}");
    ensure!(told.contains("install 0.9.0 or newer, or start with another state directory"), "{told}");
    std::fs::remove_file(site.state().join("format"))?;
    ensure!(files(&site)? == before, "something was touched");
    Ok(())
}

/// Every file of the state with its content.
fn files(site: &Site) -> Result<Vec<(std::path::PathBuf, Vec<u8>)>> {
    let (mut left, mut found) = (vec![site.state()], Vec::new());
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push((path.clone(), std::fs::read(path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn runs(standing: &Value, version: &str) -> bool {
    let running = &standing["running"];
    running["version"] == version && running["on_trial"] == false && standing["trial"].is_null()
}

fn install(site: &Site, file: &std::path::Path) -> Result<String> {
    site.say(&["update", "install", file.to_str().context("the path is UTF-8")?])
}

/// What whoever wants a build installed is told where it is not taken.
fn refusal(site: &Site, file: &std::path::Path) -> Result<String> {
    let refused = site.try_to(&["update", "install", file.to_str().context("the path is UTF-8")?])?;
    ensure!(!refused.status.success(), "`{}` was taken", file.display());
    Ok(String::from_utf8_lossy(&refused.stderr).into_owned())
}

fn sorted(mut versions: Vec<String>) -> Vec<String> {
    versions.sort();
    versions
}
