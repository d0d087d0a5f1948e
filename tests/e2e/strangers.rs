//! Who must not get in: wrong, used and expired codes, certificates of another authority, devices that were revoked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_contract::{BootId, DeviceId};
use outpost_disk::{Clock, atomic};
use outpost_sync::{EnrolError, Identity, Link, LinkConfig, SyncDatabase};
use outpost_tests::fleet::Fleet;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_a_used_and_an_expired_code_are_refused_each_by_its_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    fleet.release_policy_only().await?;
    let wrong = fleet.enrol_with(&id("till-1")?, "AAAAA-AAAAA-AAAAA-AAAAA").await;
    ensure!(matches!(refusal(wrong), Some(EnrolError::WrongCode { .. })), "a wrong code");

    let device = id("till-2")?;
    let code = fleet.control.run(move |fleet| fleet.create_code(&device, 600)).await?;
    fleet.enrol_with(&id("till-2")?, &code).await.context("the first use")?;
    let used = fleet.enrol_with(&id("another-box")?, &code).await;
    ensure!(matches!(refusal(used), Some(EnrolError::CodeUsed { .. })), "a used code");

    let device = id("till-3")?;
    let code = fleet.control.run(move |fleet| fleet.create_code(&device, 1)).await?;
    // The code's life is counted in whole seconds of the real clock: the only way past it is to let it pass.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let expired = fleet.enrol_with(&id("till-3")?, &code).await;
    ensure!(matches!(refusal(expired), Some(EnrolError::CodeExpired { .. })), "an expired code");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_gets_no_connection() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    let ours = Fleet::start(&ours).await?;
    let theirs = Fleet::start(&theirs).await?;
    ours.release_policy_only().await?;
    theirs.release_policy_only().await?;
    // The same name is enrolled in both fleets; only the authority differs.
    ours.enrol(&id("till-7")?).await?;
    let (state, _) = theirs.enrol(&id("till-7")?).await?;
    let identity = redirect(&state.identity(), ours.control.authority_pem(), ours.mqtt_address().port())?;
    let reason = first_failure(&identity, folder.path()).await?;
    ensure!(!reason.is_empty(), "the broker gave no reason");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_is_sent_away_and_stays_out() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    fleet.release_policy_only().await?;
    let device = id("till-7")?;
    let (state, identity) = fleet.enrol(&device).await?;
    let agent = fleet.agent(&state).await?;
    fleet.control.wait_for(&device, "that it is connected", PATIENCE, |now| now.online).await?;
    let revoked = device.clone();
    fleet.control.run(move |fleet| fleet.revoke(&revoked)).await?;
    fleet.control.wait_for(&device, "that it is gone", PATIENCE, |now| !now.online && now.revoked_s.is_some()).await?;
    agent.stop().await;
    first_failure(&identity, folder.path()).await?;
    Ok(())
}

fn id(text: &str) -> Result<DeviceId> {
    Ok(text.parse()?)
}

fn refusal<T>(outcome: Result<T>) -> Option<EnrolError> {
    outcome.err().and_then(|error| error.downcast().ok())
}

/// The identity in a directory, made to trust and to dial another fleet.
fn redirect(directory: &Path, authority: &str, port: u16) -> Result<Identity> {
    let path = directory.join("identity.json");
    let mut written: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    written["enrolled"]["authority"] = json!(authority);
    written["enrolled"]["broker"] = json!(format!("localhost:{port}"));
    atomic::write_private(&path, written.to_string())?;
    Ok(Identity::load(directory)?)
}

/// Why the first attempt to connect ended; an error if it got through.
async fn first_failure(identity: &Identity, folder: &Path) -> Result<String> {
    let boot: BootId = "stranger".parse()?;
    let state = folder.join("stranger");
    std::fs::create_dir_all(&state)?;
    let database = SyncDatabase::open(&state)?;
    let (link, _events) = Link::start(identity, LinkConfig::new(boot, "0"), &database, &Clock::system())?;
    let mut connectivity = link.connectivity();
    let ended = connectivity.wait_for(|now| now.is_online() || now.reason.is_some());
    let now = tokio::time::timeout(PATIENCE, ended).await.context("no attempt ended")??.clone();
    link.stop().await;
    ensure!(!now.is_online(), "the stranger is online");
    Ok(now.reason.unwrap_or_default())
}
