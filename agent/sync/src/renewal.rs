//! Renewal of the device's certificate, with a new key, in the slot beside the one in force.
//!
//! ```text
//!  due ──► key made ──► certificate asked for ──► proven by a connection ──► swapped ──► old key removed ──► told
//!             └────────────────┴──────────────────────┴─ any failure: the old one stays in force, back off, go on
//! ```
//!
//! It is due when a third of the certificate's life is left; one that has expired is renewed by a signature of its key.
//! Whether this device was revoked is found out here as well: the broker refuses it again and again, and the control
//! plane says why.

mod server;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outpost_contract::Fingerprint;
use outpost_disk::{Clock, Secret};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::enrol::new_key;
use crate::identity::Credential;
use crate::slots::{Slots, Spare};
use crate::web::WebError;
use crate::{BackOff, Connectivity, Identity, IdentityError, SyncDatabase, SyncError, TlsError, Waits};
use server::ControlPlane;

/// Waits after a failure: a renewal has months, and a fleet must not come at once.
const BACK_OFF: BackOff = BackOff { base: Duration::from_secs(60), cap: Duration::from_secs(6 * 60 * 60) };

/// After a renewal the next one waits: two clocks that are far apart may find a new certificate due at once.
const SETTLED: Duration = Duration::from_secs(60 * 60);

/// How often it is looked whether a renewal is due: a clock can be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// Refusals of the broker in a row after which the control plane is asked whether this device was revoked.
const REFUSALS: u32 = 3;

/// Between two such questions.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// What the broker's side of TLS says to a certificate that has expired, by its clock.
const EXPIRED_ALERT: &str = "CertificateExpired";

/// Why a step of a renewal failed; the old certificate stays in force.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The control plane.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The new certificate could not be proven by a connection.
    #[error("the broker could not be reached with the new certificate: {0}")]
    NotProven(String),
    /// The broker does not take the new certificate; another is asked for.
    #[error("the broker does not take the new certificate; another one is asked for")]
    NotAuthorized,
    /// Files of the identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A key could not be made.
    #[error("cannot make a device key: {0}")]
    Key(#[from] rcgen::Error),
    /// `sync.db`.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

impl RenewalError {
    fn is_revocation(&self) -> bool {
        matches!(self, Self::Web(error) if error.is_revocation())
    }
}

/// What becomes of the device's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityEvent {
    /// A new key and certificate are in force.
    Renewed {
        /// The new key.
        fingerprint: Fingerprint,
        /// When the new certificate ends, seconds since 1970-01-01 UTC.
        not_after_s: i64,
    },
    /// A renewal did not get on; it is tried again.
    NotRenewed {
        /// Why, in words.
        reason: String,
    },
    /// The control plane has revoked this device. Said once, also over restarts.
    Revoked,
    /// The control plane lets this device in again after [`IdentityEvent::Revoked`].
    Admitted,
}

/// The other side of a renewal.
#[async_trait]
trait Server: Send + Sync {
    /// A certificate for `key`, asked for with what is in force.
    async fn certify(&self, key: &Secret) -> Result<String, RenewalError>;

    /// Connects with a new credential, as a proof.
    async fn prove(&self, credential: &Credential) -> Result<(), RenewalError>;

    /// Asks whether this device is still one of the fleet, with what is in force; tells at the same time that it is used.
    async fn call(&self) -> Result<(), RenewalError>;
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advance {
    /// Another step follows.
    On,
    /// The new credential is in force; what is left of the old one goes next.
    Swapped,
    /// All is done.
    Done,
}

/// Renews the certificate of one device for as long as it runs.
pub struct Renewal {
    identity: Identity,
    slots: Slots,
    server: Arc<dyn Server>,
    database: SyncDatabase,
    clock: Clock,
    /// 0 to 255: how much later than the first of a fleet.
    jitter: u8,
    back_off: BackOff,
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Renewal").field("device", self.identity.device()).finish_non_exhaustive()
    }
}

impl Renewal {
    /// For the identity in `dir`; every connection that was made from a clone of `identity` shows the new certificate once
    /// it is in force.
    ///
    /// # Errors
    /// If the identity cannot be used.
    pub fn new(dir: &Path, identity: &Identity, database: &SyncDatabase, clock: &Clock) -> Result<Self, RenewalError> {
        let server = Arc::new(ControlPlane::new(identity, clock)?);
        Ok(Self::with(dir, identity, server, database, clock))
    }

    fn with(dir: &Path, identity: &Identity, server: Arc<dyn Server>, database: &SyncDatabase, clock: &Clock) -> Self {
        let mut jitter = [0];
        // Without randomness: as late as any other.
        let _ = getrandom::fill(&mut jitter);
        Self {
            identity: identity.clone(),
            slots: Slots::new(dir),
            server,
            database: database.clone(),
            clock: clock.clone(),
            jitter: jitter[0],
            back_off: BACK_OFF,
        }
    }

    /// Tries again at another pace after a failure.
    #[must_use]
    pub fn trying_again(mut self, back_off: BackOff) -> Self {
        self.back_off = back_off;
        self
    }

    /// Runs until `stop`. `connectivity` is the link's: a broker that refuses this device, or finds its certificate expired,
    /// is a reason to look at once.
    pub async fn run(
        self,
        mut connectivity: watch::Receiver<Connectivity>,
        events: mpsc::Sender<IdentityEvent>,
        stop: CancellationToken,
    ) {
        let _ = stop.run_until_cancelled(self.keep_renewed(&mut connectivity, &events)).await;
    }

    async fn keep_renewed(
        &self,
        connectivity: &mut watch::Receiver<Connectivity>,
        events: &mpsc::Sender<IdentityEvent>,
    ) {
        let mut waits = Waits::new(self.back_off);
        let (mut try_at, mut ask_at) = (Instant::now(), Instant::now());
        loop {
            let link = connectivity.borrow_and_update().clone();
            let mut look_at = Instant::now() + LOOK_EVERY;
            if link.is_online() {
                self.admitted(events).await;
            }
            if link.refusals >= REFUSALS {
                if Instant::now() >= ask_at {
                    self.ask_whether_revoked(events).await;
                    // Once it is known, the link finds out when that is over.
                    let is_known = matches!(self.database.revoked_s(), Ok(Some(_)));
                    ask_at = Instant::now() + if is_known { LOOK_EVERY } else { ASK_EVERY };
                }
                look_at = look_at.min(ask_at);
            }
            if self.is_wanted(&link) {
                if Instant::now() >= try_at {
                    let pause = match self.renew(events).await {
                        Ok(()) => {
                            waits.reset();
                            SETTLED
                        }
                        Err(error) => {
                            self.failed(error, events).await;
                            waits.next().max(self.back_off.base / 60)
                        }
                    };
                    try_at = Instant::now() + pause;
                }
                look_at = look_at.min(try_at);
            }
            tokio::select! {
                () = tokio::time::sleep_until(look_at) => {}
                changed = connectivity.changed() => if changed.is_err() {
                    // The link is over; renewals go on without it.
                    tokio::time::sleep_until(look_at).await;
                }
            }
        }
    }

    /// True if a renewal is under way or due, or the broker says that the certificate has expired.
    fn is_wanted(&self, link: &Connectivity) -> bool {
        let under_way = !matches!(self.slots.spare(&self.identity), Ok(Spare::Nothing));
        let expired = link.reason.as_ref().is_some_and(|reason| reason.contains(EXPIRED_ALERT));
        under_way || (expired && !link.is_online()) || self.clock.now_s() >= self.due_s()
    }

    /// When a third of the certificate's life is left; an eighth of that later for the last of a fleet.
    fn due_s(&self) -> i64 {
        let Credential { not_before_s, not_after_s, .. } = self.identity.credential();
        let third_s = (not_after_s - not_before_s).max(0) / 3;
        not_after_s - third_s + third_s / 8 * i64::from(self.jitter) / 256
    }

    /// One renewal, from where the last attempt stopped to its end.
    async fn renew(&self, events: &mpsc::Sender<IdentityEvent>) -> Result<(), RenewalError> {
        loop {
            match self.advance().await? {
                Advance::On => {}
                Advance::Swapped => {
                    let (fingerprint, not_after_s) =
                        (self.identity.fingerprint()?, self.identity.certificate_not_after_s());
                    tracing::info!(%fingerprint, not_after_s, "a new certificate is in force");
                    say(events, IdentityEvent::Renewed { fingerprint, not_after_s }).await;
                    // If this does not arrive, the next connection tells it.
                    if let Err(error) = self.server.call().await {
                        tracing::info!(%error, "the control plane is not told yet that the new certificate is used");
                    }
                }
                Advance::Done => return Ok(()),
            }
        }
    }

    /// The next step: whichever follows from what lies on the disk, and one change of it.
    async fn advance(&self) -> Result<Advance, RenewalError> {
        match self.slots.spare(&self.identity)? {
            Spare::Nothing => self.slots.keep_key(&self.identity, &new_key()?)?,
            Spare::Key(key) => {
                let certificate = self.server.certify(&key).await?;
                self.slots.keep_certificate(&self.identity, key, certificate)?;
            }
            Spare::Certified(credential) => {
                if let Err(error) = self.server.prove(&credential).await {
                    if matches!(error, RenewalError::NotAuthorized) {
                        self.slots.discard_certificate()?;
                    }
                    return Err(error);
                }
                self.slots.swap(&self.identity, credential)?;
                return Ok(Advance::Swapped);
            }
            Spare::Left => {
                let done = self.slots.tidy(&self.identity)?;
                return Ok(if done { Advance::Done } else { Advance::On });
            }
        }
        Ok(Advance::On)
    }

    async fn failed(&self, error: RenewalError, events: &mpsc::Sender<IdentityEvent>) {
        if error.is_revocation() {
            return self.revoked(events).await;
        }
        tracing::warn!(%error, "the certificate was not renewed; the old one stays in force, and it is tried again");
        say(events, IdentityEvent::NotRenewed { reason: error.to_string() }).await;
    }

    async fn ask_whether_revoked(&self, events: &mpsc::Sender<IdentityEvent>) {
        match self.server.call().await {
            Ok(()) => tracing::warn!("the broker refuses this device, the control plane does not"),
            Err(error) if error.is_revocation() => self.revoked(events).await,
            Err(error) => tracing::info!(%error, "why the broker refuses this device is not known"),
        }
    }

    async fn revoked(&self, events: &mpsc::Sender<IdentityEvent>) {
        match self.database.note_revoked(self.clock.now_s()) {
            Ok(false) => {}
            Ok(true) => {
                tracing::error!("this device was revoked; it goes on as it was last told, and gets nothing new");
                say(events, IdentityEvent::Revoked).await;
            }
            Err(error) => tracing::error!(%error, "it is not kept that this device was revoked"),
        }
    }

    async fn admitted(&self, events: &mpsc::Sender<IdentityEvent>) {
        match self.database.note_admitted() {
            Ok(false) => {}
            Ok(true) => say(events, IdentityEvent::Admitted).await,
            Err(error) => tracing::error!(%error, "it is not kept that this device is let in again"),
        }
    }
}

async fn say(events: &mpsc::Sender<IdentityEvent>, event: IdentityEvent) {
    // Nobody listens only while the agent stops.
    let _ = events.send(event).await;
}
