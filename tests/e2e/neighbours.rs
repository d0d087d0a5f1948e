//! Two devices of one site: the second gets its model from the first, and the line to the control plane stays free.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::facts;
use outpost_agent::state::StateDir;
use outpost_contract::{DeviceId, ModelId};
use outpost_control::{Assignment, ReleaseRequest, Variant};
use outpost_engine::gguf::Gguf;
use outpost_policies::Bundle;
use outpost_tests::bad_wire::BadWire;
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{demo_model, free_port};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_gets_its_model_from_its_neighbour() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let fleet = Fleet::start_reached_at(folder.path(), Some(listener.local_addr()?)).await?;
    let wire = BadWire::lay(listener, fleet.mqtt_address(), [])?;
    let (model, bytes) = release(&fleet, folder.path()).await?;
    let address = format!("127.0.0.1:{}", free_port()?);

    let (first, _) = fleet.enrol(&"till-1".parse()?).await?;
    configure(&first, &format!("serve_peers = \"{address}\"\nsite = \"store-12\"\n"))?;
    let first_agent = fleet.agent(&first).await?;
    assign(&fleet, "till-1".parse()?, &model).await?;

    // Whatever the neighbour does not bring would come through the wire.
    let (second, _) = fleet.enrol(&"till-2".parse()?).await?;
    configure(&second, &format!("order = [\"lan\", \"mqtt\"]\npeers = [\"{address}\"]\n"))?;
    let before = wire.bytes();
    let second_agent = fleet.agent(&second).await?;
    assign(&fleet, "till-2".parse()?, &model).await?;
    let passed = wire.bytes() - before;
    ensure!(passed < bytes / 4, "{passed} bytes came from the control plane for a model of {bytes}");
    second_agent.stop().await;
    first_agent.stop().await;
    Ok(())
}

fn configure(state: &StateDir, transfer: &str) -> Result<()> {
    let mut file = std::fs::File::create(state.config())?;
    Ok(write!(file, "[transfer]\n{transfer}")?)
}

/// One variant, so that both devices run the same file.
async fn release(fleet: &Fleet, folder: &std::path::Path) -> Result<(ModelId, u64)> {
    let (path, keys) = (demo_model(), folder.join("offline-keys"));
    let gguf = Gguf::open(&path)?;
    let info = gguf.info();
    let facts = facts::variant(facts::model_id(&path, &info)?, 1, &info);
    let (model, bytes) = (facts.model.model.clone(), facts.file_bytes);
    let variants = vec![Variant { cuts: facts::cuts(&gguf), path, target: None, facts }];
    let request =
        ReleaseRequest { variants, policy: Some(Bundle::default_bundle().to_bytes()), ..ReleaseRequest::default() };
    let released = fleet.control.run(move |fleet| -> Result<()> {
        let keys = fleet.create_offline_keys(&keys)?;
        fleet.release(&keys, request)?;
        Ok(())
    });
    released.await?;
    Ok((model, bytes))
}

/// Assigns the model and waits until it serves.
async fn assign(fleet: &Fleet, device: DeviceId, model: &ModelId) -> Result<()> {
    let (to, assignment) = (device.clone(), Assignment { model: Some(model.clone()), minimum_context_tokens: 256 });
    let version = fleet.control.run(move |fleet| fleet.assign(&to, &assignment)).await?;
    let applied =
        fleet.control.wait_for_reported(&device, "that it applied", PATIENCE, |now| now.applied_version == version);
    applied.await.context("the model is not in force")?;
    Ok(())
}
