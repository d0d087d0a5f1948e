//! A whole fleet in one process, on loopback: a control plane that can be taken away and brought back, and devices.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use outpost_agent::app::{Agent, Overrides};
use outpost_agent::config::Config as AgentConfig;
use outpost_agent::facts;
use outpost_agent::keys;
use outpost_agent::state::StateDir;
use outpost_contract::{DeviceId, ModelId};
use outpost_control::{Clock, Config, ControlPlane, Fleet as ControlFleet, ReleaseRequest, Running, Variant};
use outpost_disk::Clock as DeviceClock;
use outpost_engine::gguf::Gguf;
use outpost_engine::quantize::{Quantisation, quantize};
use outpost_policies::Bundle;
use outpost_sync::{BackOff, Enrolment, Identity, enrol};

use crate::process::binary;

/// Soon enough for a story, late enough not to be a busy loop.
const RECONNECT: BackOff = BackOff { base: Duration::from_millis(200), cap: Duration::from_secs(1) };

/// The control plane's side, and where everything of the fleet lies.
#[derive(Debug)]
pub struct Fleet {
    directory: PathBuf,
    config: Config,
    /// The fleet's state; outlives a stopped server.
    pub control: ControlFleet,
    running: Option<Running>,
    /// The operators' bearer token.
    pub admin_token: String,
}

impl Fleet {
    /// Makes a new fleet in a directory and starts its control plane on free loopback ports.
    ///
    /// # Errors
    /// If anything of it cannot be made or started.
    pub async fn start(directory: &Path) -> Result<Self> {
        Self::start_reached_at(directory, None).await
    }

    /// Starts one whose broker devices reach at another address than its own: by a wire that a story lays.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_reached_at(directory: &Path, broker: Option<SocketAddr>) -> Result<Self> {
        let reached_at = |config: &mut Config| config.broker_address = broker.map(|address| address.to_string());
        Self::start_with(directory, reached_at).await
    }

    /// Starts one with settings of its own.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(directory: &Path, settle: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = Config::new(directory.join("control-plane"));
        config.http_listen = "127.0.0.1:0".parse()?;
        config.mqtt_listen = "127.0.0.1:0".parse()?;
        settle(&mut config);
        let made = ControlFleet::init(config, Clock::system()).context("cannot make a fleet")?;
        let running =
            ControlPlane::start_fleet(made.fleet.clone()).await.context("the control plane does not start")?;
        Ok(Self {
            directory: directory.to_owned(),
            // The same addresses when it comes back: devices know them.
            config: running.config(),
            control: made.fleet,
            running: Some(running),
            admin_token: made.admin_token,
        })
    }

    /// Where the HTTPS API answers, also while it is stopped.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.config.http_listen
    }

    /// Where the broker listens, also while it is stopped.
    #[must_use]
    pub fn mqtt_address(&self) -> SocketAddr {
        self.config.mqtt_listen
    }

    /// Waits until the control plane has found its broker, which may be another program.
    pub async fn connected(&self) {
        if let Some(running) = &self.running {
            running.connected().await;
        }
    }

    /// Stops broker and control plane; devices are on their own.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Starts them again on the same state and addresses.
    ///
    /// # Errors
    /// If they do not start.
    pub async fn start_again(&mut self) -> Result<()> {
        self.start_again_at(Clock::system()).await
    }

    /// Starts them again at another time than the system's.
    ///
    /// # Errors
    /// If they do not start.
    pub async fn start_again_at(&mut self, clock: Clock) -> Result<()> {
        let fleet = ControlFleet::open(self.config.clone(), clock).context("cannot open the fleet")?;
        self.running =
            Some(ControlPlane::start_fleet(fleet.clone()).await.context("the control plane does not start again")?);
        self.control = fleet;
        Ok(())
    }

    /// Makes offline keys, three variants of the demo model and the default policy bundle, and signs them into a catalogue.
    /// Gives the model's id and, per variant, its quantisation and size.
    ///
    /// # Errors
    /// If a variant cannot be made or the release is refused.
    pub async fn release_demo_model(&self, f16: &Path) -> Result<(ModelId, Vec<(String, u64)>)> {
        let offline = self.directory.join("offline-keys");
        let variants = self.variants(f16)?;
        let sizes =
            variants.iter().map(|variant| (variant.facts.quantisation.clone(), variant.facts.file_bytes)).collect();
        let model = variants[0].facts.model.model.clone();
        let request =
            ReleaseRequest { variants, policy: Some(Bundle::default_bundle().to_bytes()), ..ReleaseRequest::default() };
        self.control
            .run(move |fleet| -> Result<()> {
                let keys = fleet.create_offline_keys(&offline).context("cannot make offline keys")?;
                fleet.release(&keys, request).context("cannot release the catalogue")?;
                Ok(())
            })
            .await?;
        Ok((model, sizes))
    }

    /// Makes offline keys and releases the default policy bundle alone: enough to enrol devices.
    ///
    /// # Errors
    /// If the release is refused.
    pub async fn release_policy_only(&self) -> Result<()> {
        let offline = self.directory.join("offline-keys");
        let request = ReleaseRequest { policy: Some(Bundle::default_bundle().to_bytes()), ..ReleaseRequest::default() };
        self.control
            .run(move |fleet| -> Result<()> {
                let keys = fleet.create_offline_keys(&offline).context("cannot make offline keys")?;
                fleet.release(&keys, request).context("cannot release the catalogue")?;
                Ok(())
            })
            .await
    }

    fn variants(&self, f16: &Path) -> Result<Vec<Variant>> {
        let folder = self.directory.join("variants");
        std::fs::create_dir_all(&folder)?;
        [Quantisation::F16, Quantisation::Q8_0, Quantisation::Q4_0]
            .into_iter()
            .map(|quantisation| {
                let path = folder.join(format!("outpost-demo-{}.gguf", quantisation.name()));
                quantize(f16, &path, quantisation).with_context(|| format!("cannot make {}", quantisation.name()))?;
                let gguf = Gguf::open(&path)?;
                let info = gguf.info();
                let facts = facts::variant(facts::model_id(&path, &info)?, 1, &info);
                Ok(Variant { path, target: None, cuts: facts::cuts(&gguf), facts })
            })
            .collect()
    }

    /// Enrols a device with a fresh one-time code; its state is in a directory of its own.
    ///
    /// # Errors
    /// If the control plane refuses.
    pub async fn enrol(&self, device: &DeviceId) -> Result<(StateDir, Identity)> {
        let code = {
            let device = device.clone();
            self.control.run(move |fleet| fleet.create_code(&device, 600)).await.context("no code")?
        };
        self.enrol_with(device, &code).await
    }

    /// Enrols with a given code.
    ///
    /// # Errors
    /// If the control plane refuses.
    pub async fn enrol_with(&self, device: &DeviceId, code: &str) -> Result<(StateDir, Identity)> {
        let state = StateDir::locate(Some(&self.directory.join(device.as_str())))?;
        state.prepare()?;
        let clock = DeviceClock::open(state.ledgers())?;
        let identity = enrol(
            &Enrolment {
                server_url: &format!("https://{}", self.http_address()),
                code,
                wished_name: "",
                authority: self.control.authority_pem(),
                dir: &state.identity(),
                agent: env!("CARGO_PKG_VERSION"),
                audit_key: &keys::verifier_key(&state)?,
            },
            &clock,
        )
        .await?;
        Ok((state, identity))
    }

    /// Starts an agent on a state directory, its local API on a free loopback port.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn agent(&self, state: &StateDir) -> Result<Agent> {
        self.agent_at(state, None).await
    }

    /// Starts one that lives by another clock than the system's.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn agent_at(&self, state: &StateDir, clock: Option<DeviceClock>) -> Result<Agent> {
        let mut config = AgentConfig::load_or_create(&state.config())?;
        config.api.listen = "127.0.0.1:0".into();
        let program = binary("outpost").ok();
        let overrides = Overrides { reconnect: Some(RECONNECT), program, clock, ..Overrides::default() };
        Agent::start(state.clone(), config, overrides).await
    }
}
