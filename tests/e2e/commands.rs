//! An operator asks a device to do something: it is done once, answered, refused or too late, and what it collects arrives.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_contract::{CommandId, CommandState, DeviceId, Operation};
use outpost_control::CommandRecord;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

/// Gives a command and waits for its last answer.
async fn told(fleet: &Fleet, device: &DeviceId, op: Operation) -> Result<CommandRecord> {
    let to = device.clone();
    let id = fleet.control.run(move |fleet| fleet.command(&to, op, 600, "ada")).await?;
    settled(fleet, device, &id).await
}

async fn settled(fleet: &Fleet, device: &DeviceId, id: &CommandId) -> Result<CommandRecord> {
    let look = || async {
        let (device, id) = (device.clone(), id.clone());
        let record = fleet.control.run(move |fleet| fleet.command_record(&device, &id)).await;
        record.is_ok_and(|record| record.is_settled())
    };
    eventually("the last answer", PATIENCE, look).await?;
    let (device, id) = (device.clone(), id.clone());
    Ok(fleet.control.run(move |fleet| fleet.command_record(&device, &id)).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_does_what_it_may_once_and_says_how_it_went() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::start(folder.path()).await?;
    fleet.release_policy_only().await?;
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let agent = fleet.agent(&state).await?;

    let status = told(&fleet, &device, Operation::Status).await?;
    ensure!(status.state == Some(CommandState::Done), "{status:?}");
    let value = status.answer.and_then(|answer| answer.value).context("a value")?;
    ensure!(value["device"] == "till-7", "{value}");

    let erase = Operation::Erase { subject: format!("p:{}", "a".repeat(32)), basis: "case 7".to_owned() };
    let refused = told(&fleet, &device, erase).await?;
    ensure!(refused.state == Some(CommandState::Refused), "no bundle allows it: {refused:?}");

    let collected = told(&fleet, &device, Operation::CollectDiagnostics).await?;
    ensure!(collected.state == Some(CommandState::Done), "{collected:?}");
    let (of, id) = (device.clone(), collected.id.clone());
    let bytes = fleet.control.run(move |fleet| fleet.collected(&of, &id)).await?.context("every part")?;
    ensure!(bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "not what zstd writes");

    // The restart is answered by the start that follows.
    let to = device.clone();
    let id = fleet.control.run(move |fleet| fleet.command(&to, Operation::Restart, 600, "ada")).await?;
    tokio::time::timeout(PATIENCE, agent.restart_asked()).await.context("it was not asked to start again")?;
    agent.stop().await;
    let again = fleet.agent(&state).await?;
    let restarted = settled(&fleet, &device, &id).await?;
    ensure!(restarted.state == Some(CommandState::Done), "{restarted:?}");
    let asked = tokio::time::timeout(Duration::from_secs(3), again.restart_asked()).await;
    ensure!(asked.is_err(), "one command restarted the agent twice");
    again.stop().await;
    Ok(())
}
