//! A device changes its model: under `kill -9` at random moments every start serves the old or the new, and a variant that is not
//! what it was when it was released gives way to the next.
//!
//! `OUTPOST_KILLS=50 cargo e2e activation` runs the long form.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::facts;
use outpost_contract::{DeviceId, GoldenPrompt, GoldenPrompts, ModelId, ReasonCode, Reported};
use outpost_control::{Assignment, ReleaseRequest, Variant};
use outpost_engine::gguf::Gguf;
use outpost_engine::quantize::{Quantisation, quantize};
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{Process, binary, demo_model, eventually, free_port};
use outpost_tests::question::client;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_killed_while_it_changes_its_model_serves_the_old_or_the_new_at_every_start() -> Result<()> {
    let kills: u32 = std::env::var("OUTPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let second = release_second(&fleet, folder.path()).await?;
    let models = [model, second];
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let root = state.root().to_str().context("the path is UTF-8")?.to_owned();
    let outpost = binary("outpost")?;
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let base = format!("http://{listen}");
    let start = || Process::start(&outpost, &["--state", &root, "run", "--listen", &listen]);

    let http = client();

    let mut agent = start()?;
    let mut version = assign(&fleet, &device, &models[0]).await?;
    applied(&fleet, &device, version).await?;
    for kill in 0..kills {
        version = assign(&fleet, &device, &models[(kill as usize + 1) % 2]).await?;
        let mut moment = [0];
        getrandom::fill(&mut moment).context("no randomness")?;
        tokio::time::sleep(Duration::from_millis(u64::from(moment[0]) * 6)).await;
        agent.kill();
        fleet.stop().await;
        // Alone: what it serves now is what the crash left.
        agent = start()?;
        let served = || async {
            let Ok(health) = http.get(format!("{base}/health")).send().await else { return false };
            health.status().is_success()
        };
        let what = format!("the device to serve the old or the new after kill {kill}");
        if let Err(error) = eventually(&what, PATIENCE, served).await {
            let how = agent.ended().map_or_else(|| "runs".to_owned(), |code| format!("ended with {code}"));
            let logs = outpost_tests::process::last_lines(&state.logs(), 40);
            return Err(error.context(format!("the agent {how}; its log:\n{logs}")));
        }
        fleet.start_again().await?;
    }
    // A new version: whatever the kills made it give up on has another chance.
    version = assign(&fleet, &device, &models[kills as usize % 2]).await?.max(version);
    let reported = applied(&fleet, &device, version).await?;
    let serves = reported.model.context("it serves a model")?.model;
    ensure!(serves == models[kills as usize % 2], "it serves `{serves}`");
    agent.kill();
    fleet.stop().await;
    let verified = outpost_tests::process::output(&outpost, &["--state", &root, "--json", "audit", "verify"])?;
    let report: Value = serde_json::from_str(&verified)?;
    ensure!(report["problems"].as_array().is_some_and(Vec::is_empty), "the log does not verify: {report}");
    Ok(())
}

/// A device that was told to change its model, and was started anew before the new one was there, serves the old: also alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_started_anew_while_its_new_model_is_on_its_way_serves_the_old() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let (model, _) = fleet.release_demo_model(&demo_model()).await?;
    let blobs = fleet.control.config().state_dir.join("blobs");
    let names = |blobs: &Path| -> Result<BTreeSet<PathBuf>> {
        Ok(std::fs::read_dir(blobs)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
    };
    let before = names(&blobs)?;
    let second = release_second(&fleet, folder.path()).await?;
    let mut weights = None;
    for path in names(&blobs)?.difference(&before) {
        weights = weights.max(Some((std::fs::metadata(path)?.len(), path.clone())));
    }
    let (_, weights) = weights.context("a release leaves a file")?;
    let aside = folder.path().join("aside");
    std::fs::rename(&weights, &aside)?;

    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let root = state.root().to_str().context("the path is UTF-8")?.to_owned();
    let outpost = binary("outpost")?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let start = || Process::start(&outpost, &["--state", &root, "run", "--listen", &listen]);
    let mut agent = start()?;
    let version = assign(&fleet, &device, &model).await?;
    applied(&fleet, &device, version).await?;
    let version = assign(&fleet, &device, &second).await?;
    let waits = move |now: &Reported| now.desired_version == version && !now.reasons.is_empty();
    let waiting = fleet.control.wait_for_reported(&device, "that its model does not come", PATIENCE, waits).await?;
    ensure!(waiting.model.is_some_and(|serves| serves.model == model), "the old serves until the new one is here");

    agent.kill();
    fleet.stop().await;
    agent = start()?;
    let http = client();
    let served = || async {
        let Ok(health) = http.get(format!("http://{listen}/health")).send().await else { return false };
        health.status().is_success()
    };
    eventually("the device to serve, alone", PATIENCE, served).await?;
    fleet.start_again().await?;
    std::fs::rename(&aside, &weights)?;
    let version = assign(&fleet, &device, &second).await?.max(version);
    let reported = applied(&fleet, &device, version).await?;
    ensure!(reported.model.is_some_and(|serves| serves.model == second), "the new one serves once it is here");
    agent.kill();
    fleet.stop().await;
    Ok(())
}

/// Another model of the catalogue.
async fn release_second(fleet: &Fleet, folder: &Path) -> Result<ModelId> {
    let other = folder.join("second-model.gguf");
    quantize(demo_model(), &other, Quantisation::Q5_1)?;
    let gguf = Gguf::open(&other)?;
    let info = gguf.info();
    let facts = facts::variant("second".parse()?, 1, &info);
    let variant = Variant { path: other, target: None, cuts: facts::cuts(&gguf), facts };
    let keys = folder.join("offline-keys");
    let request = ReleaseRequest { variants: vec![variant], ..ReleaseRequest::default() };
    fleet
        .control
        .run(move |fleet| -> Result<()> {
            let keys = outpost_control::OfflineKeys::load(&keys)?;
            fleet.release(&keys, request).context("cannot release the second model")?;
            Ok(())
        })
        .await?;
    Ok("second".parse()?)
}

async fn assign(fleet: &Fleet, device: &DeviceId, model: &ModelId) -> Result<u64> {
    let (to, assignment) = (device.clone(), Assignment { model: Some(model.clone()), minimum_context_tokens: 256 });
    Ok(fleet.control.run(move |fleet| fleet.assign(&to, &assignment)).await?)
}

async fn applied(fleet: &Fleet, device: &DeviceId, version: u64) -> Result<Reported> {
    let waiting =
        fleet.control.wait_for_reported(device, "that it applied", PATIENCE, move |now| now.applied_version == version);
    Ok(waiting.await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variant_that_answers_otherwise_than_its_release_is_passed_over_once_and_for_all_with_both_texts()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path()).await?;
    let offline = folder.path().join("keys");
    let claimed = "what no model says".to_owned();
    let prompt = "How does a device enrol?".to_owned();
    let golden: GoldenPrompts = vec![GoldenPrompt { prompt, tokens: 8, answer: claimed.clone() }].try_into()?;
    let mut variants = Vec::new();
    for quantisation in [Quantisation::F16, Quantisation::Q8_0] {
        let path = folder.path().join(format!("demo-{}.gguf", quantisation.name()));
        quantize(demo_model(), &path, quantisation)?;
        let gguf = Gguf::open(&path)?;
        let info = gguf.info();
        let mut facts = facts::variant("demo".parse()?, 1, &info);
        if quantisation == Quantisation::F16 {
            facts.golden = golden.clone();
        }
        variants.push(Variant { path, target: None, cuts: facts::cuts(&gguf), facts });
    }
    let policy = Some(outpost_policies::Bundle::default_bundle().to_bytes());
    fleet
        .control
        .run(move |fleet| -> Result<()> {
            let keys = fleet.create_offline_keys(&offline).context("cannot make offline keys")?;
            fleet
                .release(&keys, ReleaseRequest { variants, policy, ..ReleaseRequest::default() })
                .context("cannot release")?;
            Ok(())
        })
        .await?;
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let agent = fleet.agent(&state).await?;
    let version = assign(&fleet, &device, &"demo".parse()?).await?;
    let reported = applied(&fleet, &device, version).await?;
    let serves = reported.model.context("it serves a model")?.target;
    ensure!(serves.as_str().contains("Q8_0"), "it serves `{serves}`");
    let [reason] = &reported.reasons[..] else { anyhow::bail!("{:?}", reported.reasons) };
    ensure!(reason.code == ReasonCode::SelfTestFailed && reason.detail.contains(&claimed), "{reason:?}");
    agent.stop().await;

    let agent = fleet.agent(&state).await?;
    let again = fleet.control.wait_for_reported(&device, "that it is not tried again", PATIENCE, |now| {
        now.reasons.iter().any(|reason| reason.detail.contains("is not tried again"))
    });
    let again = again.await?;
    ensure!(again.applied_version == version && again.model.is_some(), "{again:?}");
    agent.stop().await;
    fleet.stop().await;
    Ok(())
}
