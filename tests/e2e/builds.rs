//! The agent itself comes by a rollout: a newer build runs and is reported; a broken one is back by itself, reported, and stops
//! the rollout at its gate.
//!
//! The builds are stand-ins (`tests/stand_in`): they say a version of their own and then are the real agent, or are broken.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_contract::{BuildSource, DeviceId, ModelId, Reported};
use outpost_control::{
    Assignment, Build, OfflineKeys, OnFailure, ReleaseRequest, RolloutRequest, RolloutView, WaveRequest,
};
use outpost_tests::builds::{Does, StandIn};
use outpost_tests::fleet::Fleet;
use outpost_tests::process::{Process, binary, demo_model, eventually, free_port, last_lines, output};
use serde_json::Value;

/// A debug build starts, a trial is survived or failed twice, another runs in its place.
const PATIENCE: Duration = Duration::from_secs(180);

/// The agent of one device, started again whenever it ends, as a supervisor does.
struct Kept {
    over: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
}

impl Kept {
    fn start(outpost: PathBuf, arguments: Vec<String>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let keeper = std::thread::spawn(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            while !ends.load(Ordering::Relaxed) {
                let Ok(mut agent) = Process::start(&outpost, &arguments) else { return };
                while agent.ended().is_none() && !ends.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { over, keeper: Some(keeper) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.keeper.take().map(JoinHandle::join);
    }
}

/// One device of a fleet that serves a model, and the keys that sign its catalogue.
struct Story {
    folder: tempfile::TempDir,
    fleet: Fleet,
    device: DeviceId,
    model: ModelId,
    state: PathBuf,
    outpost: PathBuf,
}

impl Story {
    async fn begin() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let fleet = Fleet::start(folder.path()).await?;
        let (model, _) = fleet.release_demo_model(&demo_model()).await?;
        let device: DeviceId = "till-7".parse()?;
        let (state, _) = fleet.enrol(&device).await?;
        let state = state.root().to_owned();
        // A build on trial has five times as long to get model and link back, on a machine that has more to do.
        std::fs::write(state.join("outpost.toml"), "[update]\ntrial_seconds = 6\n")?;
        Ok(Self { folder, fleet, device, model, state, outpost: binary("outpost")? })
    }

    fn keep(&self) -> Result<Kept> {
        let (state, listen) = (self.state.display().to_string(), format!("127.0.0.1:{}", free_port()?));
        let words = ["--state", &state, "run", "--listen", &listen].map(str::to_owned);
        Ok(Kept::start(self.outpost.clone(), words.into()))
    }

    /// Has a model assigned, and waits until it serves.
    async fn serves(&self) -> Result<()> {
        let assignment = Assignment { model: Some(self.model.clone()), minimum_context_tokens: 256 };
        let device = self.device.clone();
        let version = self.fleet.control.run(move |fleet| fleet.assign(&device, &assignment)).await?;
        self.told("that its model serves", move |now| now.applied_version == version).await?;
        Ok(())
    }

    /// Signs a build for this machine into the catalogue.
    async fn publish(&self, version: &str, does: Does) -> Result<()> {
        let path = StandIn::make(self.folder.path(), version, does)?;
        let target = StandIn::of(&path)?.target.parse()?;
        let builds = vec![Build { path, version: version.parse()?, target, state_format: 1 }];
        let request = ReleaseRequest { builds, ..ReleaseRequest::default() };
        let keys = self.folder.path().join("offline-keys");
        let release = move |fleet: &outpost_control::Fleet| -> Result<()> {
            fleet.release(&OfflineKeys::load(&keys)?, request).context("cannot release the build")?;
            Ok(())
        };
        self.fleet.control.run(release).await
    }

    /// Starts a rollout of a build, for all in one wave.
    async fn roll_out(&self, name: &str, version: &str) -> Result<()> {
        let request = RolloutRequest {
            build: Some(version.parse()?),
            waves: vec![WaveRequest { percent: Some(100), ..WaveRequest::default() }],
            error_percent: 0,
            soak_s: 0,
            on_failure: OnFailure::RollBackAll,
            ..RolloutRequest::named(name)
        };
        self.fleet.control.run(move |fleet| fleet.start_rollout("ada", &request)).await?;
        Ok(())
    }

    async fn ends(&self, name: &str) -> Result<RolloutView> {
        let view = || {
            let name = name.to_owned();
            self.fleet.control.run(move |fleet| fleet.rollout(&name))
        };
        let ended = || async { view().await.is_ok_and(|view| !view.is_active) };
        let waited = eventually(&format!("the rollout `{name}` to end"), PATIENCE, ended).await;
        waited.with_context(|| self.logs())?;
        Ok(view().await?)
    }

    async fn told(
        &self,
        what: &'static str,
        is_so: impl Fn(&Reported) -> bool + Send + Sync + 'static,
    ) -> Result<Reported> {
        let waited = self.fleet.control.wait_for_reported(&self.device, what, PATIENCE, is_so).await;
        waited.with_context(|| self.logs())
    }

    fn logs(&self) -> String {
        last_lines(&self.state.join("logs"), 40)
    }

    /// How often the log has a record of this kind about this version.
    fn recorded(&self, kind: &str, version: &str) -> Result<usize> {
        let text = |path: &Path| path.to_str().map(str::to_owned).context("the path is UTF-8");
        let (state, audit) = (text(&self.state)?, text(&self.state.join("audit"))?);
        let words = ["--state", &state, "--json", "audit", "show", &audit, "--kind", kind, "--last", "1000"];
        let records: Vec<Value> = serde_json::from_str(&output(&self.outpost, &words)?)?;
        Ok(records.iter().filter(|record| record["detail"]["version"] == version).count())
    }
}

/// Runs this version and has it confirmed, and all that is wanted is in force.
fn runs(now: &Reported, version: &str) -> bool {
    let is_it = |build: &outpost_contract::BuildReport| build.version.as_str() == version && !build.trial;
    now.build.as_ref().is_some_and(is_it) && now.applied_version == now.desired_version
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_brings_a_newer_build_and_a_broken_one_is_back_by_itself_and_stops_it() -> Result<()> {
    let mut story = Story::begin().await?;
    let kept = story.keep()?;
    story.serves().await?;
    let packaged = env!("CARGO_PKG_VERSION");
    let before = story.told("which program it runs", |now| now.build.is_some()).await?;
    let before = before.build.context("it tells of its program")?;
    ensure!(before.version.as_str() == packaged && before.source == BuildSource::Packaged, "{before:?}");

    story.publish("0.2.0", Does::Serves).await?;
    story.roll_out("march", "0.2.0").await?;
    let ended = story.ends("march").await?;
    ensure!(ended.state == "completed", "{ended:?}\n{}", story.logs());
    let now = story.told("that it runs 0.2.0", |now| runs(now, "0.2.0")).await?;
    let build = now.build.context("it tells of its program")?;
    ensure!(build.source == BuildSource::Slot && build.rolled_back.is_none(), "{build:?}");
    ensure!(now.model.is_some_and(|model| model.model == story.model), "its model serves as before");

    story.publish("0.3.0", Does::Crashes).await?;
    story.roll_out("april", "0.3.0").await?;
    let ended = story.ends("april").await?;
    ensure!(ended.state == "rolled_back", "{ended:?}\n{}", story.logs());
    let failed = format!("{} failed: it refuses: build_rolled_back", story.device);
    ensure!(ended.notices.iter().any(|notice| notice.text == failed), "{:?}", ended.notices);
    let now = story.told("that it runs 0.2.0 again", |now| runs(now, "0.2.0") && now.reasons.is_empty()).await?;
    let given_up = now.build.and_then(|build| build.rolled_back).context("it tells what was rolled back")?;
    ensure!(given_up.version.as_str() == "0.3.0", "{given_up:?}");
    ensure!(given_up.reason.contains("it ended 2 times before it was healthy"), "{given_up:?}");
    ensure!(now.model.is_some(), "its model serves as before");

    drop(kept);
    story.fleet.stop().await;
    for (kind, version) in [("update.confirmed", "0.2.0"), ("update.staged", "0.3.0"), ("update.rolled_back", "0.3.0")]
    {
        ensure!(story.recorded(kind, version)? == 1, "{kind} of {version} is not on record once");
    }
    Ok(())
}
