//! Somebody restores an old image: of a device, or of the control plane. Both are found out, and nothing is lost.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use outpost_agent::app::Agent;
use outpost_audit::Kind;
use outpost_audit::verify::verify;
use outpost_control::restore;

use crate::witnessed::{PATIENCE, Story};

impl Story {
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

async fn ended(agent: &Agent) -> Result<()> {
    tokio::time::timeout(PATIENCE, agent.log_ended()).await.context("the old image was not noticed")?;
    Ok(())
}

/// A directory with all that is below it, in the place of another one.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
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
async fn a_control_plane_that_was_restored_from_a_backup_is_noticed_and_gets_everything_again() -> Result<()> {
    let mut story = Story::begin().await?;
    story.visit().await?;
    let state = story.fleet.control.config().state_dir.clone();
    let beside = |name: &str| state.with_file_name(name);
    // While the server runs.
    let target = beside("backup");
    story.fleet.control.run(move |fleet| fleet.back_up(&target)).await?;
    story.work(1_500)?;
    let before = story.visit().await?;
    story.fleet.stop().await;
    std::fs::rename(&state, beside("lost"))?;
    restore(&beside("backup"), &state)?;
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
