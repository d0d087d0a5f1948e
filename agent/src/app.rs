//! The agent, put together: what starts in which order, what depends on what, and how it all ends.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use outpost_audit::{AuditLog, BootInfo, BootReport};
use outpost_contract::BootId;
use outpost_disk::{Clock, Ledger, Secret, StateLock};
use outpost_policies::{Bundle, InForce, Policies};
use outpost_serve::{ApiKeys, Circumstances, Identities, Limits, LocalUsers, ServeConfig, Server, Serving, TlsFiles};
use outpost_store::Store;
use outpost_sync::{Identity, Link, LinkConfig, LinkHandle, MqttChunks, SyncDatabase, TransferOptions};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::active::{Active, Card};
use crate::backend::{ActiveBackend, Readiness};
use crate::chunks::FleetChunks;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::install::Installer;
use crate::measure::Measured;
use crate::progress::{Announcer, Progress};
use crate::reconcile::Reconciler;
use crate::report::{Absence, Reporter};
use crate::state::StateDir;
use crate::status::Status;
use crate::{key_watch, keys, standalone};

/// The ledger of the model that served last.
const ACTIVE_MODEL: &str = "active-model";

/// What a command asks for beside the configuration file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Serve this file.
    pub model: Option<PathBuf>,
    /// Leave the fleet alone, even if enrolled.
    pub offline: bool,
    /// How soon a lost connection is tried again at first; `None` for the usual pace.
    pub reconnect: Option<outpost_sync::BackOff>,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    announcer: Announcer,
    readiness: watch::Receiver<Readiness>,
    address: Option<std::net::SocketAddr>,
    audit: AuditLog,
    boot_report: BootReport,
    stop_serving: CancellationToken,
    stop_fleet: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    active: Arc<Active>,
    clock: Clock,
    _lock: StateLock,
}

impl Agent {
    /// Starts the agent on a state directory. The local API answers when this returns; a model may still be on its way.
    ///
    /// # Errors
    /// If the directory is in use or cannot be written, the audit log is damaged, an address cannot be bound, or the
    /// configuration asks for what is not allowed.
    pub async fn start(state: StateDir, config: Config, overrides: Overrides) -> Result<Self> {
        state.prepare()?;
        let lock = StateLock::acquire(state.root())?;
        empty(&state.scratch())?;
        let clock = Clock::open(state.ledgers())?;
        let boot = boot_id()?;
        let identity = load_identity(&state)?;
        let device =
            identity.as_ref().map_or_else(|| "standalone".to_owned(), |identity| identity.device().to_string());

        let info = BootInfo { agent: env!("CARGO_PKG_VERSION").into(), device: device.clone(), clock: clock.clone() };
        let (audit, boot_report) =
            AuditLog::open(&state.audit(), keys::log_identity(&state)?, info).context("cannot open the audit log")?;
        let policies = InForce::new(default_policies()?);
        let identities = Arc::new(identities(&state, &config)?);

        let announcer = Announcer::default();
        let active = Arc::new(Active::default());
        let (readiness, ready) = watch::channel(Readiness::Preparing);
        let store = Store::open(&state.store()).context("cannot open the model store")?;
        let (ledger, last_card) = Ledger::open(state.ledgers(), ACTIVE_MODEL)?;
        let (measured_ledger, earlier) = Ledger::open(state.ledgers(), "measurements")?;
        let measured = Arc::new(Measured::new(state.store(), clock.clone(), measured_ledger, earlier));
        let installer = Arc::new(Installer {
            settings: config.model.clone(),
            store: store.clone(),
            active: Arc::clone(&active),
            audit: audit.clone(),
            clock: clock.clone(),
            announcer: announcer.clone(),
            readiness,
            ledger: Mutex::new(ledger),
            last_rejection: Mutex::default(),
        });

        let link = match (&identity, overrides.offline) {
            (Some(identity), false) => {
                let database = SyncDatabase::open(&state.sync()).context("cannot open sync.db")?;
                let mut link_config = LinkConfig::new(boot.clone(), env!("CARGO_PKG_VERSION"));
                if let Some(reconnect) = overrides.reconnect {
                    link_config.back_off = reconnect;
                }
                Some(
                    Link::start(identity, link_config, &database, &clock)
                        .context("cannot use the device's identity")?,
                )
            }
            _ => None,
        };
        let handle = link.as_ref().map(|(handle, _)| handle.clone());

        let status = Status {
            device: device.clone(),
            active: Arc::clone(&active),
            policies: policies.clone(),
            audit: audit.clone(),
            link: handle.clone(),
            clock: clock.clone(),
        };
        let backend = Arc::new(ActiveBackend::new(Arc::clone(&active), ready.clone(), Box::new(status)));
        let stop_serving = CancellationToken::new();
        let stop_fleet = CancellationToken::new();
        let server = Server::bind(serve_config(&state, &config)?).await.context("the local API cannot start")?;
        let address = server.tcp_address();
        let serving = Serving {
            device,
            audit: audit.clone(),
            pseudonyms: keys::pseudonyms(&state)?,
            policies: policies.clone(),
            identities: Arc::clone(&identities),
            backend: backend.clone(),
            circumstances: circumstances(clock.clone(), handle),
        };
        let mut tasks = vec![tokio::spawn(server.serve(serving, stop_serving.clone().cancelled_owned()))];
        tasks.push(tokio::spawn(key_watch::watch(state.keys(), audit.clone(), stop_serving.clone())));
        announcer.say(Progress::Listening(address));

        match (identity, link) {
            (Some(identity), Some((link, events))) => {
                let chunks = MqttChunks::new(&identity, TransferOptions::default(), &clock);
                let chunks = FleetChunks(Arc::new(chunks.context("cannot use the device's identity")?));
                let slot = SyncDatabase::open(&state.sync()).context("cannot open sync.db")?.accepted();
                let director_keys = identity.director_keys().iter().filter_map(|key| key.parse().ok()).collect();
                let reporter = Reporter {
                    device: identity.device().clone(),
                    active: Arc::clone(&active),
                    backend,
                    policies: policies.clone(),
                    audit: audit.clone(),
                    measured: Arc::clone(&measured),
                    audit_began: audit.size(),
                    absence: Absence::since(clock.now_s()),
                    sequence: 0,
                };
                let reconciler = Arc::new(Reconciler {
                    identity,
                    slot,
                    store,
                    installer,
                    policies,
                    identities,
                    audit: audit.clone(),
                    clock: clock.clone(),
                    announcer: announcer.clone(),
                    measured,
                    scratch: state.scratch(),
                    director_keys: Mutex::new(director_keys),
                    policy_in_force: Mutex::new(Bundle::default_bundle().to_bytes()),
                    refusals: Mutex::default(),
                    last_card,
                });
                let fleet = Fleet {
                    boot,
                    link,
                    events,
                    chunks,
                    reconciler,
                    reporter,
                    audit: audit.clone(),
                    clock: clock.clone(),
                    announcer: announcer.clone(),
                    stop: stop_fleet.clone(),
                };
                tasks.push(tokio::spawn(fleet.run()));
            }
            _ => {
                let file = overrides.model.or(config.model.path);
                tasks.push(tokio::spawn(standalone::serve(installer, file, last_card, measured)));
            }
        }
        Ok(Self {
            announcer,
            readiness: ready,
            address,
            audit,
            boot_report,
            stop_serving,
            stop_fleet,
            tasks,
            active,
            clock,
            _lock: lock,
        })
    }

    /// True if a model served from this state directory before: then it can serve again without anybody's help.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub fn has_served(state: &StateDir) -> Result<bool> {
        state.prepare()?;
        let (_, card) = Ledger::<Card>::open(state.ledgers(), ACTIVE_MODEL)?;
        Ok(card.is_some())
    }

    /// Where the local API listens on TCP.
    #[must_use]
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.address
    }

    /// Hears what happens from now on.
    #[must_use]
    pub fn progress(&self) -> broadcast::Receiver<Progress> {
        self.announcer.listen()
    }

    /// How the last run ended, and what it left open.
    #[must_use]
    pub fn boot_report(&self) -> &BootReport {
        &self.boot_report
    }

    /// The audit log, for whoever runs the agent in its own process.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// Waits until a model serves.
    ///
    /// # Errors
    /// If nothing will serve without somebody's help: says why.
    pub async fn serving(&self) -> Result<()> {
        let mut readiness = self.readiness.clone();
        let settled = readiness.wait_for(|now| *now != Readiness::Preparing).await.context("the agent is stopping")?;
        match &*settled {
            Readiness::Nothing(because) => bail!("no model serves: {because}"),
            Readiness::Serving | Readiness::Preparing => Ok(()),
        }
    }

    /// Stops in good order: no new requests, answers in progress get their time, the log gets its `shutdown`.
    pub async fn stop(self) {
        self.stop_serving.cancel();
        self.stop_fleet.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the agent failed");
            }
        }
        let active = self.active;
        let (audit, clock) = (self.audit, self.clock);
        let ending = tokio::task::spawn_blocking(move || {
            drop(active.replace(None));
            clock.persist().map_err(anyhow::Error::new)?;
            audit.shutdown("stopped").map_err(anyhow::Error::new)
        });
        match ending.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "the end is not recorded"),
            Err(error) => tracing::error!(%error, "the end is not recorded"),
        }
    }
}

fn load_identity(state: &StateDir) -> Result<Option<Identity>> {
    if !state.identity().join("identity.json").exists() {
        return Ok(None);
    }
    Identity::load(&state.identity()).map(Some).context("cannot use the device's identity")
}

fn default_policies() -> Result<Policies> {
    Policies::activate(Bundle::default_bundle()).map_err(|findings| {
        let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("the built-in policies do not hold: {}", findings.join("; "))
    })
}

fn identities(state: &StateDir, config: &Config) -> Result<Identities> {
    let mut local = LocalUsers::default();
    for (uid, roles) in &config.api.local_users {
        let uid = uid.parse().with_context(|| format!("`api.local_users`: `{uid}` is not a numeric user id"))?;
        local = local.with(uid, roles.clone());
    }
    let api_keys = ApiKeys::open(state.keys()).context("cannot open the local API keys")?;
    Ok(Identities::new().with_api_keys(api_keys).with_local_users(local))
}

fn serve_config(state: &StateDir, config: &Config) -> Result<ServeConfig> {
    let tls = match (&config.api.certificate, &config.api.private_key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate: certificate.clone(), key: key.clone() }),
        _ => None,
    };
    Ok(ServeConfig {
        tcp: config.api.address()?,
        unix: config.api.unix_socket.then(|| state.socket()),
        tls,
        hosts: config.api.hosts.clone(),
        origins: Vec::new(),
        limits: Limits { generations: config.model.slots as usize * 4, ..Limits::default() },
    })
}

/// The device's situation, asked at every request: memory only, never the network.
fn circumstances(clock: Clock, link: Option<LinkHandle>) -> Arc<dyn Fn() -> Circumstances + Send + Sync> {
    let connectivity = link.map(|link| link.connectivity());
    Arc::new(move || {
        let now_s = clock.now_s();
        let offline_s = connectivity.as_ref().map_or(0, |watched| watched.borrow().offline_s(now_s));
        Circumstances { now_s, offline_s, policy_age_s: offline_s }
    })
}

fn boot_id() -> Result<BootId> {
    let number = Secret::random(8).context("no randomness for this start's id")?;
    hex::encode(number.expose()).parse().context("this start's id")
}

fn empty(directory: &Path) -> Result<()> {
    let emptied = std::fs::remove_dir_all(directory).and_then(|()| std::fs::create_dir(directory));
    emptied.with_context(|| format!("cannot empty `{}`", directory.display()))
}
