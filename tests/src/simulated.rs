//! A device that is not there: the real link with its own certificate, and a reconciler that checks a desired state as an agent
//! does, up to the catalogue, and says that it is applied.

use anyhow::{Result, bail};
use outpost_contract::{Activity, LinkHealth, Reported, Sha256};
use outpost_disk::Clock;
use outpost_sync::{BackOff, Identity, Link, LinkConfig, LinkEvent, LinkHandle, SyncDatabase};
use outpost_trust::desired::{Acceptance, accept};
use tokio::sync::mpsc;

/// What a simulated device tells of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The control plane answered.
    Up,
    /// It is out of reach; why.
    Down(String),
    /// A desired state was accepted and reported as applied.
    Applied {
        /// Its version.
        version: u64,
        /// SHA-256 of what was signed.
        payload: Sha256,
    },
    /// A desired state, or its report, came to nothing; why.
    Failed(String),
    /// The control plane says that it has stored the reports up to this sequence.
    Stored(u64),
}

/// Starts a device, which waits between connections as `back_off` says and tells `hear` of all that happens to it until the link is stopped.
///
/// # Errors
/// If the link cannot be started.
pub fn start(
    identity: Identity,
    database: &SyncDatabase,
    back_off: BackOff,
    mut hear: impl FnMut(Heard) + Send + 'static,
) -> Result<LinkHandle> {
    let config = LinkConfig { back_off, ..LinkConfig::new("simulated".parse()?, env!("CARGO_PKG_VERSION")) };
    let (link, mut events) = Link::start(&identity, config, database, &Clock::system())?;
    let mut device = Device { identity, link: link.clone(), newest: None, sequence: 0 };
    tokio::spawn(async move { device.run(&mut events, &mut hear).await });
    Ok(link)
}

struct Device {
    identity: Identity,
    link: LinkHandle,
    /// Version and payload of the newest state that was accepted.
    newest: Option<(u64, Sha256)>,
    sequence: u64,
}

impl Device {
    async fn run(&mut self, events: &mut mpsc::Receiver<LinkEvent>, hear: &mut impl FnMut(Heard)) {
        while let Some(event) = events.recv().await {
            match event {
                LinkEvent::Up { .. } => hear(Heard::Up),
                LinkEvent::Down { reason } => hear(Heard::Down(reason)),
                LinkEvent::Desired(envelope) => match self.apply(&envelope) {
                    Ok(Some((version, payload))) => hear(Heard::Applied { version, payload }),
                    // It was told before, retained and live.
                    Ok(None) => {}
                    Err(error) => hear(Heard::Failed(format!("{error:#}"))),
                },
                LinkEvent::ReportStored { sequence } => hear(Heard::Stored(sequence)),
                _ => {}
            }
        }
    }

    /// Accepts a newer state and says that it is applied; what was accepted.
    fn apply(&mut self, envelope: &[u8]) -> Result<Option<(u64, Sha256)>> {
        let keys: Vec<_> = self.identity.director_keys().iter().filter_map(|key| key.parse().ok()).collect();
        let acceptance = Acceptance {
            tenant: self.identity.tenant(),
            device: self.identity.device(),
            floor_version: self.newest.as_ref().map_or(0, |(version, _)| *version),
            floor_payload: self.newest.as_ref().map(|(_, payload)| *payload),
            director_keys: &keys,
            now_s: Clock::system().now_s(),
        };
        let accepted = match accept(envelope, &acceptance) {
            Ok(accepted) => accepted,
            Err(refusal) => bail!("a desired state is refused: {refusal:?}"),
        };
        if accepted.repeated {
            return Ok(None);
        }
        let (desired, payload) = (accepted.desired, accepted.payload_sha256);
        self.newest = Some((desired.version, payload));
        self.sequence += 1;
        self.link.report(&Reported {
            v: 1,
            device: self.identity.device().clone(),
            boot: "simulated".parse()?,
            sequence: self.sequence,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            desired_version: desired.version,
            applied_version: desired.version,
            model: None,
            policy_version: desired.policy.map_or(0, |policy| policy.release),
            reasons: Vec::new(),
            measurements: None,
            plan: Vec::new(),
            activity: Activity::default(),
            transfer: None,
            link: LinkHealth::default(),
            build: None,
        })?;
        Ok(Some((desired.version, payload)))
    }
}
