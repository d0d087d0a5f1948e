//! What the agent is put together from: opened once, handed to whoever needs it.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use outpost_audit::{
    AuditLog, BootInfo, BootReport, EndedLogs, LogOptions, Pseudonyms, Retention, SpaceOptions, VerifierKey,
};
use outpost_contract::BootId;
use outpost_disk::{Clock, Ledger, Secret};
use outpost_policies::{Bundle, InForce, Policies};
use outpost_serve::{ApiKeys, Circumstances, Identities, LocalUsers, Serving};
use outpost_store::Store;
use outpost_sync::{
    BackOff, HttpsChunks, HttpsOptions, Identity, Link, LinkConfig, LinkEvent, LinkHandle, MqttChunks, Renewal,
    SyncDatabase, TransferOptions,
};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::active::{Active, Card};
use crate::attempts::Attempts;
use crate::backend::{GivenUp, LocalBackend, Readiness};
use crate::chunks::Origins;
use crate::collect::Collecting;
use crate::commands::Commander;
use crate::config::{Config, Transfer};
use crate::drain::Drain;
use crate::fleet::Fleet;
use crate::gate::Gate;
use crate::governance::{Keepers, SignersInForce, Surroundings};
use crate::home::Home;
use crate::housekeeping::{Housekeeper, Named};
use crate::install::Installer;
use crate::keys;
use crate::measure::Measured;
use crate::membership::{Keeping, Membership};
use crate::models::{Presets, Residents, Shelf};
use crate::neighbours::{Neighbours, announcement};
use crate::noticing::{self, Noticing};
use crate::progress::Announcer;
use crate::pulling::Pulling;
use crate::reconcile::Reconciler;
use crate::report::{Absence, Refusals, Reporter};
use crate::site_witness::{Asking, SiteWitness};
use crate::state::StateDir;
use crate::status::Status;
use crate::stick::Port;
use crate::succession;
use crate::time_zone::utc_offsets;
use crate::withdrawn::Withdrawn;
use crate::witnessing::{Answers, Ended, Standing, Witnessing};

/// The ledger of the model that served last.
pub(crate) const ACTIVE_MODEL: &str = "active-model";

/// Answers of witness and mirror that may wait: one is asked for at a time.
const ANSWERS: usize = 8;

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
    /// Set when this process is to start again.
    pub(crate) restart: watch::Sender<bool>,
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
        let (readiness, ready) = watch::channel(Readiness::Preparing);
        let announcer = Announcer::default();
        let active = Arc::new(Active::default());
        let store = Store::open(&state.store()).context("cannot open the model store")?;
        let (ledger, last_card) = Ledger::open(state.ledgers(), ACTIVE_MODEL)?;
        let (measurements, earlier) = Ledger::open(state.ledgers(), "measurements")?;
        let sync = identity.map(|_| SyncDatabase::open(&state.sync()).context("cannot open sync.db")).transpose()?;
        let (presets, made) = Ledger::open(state.ledgers(), "presets")?;
        let measured = Arc::new(Measured::new(state.store(), clock.clone(), measurements, earlier));
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
            restart: watch::Sender::default(),
            news: Arc::default(),
            sync,
        };
        Ok((parts, ready, boot_report))
    }

    /// Starts the link to the control plane.
    pub(crate) fn link(
        &self,
        identity: &Identity,
        reconnect: Option<BackOff>,
    ) -> Result<(LinkHandle, mpsc::Receiver<LinkEvent>)> {
        let database = self.sync_database()?;
        let mut config = LinkConfig::new(self.boot.clone(), VERSION);
        config.announcement = announcement(&self.transfer);
        if let Some(reconnect) = reconnect {
            config.back_off = reconnect;
        }
        Link::start(identity, config, &database, &self.clock).context("cannot use the device's identity")
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
            sticks,
            given_up: self.sync.as_ref().map(|sync| GivenUp { outbox: sync.outbox(), news: Arc::clone(&self.news) }),
            readiness,
            answered: AtomicU64::new(0),
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
            clock: self.clock.clone(),
        }
    }

    /// What brings the device to what it was told.
    pub(crate) fn reconciler(&self, identity: Identity) -> Result<Reconciler> {
        Ok(Reconciler {
            slot: self.sync_database()?.accepted(),
            membership: self.membership()?,
            store: self.store.clone(),
            installer: Arc::clone(&self.installer),
            keepers: self.keepers.clone(),
            identities: Arc::clone(&self.identities),
            audit: self.audit.clone(),
            clock: self.clock.clone(),
            announcer: self.announcer.clone(),
            measured: Arc::clone(&self.measured),
            scratch: self.state.scratch(),
            director_keys: Mutex::new(identity.director_keys().iter().filter_map(|key| key.parse().ok()).collect()),
            home: self.home(&identity)?,
            refusals: Mutex::default(),
            last_card: self.last_card.clone(),
            settled: AtomicU64::new(0),
            ruled: Arc::default(),
            identity,
        })
    }

    /// What goes home on sticks.
    pub(crate) fn home(&self, identity: &Identity) -> Result<Home> {
        let cosigners = identity.audit_cosigners().map(|(witness, mirror)| -> Result<_> {
            let witness = witness.parse().context("the witness's key in the device's identity")?;
            Ok([witness, mirror.parse().context("the mirror's key in the device's identity")?])
        });
        Ok(Home {
            tenant: identity.tenant().clone(),
            device: identity.device().clone(),
            outbox: self.sync_database()?.outbox(),
            audit: self.audit.clone(),
            log_key: self.log_key.clone(),
            cosigners: cosigners.transpose()?,
            standing: self.vouched.clone(),
            ended: self.ended.clone(),
            clock: self.clock.clone(),
        })
    }

    /// The device in its fleet.
    pub(crate) fn fleet(
        &self,
        identity: Identity,
        (link, events): (LinkHandle, mpsc::Receiver<LinkEvent>),
        backend: Arc<LocalBackend>,
        stop: CancellationToken,
    ) -> Result<Fleet> {
        let chunks = self.origins(&identity, &stop)?;
        let reporter = Reporter {
            device: identity.device().clone(),
            active: Arc::clone(&self.active),
            backend: Arc::clone(&backend),
            events: link.events(),
            policies: self.policies.clone(),
            audit: self.audit.clone(),
            pulling: Arc::clone(&self.installer.pulling),
            measured: Arc::clone(&self.measured),
            refusals: Refusals::since(self.audit.size()),
            counted_for: (0, Refusals::since(self.audit.size())),
            absence: Absence::since(self.clock.now_s()),
            sequence: 0,
        };
        let (ledger, told) = Ledger::open(self.state.ledgers(), noticing::LEDGER)?;
        let noticing = Noticing {
            events: link.events(),
            active: Arc::clone(&self.active),
            policies: self.policies.clone(),
            audit: self.audit.clone(),
            clock: self.clock.clone(),
            store: self.state.store(),
            ledger,
            told: told.unwrap_or_default(),
            before: None,
        };
        let witnessing = self.witnessing(&identity, &link, &stop)?;
        let reconciler = Arc::new(self.reconciler(identity)?);
        let commander = Commander {
            journal: link.commands(),
            reconciler: Arc::clone(&reconciler),
            policies: self.policies.clone(),
            audit: self.audit.clone(),
            pseudonyms: self.pseudonyms.clone(),
            backend,
            drain: self.drain.clone(),
            measured: Arc::clone(&self.measured),
            store: self.store.clone(),
            collecting: Collecting {
                state: self.state.clone(),
                audit: self.audit.clone(),
                outbox: self.sync_database()?.outbox(),
            },
            restart: self.restart.clone(),
        };
        Ok(Fleet {
            commander: Some(commander),
            boot: self.boot.clone(),
            events,
            witnessing,
            asking: self.asking(&link, &chunks, &stop),
            link,
            chunks,
            reconciler,
            reporter,
            noticing,
            news: Arc::clone(&self.news),
            audit: self.audit.clone(),
            clock: self.clock.clone(),
            announcer: self.announcer.clone(),
            stop,
        })
    }

    /// Where chunks come from; also begins to serve neighbours, if this device is to.
    fn origins(&self, identity: &Identity, stop: &CancellationToken) -> Result<Origins> {
        let unusable = "cannot use the device's identity";
        let Transfer { order, directory, peers, .. } = self.transfer.clone();
        let neighbours = Neighbours::new(identity.clone(), self.clock.clone(), peers);
        let vouch = || SiteWitness::open(&self.state, identity, self.clock.clone());
        neighbours.serve(&self.transfer, self.store.clone(), vouch, stop.clone())?;
        let https = HttpsChunks::new(identity, HttpsOptions::control_plane(), &self.clock).context(unusable)?;
        let mqtt = MqttChunks::new(identity, TransferOptions::default(), &self.clock).context(unusable)?;
        Ok(Origins { order, directory, neighbours: Arc::new(neighbours), https: Arc::new(https), mqtt: Arc::new(mqtt) })
    }

    /// Asks neighbours to vouch for the audit log while the control plane is away; none if the configuration wants none.
    fn asking(&self, link: &LinkHandle, origins: &Origins, stop: &CancellationToken) -> Option<Asking> {
        let after = Duration::from_secs(self.ask_neighbours_after_s);
        (self.ask_neighbours_after_s > 0).then(|| Asking {
            link: link.clone(),
            neighbours: Arc::clone(&origins.neighbours),
            audit: self.audit.clone(),
            log_key: self.log_key.clone(),
            after,
            stop: stop.clone(),
        })
    }

    /// What keeps this device a member of its fleet.
    pub(crate) fn keeping(&self, identity: &Identity, link: &LinkHandle, stop: CancellationToken) -> Result<Keeping> {
        let membership = self.membership()?;
        let renewal = Renewal::new(&self.state.identity(), identity, &membership.database, &self.clock);
        Ok(Keeping {
            renewal: renewal.context("cannot use the device's identity")?,
            connectivity: link.connectivity(),
            events: link.events(),
            membership,
            installer: Arc::clone(&self.installer),
            audit: self.audit.clone(),
            stop,
        })
    }

    fn membership(&self) -> Result<Membership> {
        Ok(Membership { database: self.sync_database()?, policies: self.policies.clone() })
    }

    /// What has the audit log vouched for; none for a device that enrolled where nobody vouches.
    fn witnessing(
        &self,
        identity: &Identity,
        link: &LinkHandle,
        stop: &CancellationToken,
    ) -> Result<Option<(Witnessing, Answers)>> {
        let Some([witness, mirror]) = self.home(identity)?.cosigners else {
            tracing::warn!("this device enrolled before logs were mirrored: its audit log stays here; enrol it again");
            return Ok(None);
        };
        let (sender, answers) = mpsc::channel(ANSWERS);
        let witnessing = Witnessing {
            link: link.clone(),
            answers,
            audit: self.audit.clone(),
            log_key: self.log_key.clone(),
            witness,
            mirror,
            standing: self.vouched.clone(),
            ended: self.ended.clone(),
            stop: stop.clone(),
            number: first_question()?,
        };
        Ok(Some((witnessing, sender)))
    }

    fn sync_database(&self) -> Result<SyncDatabase> {
        self.sync.clone().context("this device belongs to no fleet")
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

/// Where the numbers of questions begin: at another place after each start, so that an answer which the broker kept for the
/// run before is not taken for one to this run.
fn first_question() -> Result<u64> {
    let number = Secret::random(6).context("no randomness for the number of a question")?;
    Ok(number.expose().iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn boot_id() -> Result<BootId> {
    let number = Secret::random(8).context("no randomness for this start's id")?;
    hex::encode(number.expose()).parse().context("this start's id")
}
