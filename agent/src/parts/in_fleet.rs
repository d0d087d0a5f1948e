//! What the device's part in its fleet is put together from.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use outpost_disk::{Ledger, Secret};
use outpost_sync::{
    BackOff, HttpsChunks, HttpsOptions, Identity, Link, LinkConfig, LinkEvent, LinkHandle, MqttChunks, Renewal,
    SyncDatabase, TransferOptions,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Parts, VERSION};
use crate::backend::LocalBackend;
use crate::chunks::Origins;
use crate::collect::Collecting;
use crate::commands::Commander;
use crate::config::Transfer;
use crate::fleet::Fleet;
use crate::home::Home;
use crate::membership::{Keeping, Membership};
use crate::neighbours::{Neighbours, announcement};
use crate::noticing::{self, Noticing};
use crate::reconcile::Reconciler;
use crate::report::{Absence, Refusals, Reporter};
use crate::site_witness::{Asking, SiteWitness};
use crate::witnessing::{Answers, Witnessing};

/// Answers of witness and mirror that may wait: one is asked for at a time.
const ANSWERS: usize = 8;

impl Parts {
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

    /// What brings the device to what it was told.
    pub(crate) fn reconciler(&self, identity: Identity, link: Option<LinkHandle>) -> Result<Reconciler> {
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
            updates: self.updates(link),
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
            builds: self.builds.clone(),
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
        let reconciler = Arc::new(self.reconciler(identity, Some(link.clone()))?);
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

    pub(super) fn membership(&self) -> Result<Membership> {
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

/// Where the numbers of questions begin: at another place after each start, so that an answer which the broker kept for the
/// run before is not taken for one to this run.
fn first_question() -> Result<u64> {
    let number = Secret::random(6).context("no randomness for the number of a question")?;
    Ok(number.expose().iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
