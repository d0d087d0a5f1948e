//! Devices with the real link: each says of every newer state that it is applied, and remembers what it was told to be stored.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use outpost_contract::{Activity, LinkHealth, Reported};
use outpost_disk::Clock;
use outpost_sync::{Enrolment, Identity, Link, LinkConfig, LinkEvent, LinkHandle, SyncDatabase, enrol};
use outpost_trust::desired::{Acceptance, accept};
use tokio::sync::mpsc;

use crate::house::{House, PATIENCE, text};

/// Devices that enrol at once.
const ENROLLING: usize = 8;

/// What is known of all devices.
#[derive(Debug, Default)]
struct Known {
    /// By device: its start, and the newest report that it was told to be stored.
    acknowledged: BTreeMap<String, (String, u64)>,
    /// States that were refused although none was older than what the device had.
    refused: usize,
}

pub(crate) struct Swarm {
    count: usize,
    known: Arc<Mutex<Known>>,
    _links: Vec<LinkHandle>,
}

impl Swarm {
    /// Enrols devices, by both servers in turn, and connects them.
    pub(crate) async fn enrol(house: &House, count: usize) -> Self {
        let names: Vec<String> = (1..=count).map(|number| format!("device-{number:03}")).collect();
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
        let known = Arc::new(Mutex::new(Known::default()));
        let links = identities.into_iter().map(|(identity, home)| {
            let database = SyncDatabase::open(&home).unwrap();
            Device::start(identity, &database, Arc::clone(&known))
        });
        Self { count, _links: links.collect(), known }
    }

    /// Waits until every device was told that its report of this version is stored. A device makes one report of each version.
    pub(crate) async fn all_stored(&self, version: u64, house: &House) {
        let began = Instant::now();
        loop {
            let stored = {
                let known = self.known.lock().unwrap();
                known.acknowledged.values().filter(|(_, sequence)| *sequence >= version).count()
            };
            if stored == self.count {
                return;
            }
            let lacks = house.sql(&format!("SELECT count(*) FROM desired WHERE version < {version}"));
            assert!(
                began.elapsed() < PATIENCE,
                "{stored} of {} have version {version}; {lacks} not signed",
                self.count
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn acknowledged(&self) -> BTreeMap<String, (String, u64)> {
        self.known.lock().unwrap().acknowledged.clone()
    }

    pub(crate) fn refused(&self) -> usize {
        self.known.lock().unwrap().refused
    }
}

struct Device {
    identity: Identity,
    link: LinkHandle,
    known: Arc<Mutex<Known>>,
    /// Of the newest state that was accepted.
    version: u64,
    sequence: u64,
}

impl Device {
    fn start(identity: Identity, database: &SyncDatabase, known: Arc<Mutex<Known>>) -> LinkHandle {
        let config = LinkConfig::new("start".parse().unwrap(), "test");
        let (link, events) = Link::start(&identity, config, database, &Clock::system()).unwrap();
        tokio::spawn(Self { identity, link: link.clone(), known, version: 0, sequence: 0 }.run(events));
        link
    }

    async fn run(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        let name = self.identity.device().to_string();
        while let Some(event) = events.recv().await {
            match event {
                LinkEvent::Desired(envelope) => self.apply(&envelope),
                LinkEvent::ReportStored { sequence } => {
                    let mut known = self.known.lock().unwrap();
                    let newest = known.acknowledged.entry(name.clone()).or_insert_with(|| ("start".to_owned(), 0));
                    newest.1 = newest.1.max(sequence);
                }
                _ => {}
            }
        }
    }

    fn apply(&mut self, envelope: &[u8]) {
        let keys: Vec<_> = self.identity.director_keys().iter().filter_map(|key| key.parse().ok()).collect();
        let acceptance = |floor_version| Acceptance {
            tenant: self.identity.tenant(),
            device: self.identity.device(),
            floor_version,
            floor_payload: None,
            director_keys: &keys,
            now_s: Clock::system().now_s(),
        };
        let desired = match accept(envelope, &acceptance(self.version)) {
            Ok(accepted) => accepted.desired,
            Err(_) => {
                // What it has may come again; something older, or something else, may not.
                let again = accept(envelope, &acceptance(self.version.saturating_sub(1)));
                if !again.is_ok_and(|accepted| accepted.desired.version == self.version) {
                    self.known.lock().unwrap().refused += 1;
                }
                return;
            }
        };
        self.version = desired.version;
        self.sequence += 1;
        let report = Reported {
            v: 1,
            device: self.identity.device().clone(),
            boot: "start".parse().unwrap(),
            sequence: self.sequence,
            agent: "test".to_owned(),
            desired_version: self.version,
            applied_version: self.version,
            model: None,
            policy_version: desired.policy.map_or(0, |policy| policy.release),
            reasons: Vec::new(),
            measurements: None,
            plan: Vec::new(),
            activity: Activity::default(),
            transfer: None,
            link: LinkHealth::default(),
        };
        self.link.report(&report).unwrap();
    }
}
