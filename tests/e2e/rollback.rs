//! Somebody restores an old image: of a device, or of the control plane. Both are found out, and nothing is lost.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::app::Agent;
use outpost_agent::keys;
use outpost_agent::state::StateDir;
use outpost_audit::verify::verify;
use outpost_audit::{AuditLog, BootInfo, Filter, Kind, Leaf, Record, reader};
use outpost_contract::DeviceId;
use outpost_control::MirrorSummary;
use outpost_disk::Clock;
use outpost_tests::fleet::Fleet;

const PATIENCE: Duration = Duration::from_secs(60);

struct Story {
    _folder: tempfile::TempDir,
    fleet: Fleet,
    state: StateDir,
}

impl Story {
    async fn begin() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let fleet = Fleet::start(folder.path()).await?;
        fleet.release_policy_only().await?;
        let device: DeviceId = "till-7".parse()?;
        let (state, _) = fleet.enrol(&device).await?;
        Ok(Self { _folder: folder, fleet, state })
    }

    /// Runs the agent until the whole of its newest log is cosigned and mirrored, as far as it was when it connected.
    async fn visit(&self) -> Result<MirrorSummary> {
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
    fn work(&self, records: u32) -> Result<()> {
        let info = BootInfo { agent: "0.1.0".into(), device: "till-7".into(), clock: Clock::system() };
        let (log, _) = AuditLog::open(&self.state.audit(), keys::log_identity(&self.state)?, info)?;
        let appended: Vec<_> = (0..records).map(|_| log.append(Record::new(Kind::AdminAct))).collect();
        for appended in appended {
            appended.wait()?;
        }
        Ok(log.shutdown("worked")?)
    }

    fn leaves(&self) -> Result<Vec<Leaf>> {
        let entries = reader::list(&self.state.audit(), &Filter::default())?;
        entries.iter().map(|entry| entry.leaf().map_err(anyhow::Error::msg)).collect()
    }

    /// The agent notices that its log must not go on, and begins another.
    async fn begins_another_log(&self, reason: &str) -> Result<()> {
        let agent = self.fleet.agent(&self.state).await?;
        ended(&agent).await?;
        agent.stop().await;
        let old = verify(&self.state.audit())?;
        let kept = self.visit().await?;
        let aside = self.state.ended_audit().join(old.origin.rsplit('/').next().context("a number")?);
        ensure!(verify(&aside)?.root_hex == old.root_hex, "the old log is not kept as it was");
        ensure!(kept.origin.ends_with("/2"), "the new log is `{}`", kept.origin);
        let leaves = self.leaves()?;
        let says = leaves.iter().find(|leaf| leaf.text("act") == Some("audit.succeed")).context("no succession")?;
        ensure!(says.text("detail.reason") == Some(reason), "{:?}", says.text("detail.reason"));
        ensure!(says.text("detail.previous") == Some(&old.origin), "{:?}", says.text("detail.previous"));
        ensure!(says.integer("detail.last_size").is_some(), "the last head that was vouched for is not named");
        ensure!(verify(&self.state.audit())?.is_ok() && verify(&kept.directory)?.is_ok());
        Ok(())
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

async fn ended(agent: &Agent) -> Result<()> {
    tokio::time::timeout(PATIENCE, agent.log_ended()).await.context("the old image was not noticed")?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_set_back_begins_a_new_log_and_keeps_the_old_one() -> Result<()> {
    let story = Story::begin().await?;
    story.visit().await?;
    let image = story.fleet.control.config().state_dir.join("../image");
    copy(&story.state.audit(), &image)?;
    story.work(200)?;
    let before = story.visit().await?;
    copy(&image, &story.state.audit())?;
    story.begins_another_log("device_rollback").await?;
    let mirrors = story.fleet.control.run(|fleet| fleet.audit_mirrors()).await?;
    ensure!(mirrors.len() == 2, "{mirrors:?}");
    ensure!(mirrors[0].mirrored >= before.mirrored && verify(&mirrors[0].directory)?.is_ok(), "the first log is whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_set_back_and_went_on_alone_is_convicted_of_two_pasts() -> Result<()> {
    let story = Story::begin().await?;
    story.visit().await?;
    let image = story.fleet.control.config().state_dir.join("../image");
    copy(&story.state.audit(), &image)?;
    story.work(20)?;
    story.visit().await?;
    copy(&image, &story.state.audit())?;
    story.work(300)?;
    story.begins_another_log("fork").await?;
    let mirrors = story.fleet.control.run(|fleet| fleet.audit_mirrors()).await?;
    ensure!(!mirrors[0].incidents.is_empty(), "no evidence was kept");
    ensure!(verify(&mirrors[0].directory)?.is_ok(), "the mirror of the first past is whole");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_was_set_back_is_noticed_and_gets_everything_again() -> Result<()> {
    let mut story = Story::begin().await?;
    story.visit().await?;
    let kept = story.fleet.control.config().state_dir.join("audit");
    let image = kept.join("../../image");
    story.fleet.stop().await;
    copy(&kept, &image)?;
    story.fleet.start_again().await?;
    story.work(1_500)?;
    let before = story.visit().await?;
    story.fleet.stop().await;
    copy(&image, &kept)?;
    story.fleet.start_again().await?;
    let after = story.visit().await?;
    ensure!(after.mirrored > before.mirrored && after.incidents.is_empty(), "{after:?}");
    ensure!(verify(&after.directory)?.is_ok(), "the mirror verifies");
    let leaves = story.leaves()?;
    let reasons: Vec<_> = leaves
        .iter()
        .filter(|leaf| leaf.kind() == Some(Kind::SyncDivergence.name()))
        .filter_map(|leaf| leaf.text("detail.reason"))
        .collect();
    ensure!(reasons == ["witness_rollback", "mirror_rollback"], "{reasons:?}");
    Ok(())
}
