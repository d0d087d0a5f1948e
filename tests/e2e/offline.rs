//! A device that is restarted while nobody is within reach: what was accepted before is in force again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_contract::DeviceId;
use outpost_control::Assignment;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::demo_model;
use outpost_tests::question::{ask, client};

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_a_network_serves_and_enforces_what_was_accepted_before() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let agent = fleet.agent(&state).await?;
    let (to, assignment) = (device.clone(), Assignment { model: Some(model), minimum_context_tokens: 256 });
    let version = fleet.control.run(move |fleet| fleet.assign(&to, &assignment)).await?;
    let applied =
        fleet.control.wait_for_reported(&device, "that it applied", PATIENCE, |now| now.applied_version == version);
    applied.await?;
    let operator = fleet.control.run(|fleet| fleet.issue_token("ada", &["operator".to_owned()], 3600)).await?;
    let auditor = fleet.control.run(|fleet| fleet.issue_token("grace", &["auditor".to_owned()], 3600)).await?;
    agent.stop().await;
    fleet.stop().await;

    let alone = fleet.agent(&state).await?;
    tokio::time::timeout(PATIENCE, alone.serving()).await.context("nothing served in time")??;
    let base = format!("http://{}", alone.address().context("an address")?);
    let http = client();
    let answered = ask(&http, &base, Some(&operator), "Does it work offline?").await?;
    ensure!(answered.complete, "no answer without a network: {answered:?}");
    let refused = ask(&http, &base, Some(&auditor), "Does it work offline?").await?;
    ensure!(refused.status == 403, "the auditor was not refused: {refused:?}");
    alone.stop().await;
    Ok(())
}
