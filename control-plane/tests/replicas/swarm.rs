//! Devices with the real link: each says of every newer state that it is applied, and how it does with it, and remembers what it
//! was told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use outpost_contract::{Activity, Desired, Installed, LinkHealth, Reported, Sha256};
use outpost_disk::Clock;
use outpost_sync::{Enrolment, Identity, Link, LinkConfig, LinkEvent, LinkHandle, SyncDatabase, enrol};
use outpost_trust::desired::{Acceptance, accept};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::house::{House, PATIENCE, text};

/// Devices that enrol at once.
const ENROLLING: usize = 8;

/// The start that all reports are of.
pub(crate) const BOOT: &str = "start";

/// How fast a device is that does well, thousandths of a token per second.
const SPEED_MILLI: u64 = 9_000;

/// How devices behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// How often each reports though nothing changed, if it does.
    pub(crate) beat: Option<Duration>,
    /// Whether this device is slow with so many tokens of context.
    pub(crate) is_slow: fn(&str, u32) -> bool,
}

impl Nature {
    /// One report of each state, and all is well.
    pub(crate) const QUIET: Self = Self { beat: None, is_slow: |_, _| false };
}

/// A state that a device accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) version: u64,
    pub(crate) payload: Sha256,
    pub(crate) context: u32,
}

/// What is known of one device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Reports that it was told to be stored.
    pub(crate) stored: BTreeSet<u64>,
    /// States that it accepted, in their order.
    pub(crate) accepted: Vec<Accepted>,
    /// States that it refused: older than what it had, or with the same version and another content.
    pub(crate) refused: usize,
}

impl Told {
    /// The newest of its reports that it was told to be stored.
    pub(crate) fn newest_stored(&self) -> u64 {
        self.stored.last().copied().unwrap_or(0)
    }
}

/// By device.
type Known = BTreeMap<String, Told>;

pub(crate) struct Swarm {
    known: Arc<Mutex<Known>>,
    _links: Vec<LinkHandle>,
}

impl Swarm {
    /// Enrols devices, by both servers in turn, and connects them.
    pub(crate) async fn enrol(house: &House, names: &[String], nature: Nature) -> Self {
        let list = house.path("names.csv");
        std::fs::write(&list, names.join("\n")).unwrap();
        let codes = house.ask(0, &["device", "codes", "--file", &text(&list), "--minutes", "600"]);
        let (authority, clock) = (house.authority(), Clock::system());
        let (authority, clock) = (&authority, &clock);
        let enrolling = codes.as_array().unwrap().iter().enumerate().map(|(turn, made)| async move {
            let (name, code) = (made["device"].as_str().unwrap(), made["code"].as_str().unwrap());
            let home = house.path(name);
            std::fs::create_dir_all(&home).unwrap();
            let enrolment = Enrolment {
                server_url: &house.url(turn % 2),
                code,
                wished_name: "",
                authority,
                dir: &home,
                agent: "test",
                audit_key: &format!("{name}+00000000+AA"),
            };
            let began = Instant::now();
            loop {
                match enrol(&enrolment, clock).await {
                    Ok(identity) => return (identity, home),
                    // The server may not be up yet.
                    Err(error) => assert!(began.elapsed() < PATIENCE, "`{name}` is not enrolled: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let identities: Vec<(Identity, PathBuf)> = stream::iter(enrolling).buffer_unordered(ENROLLING).collect().await;
        let known: Known = names.iter().map(|name| (name.clone(), Told::default())).collect();
        let known = Arc::new(Mutex::new(known));
        let links = identities.into_iter().map(|(identity, home)| {
            let database = SyncDatabase::open(&home).unwrap();
            Device::start(identity, &database, nature, Arc::clone(&known))
        });
        Self { _links: links.collect(), known }
    }

    /// Waits until every device was told that its report of this version is stored. A device makes one report of each version.
    pub(crate) async fn all_stored(&self, version: u64, house: &House) {
        let began = Instant::now();
        loop {
            let (stored, count) = {
                let known = self.known.lock().unwrap();
                (known.values().filter(|told| told.newest_stored() >= version).count(), known.len())
            };
            if stored == count {
                return;
            }
            let lacks = house.sql(&format!("SELECT count(*) FROM desired WHERE version < {version}"));
            assert!(began.elapsed() < PATIENCE, "{stored} of {count} have version {version}; {lacks} not signed");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What each device was told until now.
    pub(crate) fn told(&self) -> BTreeMap<String, Told> {
        self.known.lock().unwrap().clone()
    }
}

struct Device {
    identity: Identity,
    link: LinkHandle,
    nature: Nature,
    known: Arc<Mutex<Known>>,
    /// The newest state that was accepted, and its digest.
    newest: Option<(Desired, Sha256)>,
    sequence: u64,
}

impl Device {
    fn start(identity: Identity, database: &SyncDatabase, nature: Nature, known: Arc<Mutex<Known>>) -> LinkHandle {
        let config = LinkConfig::new(BOOT.parse().unwrap(), "test");
        let (link, events) = Link::start(&identity, config, database, &Clock::system()).unwrap();
        tokio::spawn(Self { identity, link: link.clone(), nature, known, newest: None, sequence: 0 }.run(events));
        link
    }

    async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        let mut beat = self.nature.beat.map(interval);
        if let Some(beat) = &mut beat {
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let beats = async {
                match &mut beat {
                    Some(beat) => beat.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv() => match event {
                    Some(LinkEvent::Desired(envelope)) => self.apply(&envelope),
                    Some(LinkEvent::ReportStored { sequence }) => self.note(|told| {
                        told.stored.insert(sequence);
                    }),
                    Some(_) => {}
                    None => return,
                },
                _ = beats => self.report(),
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Told)) {
        let mut known = self.known.lock().unwrap();
        note(known.get_mut(self.identity.device().as_str()).expect("it is one of them"));
    }

    fn apply(&mut self, envelope: &[u8]) {
        let keys: Vec<_> = self.identity.director_keys().iter().filter_map(|key| key.parse().ok()).collect();
        let acceptance = Acceptance {
            tenant: self.identity.tenant(),
            device: self.identity.device(),
            floor_version: self.newest.as_ref().map_or(0, |(desired, _)| desired.version),
            floor_payload: self.newest.as_ref().map(|(_, payload)| *payload),
            director_keys: &keys,
            now_s: Clock::system().now_s(),
        };
        match accept(envelope, &acceptance) {
            // What it has may come again; something older, or something else, may not.
            Ok(accepted) if accepted.repeated => {}
            Ok(accepted) => {
                let context = accepted.desired.model.as_ref().map_or(0, |model| model.minimum_context_tokens);
                let (version, payload) = (accepted.desired.version, accepted.payload_sha256);
                self.note(|told| told.accepted.push(Accepted { version, payload, context }));
                self.newest = Some((accepted.desired, payload));
                self.report();
            }
            Err(_) => self.note(|told| told.refused += 1),
        }
    }

    /// Says that the newest state is applied, and how the device does with it.
    fn report(&mut self) {
        let Some((desired, _)) = &self.newest else { return };
        self.sequence += 1;
        let device = self.identity.device();
        let model = desired.model.as_ref().map(|model| {
            let context_tokens = model.minimum_context_tokens;
            let speed =
                if (self.nature.is_slow)(device.as_str(), context_tokens) { SPEED_MILLI / 2 } else { SPEED_MILLI };
            let target = model.variants[0].name.clone();
            let (model, sha256) = (model.model.clone(), Sha256([0; 32]));
            Installed { model, target, sha256, context_tokens, self_test_tokens_per_second_milli: speed }
        });
        let counted = Activity { errors_per_mille: Some(0), golden_failures: Some(0), ..Activity::default() };
        let report = Reported {
            v: 1,
            device: device.clone(),
            boot: BOOT.parse().unwrap(),
            sequence: self.sequence,
            agent: "test".to_owned(),
            desired_version: desired.version,
            applied_version: desired.version,
            model,
            policy_version: desired.policy.as_ref().map_or(0, |policy| policy.release),
            reasons: Vec::new(),
            measurements: None,
            plan: Vec::new(),
            activity: counted,
            transfer: None,
            link: LinkHealth::default(),
            build: None,
        };
        self.link.report(&report).unwrap();
    }
}
