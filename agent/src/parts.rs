//! What the agent is put together from: opened once, handed to whoever needs it.

mod in_fleet;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result};
use outpost_audit::{
    AuditLog, BootInfo, BootReport, EndedLogs, LogOptions, Pseudonyms, Retention, SpaceOptions, VerifierKey,
};
use outpost_contract::BootId;
use outpost_disk::{Clock, Ledger, Secret};
use outpost_policies::{Bundle, InForce, Policies};
use outpost_serve::{ApiKeys, Circumstances, Identities, LocalUsers, Serving};
use outpost_store::Store;
use outpost_sync::{Identity, LinkHandle, SyncDatabase};
use outpost_update::Builds;
use tokio::sync::{Notify, watch};

use crate::access;
use crate::active::{Active, Card};
use crate::attempts::Attempts;
use crate::backend::{GivenUp, LocalBackend, Readiness};
use crate::config::{Config, Transfer};
use crate::drain::Drain;
use crate::gate::Gate;
use crate::governance::{Keepers, SignersInForce, Surroundings};
use crate::housekeeping::{Housekeeper, Named};
use crate::install::Installer;
use crate::keys;
use crate::learning::{self, Learning};
use crate::measure::Measured;
use crate::models::hub::FromHub;
use crate::models::{Presets, Residents, Shelf};
use crate::pressure;
use crate::progress::Announcer;
use crate::pulling::Pulling;
use crate::state::StateDir;
use crate::status::Status;
use crate::stick::Port;
use crate::succession;
use crate::time_zone::utc_offsets;
use crate::updates::{LeftOver, Updates};
use crate::withdrawn::Withdrawn;
use crate::witnessing::{Ended, Standing};

/// The ledger of the model that served last.
pub(crate) const ACTIVE_MODEL: &str = "active-model";

/// The agent's version, as it says it to everybody.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The parts; cloning gives another hand on the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) state: StateDir,
    pub(crate) boot: BootId,
    pub(crate) device: String,
    pub(crate) clock: Clock,
    pub(crate) audit: AuditLog,
    log_key: VerifierKey,
    /// How far others vouch for the log.
    pub(crate) vouched: watch::Sender<Standing>,
    /// That the log must not go on.
    pub(crate) ended: watch::Sender<Option<Ended>>,
    pub(crate) retention: Retention,
    pub(crate) policies: InForce,
    pub(crate) identities: Arc<Identities>,
    keepers: Keepers,
    pseudonyms: Pseudonyms,
    pub(crate) announcer: Announcer,
    pub(crate) active: Arc<Active>,
    pub(crate) store: Store,
    pub(crate) measured: Arc<Measured>,
    pub(crate) installer: Arc<Installer>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) residents: Arc<Residents>,
    presets: Arc<Presets>,
    sources: Vec<PathBuf>,
    transfer: Transfer,
    ask_neighbours_after_s: u64,
    pub(crate) last_card: Option<Card>,
    pub(crate) drain: Drain,
    /// What the device does without for want of memory, or for heat.
    pub(crate) pressed: watch::Sender<pressure::Standing>,
    /// Set when this process is to start again.
    pub(crate) restart: watch::Sender<bool>,
    builds: Builds,
    /// Told when this build is confirmed.
    confirmed: Arc<Notify>,
    /// The build that was to be tried at this start and was not.
    left_over: Arc<OnceLock<LeftOver>>,
    /// Rung where the next report is wanted at once.
    news: Arc<Notify>,
    /// One connection for everybody: two writers would refuse each other. None on a box that belongs to no fleet.
    sync: Option<SyncDatabase>,
}

impl Parts {
    /// Opens everything in a prepared state directory; also gives where the agent's readiness is told, and how the last run
    /// ended.
    pub(crate) fn open(
        state: &StateDir,
        config: &Config,
        identity: Option<&Identity>,
        program: PathBuf,
        clock: Option<Clock>,
    ) -> Result<(Self, watch::Receiver<Readiness>, BootReport)> {
        let clock = clock.map_or_else(|| Clock::open(state.ledgers()), Ok)?;
        let device = identity.map_or_else(|| "standalone".to_owned(), |identity| identity.device().to_string());
        let info = BootInfo { agent: VERSION.into(), device: device.clone(), clock: clock.clone() };
        let succession = succession::begin(state)?;
        let opened = AuditLog::open_with(&state.audit(), keys::log_identity(state)?, info, &log_options(state, config));
        let (audit, boot_report) = opened.context("cannot open the audit log")?;
        let log_key: VerifierKey = boot_report.verifier_key.parse().context("the audit log's public key")?;
        if let Some(succession) = succession {
            succession.record(&audit, &log_key)?;
        }
        let announcer = Announcer::default();
        let active = Arc::new(Active::default());
        let store = Store::open(&state.store()).context("cannot open the model store")?;
        let (ledger, last_card) = Ledger::open(state.ledgers(), ACTIVE_MODEL)?;
        // What served before serves again in a moment, which callers can wait for.
        let (readiness, ready) = watch::channel(match &last_card {
            Some(_) => Readiness::Switching("the model that served before is being loaded".into()),
            None => Readiness::Preparing,
        });
        let (measurements, earlier) = Ledger::open(state.ledgers(), "measurements")?;
        let sync = identity.map(|_| SyncDatabase::open(&state.sync()).context("cannot open sync.db")).transpose()?;
        let (presets, made) = Ledger::open(state.ledgers(), "presets")?;
        let (corrections, learned) = Ledger::open(state.ledgers(), learning::LEDGER)?;
        let learning = Learning::new(corrections, learned);
        let measured = Arc::new(Measured::new(state.store(), clock.clone(), measurements, earlier, learning));
        let residents = Residents::new(config.model.clone(), program.clone(), audit.clone(), Arc::clone(&measured));
        let residents = Arc::new(residents);
        let housekeeper = Housekeeper {
            settings: config.store.clone(),
            store: store.clone(),
            active: Arc::clone(&active),
            residents: Arc::clone(&residents),
            audit: audit.clone(),
            clock: clock.clone(),
            in_fleet: identity.is_some(),
            named: Mutex::new(Named::of(last_card.as_ref(), &config.store)),
        };
        // What a device of a fleet may run is signed; what somebody put on its disk is not.
        let shelf = Shelf::new(identity.is_none().then(|| store.clone()));
        let policies = InForce::new(default_policies()?);
        let day = Ledger::open(state.ledgers(), "transfer")?;
        let installer = Installer {
            pulling: Arc::new(Pulling::new(clock.clone(), config.transfer.slow_kib_per_s)),
            gate: Gate::new(policies.clone(), clock.clone(), utc_offsets(), day),
            settings: config.model.clone(),
            store: store.clone(),
            active: Arc::clone(&active),
            audit: audit.clone(),
            clock: clock.clone(),
            announcer: announcer.clone(),
            readiness,
            ledger: Arc::new(Mutex::new(ledger)),
            measured: Arc::clone(&measured),
            housekeeper: Arc::new(housekeeper),
            attempts: Arc::new(Attempts::open(&state.ledgers(), VERSION)?),
            turn: Arc::default(),
            decisions: Arc::default(),
            last_rejection: Mutex::default(),
            program,
            withdrawn: Withdrawn::new(clock.clone()),
            offered: Mutex::default(),
        };
        let identities = Arc::new(identities(state, config)?);
        let pseudonyms = keys::pseudonyms(state)?;
        let signers = SignersInForce::configured(&config.signers, identity.is_some())?;
        let around = Surroundings {
            device: device.clone(),
            enrolled: identity.is_some(),
            policies: policies.clone(),
            identities: Arc::clone(&identities),
            audit: audit.clone(),
            pseudonyms: pseudonyms.clone(),
            clock: clock.clone(),
            announcer: announcer.clone(),
        };
        let parts = Self {
            boot: boot_id()?,
            device,
            keepers: Keepers::open(&state.ledgers(), signers, around)?,
            policies,
            identities,
            pseudonyms,
            measured,
            installer: Arc::new(installer),
            shelf: Arc::new(shelf),
            residents,
            presets: Arc::new(Presets::new(presets, made)),
            sources: config.model.sources.clone(),
            transfer: config.transfer.clone(),
            ask_neighbours_after_s: config.audit.ask_neighbours_after_s,
            state: state.clone(),
            clock,
            audit,
            log_key,
            vouched: watch::Sender::default(),
            ended: watch::Sender::default(),
            retention: Retention { content_days: config.audit.content_days },
            announcer,
            active,
            store,
            last_card,
            drain: Drain::default(),
            pressed: watch::Sender::default(),
            restart: watch::Sender::default(),
            builds: Builds::at(state.root()).trying_for(config.update.trial_seconds),
            confirmed: Arc::default(),
            left_over: Arc::default(),
            news: Arc::default(),
            sync,
        };
        Ok((parts, ready, boot_report))
    }

    /// What answers the local API.
    pub(crate) fn backend(
        &self,
        readiness: watch::Receiver<Readiness>,
        link: Option<LinkHandle>,
        sticks: Option<Port>,
    ) -> LocalBackend {
        LocalBackend {
            active: Arc::clone(&self.active),
            shelf: Arc::clone(&self.shelf),
            residents: Arc::clone(&self.residents),
            presets: Arc::clone(&self.presets),
            sources: self.sources.clone(),
            from_hub: Arc::new(FromHub {
                installer: Arc::clone(&self.installer),
                directory: self.state.pulls(),
                turn: tokio::sync::Mutex::default(),
            }),
            sticks,
            given_up: self.sync.as_ref().map(|sync| GivenUp { outbox: sync.outbox(), news: Arc::clone(&self.news) }),
            readiness,
            answered: AtomicU64::new(0),
            updates: self.updates(link.clone()),
            status: Box::new(self.status(link)),
            clock: self.clock.clone(),
            drain: self.drain.clone(),
            withdrawn: self.installer.withdrawn.clone(),
        }
    }

    /// What the local API serves with.
    pub(crate) fn serving(&self, backend: Arc<LocalBackend>, link: Option<LinkHandle>) -> Serving {
        Serving {
            device: self.device.clone(),
            audit: self.audit.clone(),
            retention: self.retention,
            pseudonyms: self.pseudonyms.clone(),
            policies: self.policies.clone(),
            identities: Arc::clone(&self.identities),
            backend,
            governance: Arc::new(self.keepers.clone()),
            circumstances: circumstances(self.clock.clone(), link),
        }
    }

    /// What `outpost status` shows.
    pub(crate) fn status(&self, link: Option<LinkHandle>) -> Status {
        Status {
            device: self.device.clone(),
            active: Arc::clone(&self.active),
            policies: self.policies.clone(),
            audit: self.audit.clone(),
            vouched: link.as_ref().map(|_| self.vouched.subscribe()),
            membership: self.membership().ok(),
            link,
            pulling: Arc::clone(&self.installer.pulling),
            pressed: self.pressed.subscribe(),
            builds: self.builds.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Takes newer builds of the agent itself.
    pub(crate) fn updates(&self, link: Option<LinkHandle>) -> Updates {
        Updates {
            builds: self.builds.clone(),
            audit: self.audit.clone(),
            active: Arc::clone(&self.active),
            link,
            restart: self.restart.clone(),
            confirmed: Arc::clone(&self.confirmed),
            left_over: Arc::clone(&self.left_over),
        }
    }

    /// Whoever steps back before the kernel takes what it wants.
    pub(crate) fn pressure(&self) -> pressure::Keeper {
        let hands = pressure::Hands::new(
            Arc::clone(&self.installer),
            Arc::clone(&self.active),
            Arc::clone(&self.residents),
            Arc::clone(&self.shelf),
        );
        pressure::Keeper::new(hands, self.audit.clone(), self.clock.clone(), self.pressed.clone())
    }
}

fn log_options(state: &StateDir, config: &Config) -> LogOptions {
    let quota_bytes = config.audit.quota_mib.map(|mebibytes| mebibytes.saturating_mul(1024 * 1024));
    LogOptions {
        space: SpaceOptions { quota_bytes, ..SpaceOptions::default() },
        vault: Some(state.vault()),
        ended: Some(EndedLogs { logs: state.ended_audit(), vaults: state.ended_vault() }),
    }
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
    let identities = Identities::new()
        .with_api_keys(api_keys)
        .with_local_users(local)
        .with_certificates(access::subjects(&config.api)?)
        .with_speakers_for_others(config.api.speak_for_others.clone());
    access::set_providers(&identities, &config.api)?;
    Ok(identities)
}

/// The device's situation, asked at every request: memory only, never the network.
fn circumstances(clock: Clock, link: Option<LinkHandle>) -> Arc<dyn Fn() -> Circumstances + Send + Sync> {
    let connectivity = link.map(|link| link.connectivity());
    let utc_offset_s = utc_offsets();
    Arc::new(move || {
        let now_s = clock.now_s();
        let offline_s = connectivity.as_ref().map_or(0, |watched| watched.borrow().offline_s(now_s));
        Circumstances { now_s, utc_offset_s: utc_offset_s(now_s), offline_s, policy_age_s: offline_s }
    })
}

fn boot_id() -> Result<BootId> {
    let number = Secret::random(8).context("no randomness for this start's id")?;
    hex::encode(number.expose()).parse().context("this start's id")
}
