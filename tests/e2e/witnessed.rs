//! A log that others vouched for, as an auditor checks it: by a policy of witnesses, and by their clocks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::app::Agent;
use outpost_agent::keys;
use outpost_agent::state::StateDir;
use outpost_audit::verify::{Options, verify_with};
use outpost_audit::witness::Policy;
use outpost_audit::{AuditLog, BootInfo, Filter, Kind, Leaf, Record, reader};
use outpost_contract::DeviceId;
use outpost_control::MirrorSummary;
use outpost_disk::Clock;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{binary, eventually, free_port, output};
use serde_json::Value;

use crate::rollback::copy;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A fleet with one device whose log leaves the box.
pub(crate) struct Story {
    _folder: tempfile::TempDir,
    pub(crate) fleet: Fleet,
    pub(crate) state: StateDir,
}

impl Story {
    pub(crate) async fn begin() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let fleet = Fleet::start(folder.path()).await?;
        fleet.release_policy_only().await?;
        let device: DeviceId = "till-7".parse()?;
        let (state, _) = fleet.enrol(&device).await?;
        Ok(Self { _folder: folder, fleet, state })
    }

    /// Runs the agent until the whole of its newest log is cosigned and mirrored, as far as it was when it connected.
    pub(crate) async fn visit(&self) -> Result<MirrorSummary> {
        let agent = self.fleet.agent(&self.state).await?;
        let size = agent.audit().size();
        let summary = self.mirrored(size).await;
        let noted = tokio::time::timeout(PATIENCE, noted(&agent, size)).await;
        agent.stop().await;
        noted.context("what was cosigned is not in the log")??;
        summary
    }

    async fn mirrored(&self, size: u64) -> Result<MirrorSummary> {
        let arrived = async {
            loop {
                let mirrors = self.fleet.control.run(|fleet| fleet.audit_mirrors()).await?;
                let newest = mirrors.into_iter().next_back();
                if let Some(newest) = newest
                    && newest.mirrored >= size
                    && newest.cosigned >= size
                    && newest.origin == keys::log_identity(&self.state)?.origin
                {
                    return Ok(newest);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, arrived).await.with_context(|| format!("{size} records were not mirrored"))?
    }

    /// Writes records while nobody else does.
    pub(crate) fn work(&self, records: u32) -> Result<()> {
        let info = BootInfo { agent: "0.1.0".into(), device: "till-7".into(), clock: Clock::system() };
        let (log, _) = AuditLog::open(&self.state.audit(), keys::log_identity(&self.state)?, info)?;
        let appended: Vec<_> = (0..records).map(|_| log.append(Record::new(Kind::AdminAct))).collect();
        for appended in appended {
            appended.wait()?;
        }
        Ok(log.shutdown("worked")?)
    }

    pub(crate) fn leaves(&self) -> Result<Vec<Leaf>> {
        let entries = reader::list(&self.state.audit(), &Filter::default())?;
        entries.iter().map(|entry| entry.leaf().map_err(anyhow::Error::msg)).collect()
    }
}

/// Waits until the log itself holds what witness and mirror cosigned.
async fn noted(agent: &Agent, from: u64) -> Result<()> {
    let filter = Filter { from: Some(from), kinds: vec![Kind::Cosigned], ..Filter::default() };
    while agent.audit().find(&filter)?.len() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_checks_log_mirror_and_proof_by_the_witnesses_and_a_record_by_their_clocks() -> Result<()> {
    let story = Story::begin().await?;
    let began_s = Clock::system().now_s();
    // What the mirror signs it gets to keep with the next records.
    story.visit().await?;
    let kept = story.visit().await?;
    let device = kept.device.clone();
    let witnesses = story.fleet.control.run(move |fleet| fleet.audit_policy(&device)).await?;
    let policy_file = story.state.root().join("witnesses.policy");
    std::fs::write(&policy_file, &witnesses)?;
    let outpost = binary("outpost")?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is text");
    let (state, policy) = (text(story.state.root())?, text(&policy_file)?);
    let json = |arguments: &[&str]| -> Result<Value> {
        let told = output(&outpost, &[&["--json", "--state", &state], arguments].concat())?;
        Ok(serde_json::from_str(&told)?)
    };

    for directory in [text(&story.state.audit())?, text(&kept.directory)?] {
        let told = json(&["audit", "verify", &directory, "--policy", &policy])?;
        ensure!(told["vouched"]["size"].as_u64() >= Some(1), "{told}");
    }
    let proof = text(&story.state.root().join("0.tlog-proof"))?;
    json(&["audit", "prove", "0", "--out", &proof])?;
    // The two cosign when they see a head, not the same one: one of them is what a single proof can promise.
    std::fs::write(&policy_file, witnesses.replace(" all ", " any "))?;
    let told = json(&["audit", "verify", &proof, "--policy", &policy])?;
    ensure!(told["vouched"]["size"].as_u64() >= Some(1), "{told}");

    let when = json(&["audit", "when", "0"])?;
    ensure!(when["not_before"].is_null() && when["not_after"]["time_s"].as_i64() >= Some(began_s), "{when}");
    let last = (story.leaves()?.len() - 1).to_string();
    let when = json(&["audit", "when", &last, "--policy", &policy])?;
    ensure!(when["not_before"]["time_s"].as_i64() >= Some(began_s), "{when}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_control_plane_is_away_a_neighbour_vouches_and_notices_who_goes_back() -> Result<()> {
    let mut story = Story::begin().await?;
    story.visit().await?;
    let port = free_port()?;
    let serving = format!("[transfer]\nserve_peers = \"127.0.0.1:{port}\"\n");
    let (neighbour, _) = story.fleet.enrol(&"till-8".parse()?).await?;
    std::fs::write(neighbour.config(), serving)?;
    let asking = format!("[transfer]\npeers = [\"127.0.0.1:{port}\"]\n\n[audit]\nask_neighbours_after_s = 1\n");
    std::fs::write(story.state.config(), asking)?;
    story.fleet.stop().await;

    let beside = story.fleet.agent(&neighbour).await?;
    let outpost = binary("outpost")?;
    let key = output(&outpost, &["--state", neighbour.root().to_str().context("text")?, "audit", "witness-key"])?;
    let log = keys::verifier_key(&story.state)?;
    let policy = format!("log {log}\nwitness till-8 {}\nquorum till-8\n", key.trim());
    let options =
        || -> Result<Options> { Ok(Options { policy: Some(Policy::parse(policy.as_bytes())?), ..Options::default() }) };
    let vouched = |size: u64| -> Result<bool> {
        let report = verify_with(&story.state.audit(), &options()?)?;
        Ok(report.vouched.is_some_and(|vouched| vouched.size >= size))
    };

    let image = story.state.root().join("image");
    copy(&story.state.audit(), &image)?;
    let agent = story.fleet.agent(&story.state).await?;
    let size = agent.audit().size();
    let seen = || async { vouched(size).unwrap_or(false) };
    eventually("the neighbour to vouch for the log", PATIENCE, seen).await?;
    agent.stop().await;

    // An old image is put back, while nobody but the neighbour could know.
    copy(&image, &story.state.audit())?;
    let agent = story.fleet.agent(&story.state).await?;
    let filter = Filter { kinds: vec![Kind::SyncDivergence], ..Filter::default() };
    let found = || async { agent.audit().find(&filter).is_ok_and(|found| !found.is_empty()) };
    eventually("the neighbour to notice the old image", PATIENCE, found).await?;
    let reason = agent.audit().find(&filter)?[0].leaf().map_err(anyhow::Error::msg)?;
    let reason = reason.text("detail.reason").map(str::to_owned);
    // What it has written since may be fewer records than the neighbour knows of, or others.
    let known = ["neighbour_device_rollback", "neighbour_fork"];
    ensure!(reason.as_deref().is_some_and(|reason| known.contains(&reason)), "{reason:?}");
    agent.stop().await;
    beside.stop().await;
    Ok(())
}
