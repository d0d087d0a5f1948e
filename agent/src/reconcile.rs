//! One desired state, from its bytes to what runs: checked, agreed, committed, enforced, installed, each step with its reason.

mod apply;
mod build;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use outpost_audit::{AuditLog, Kind, Record};
use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{Authority, Desired, Reason, ReasonCode, TargetKind};
use outpost_disk::Clock;
use outpost_serve::Identities;
use outpost_store::{Source, Store};
use outpost_sync::{AcceptedSlot, Identity, SyncError};
use outpost_trust::{Acceptance, Agreed, ExpirationPolicy, Floors, VerifyingKey, catalogue, desired};
use tokio::sync::{Notify, watch};

use crate::active::Card;
use crate::chunks::Nowhere;
use crate::governance::Keepers;
use crate::home::{Heard, Home, HomeError};
use crate::install::{Installer, code_name};
use crate::measure::Measured;
use crate::membership::Membership;
use crate::progress::{Announcer, Progress};
use crate::updates::Updates;

/// How long after its expiry a catalogue that is already in force may be read again at a start: for ever. Expiry narrows what
/// is accepted, and a clock that leapt ten years must not stop what runs.
const STALE_CATALOGUE_S: i64 = i64::MAX;

/// Brings the device to what it was told.
#[derive(Debug)]
pub(crate) struct Reconciler {
    pub(crate) identity: Identity,
    pub(crate) slot: AcceptedSlot,
    pub(crate) membership: Membership,
    pub(crate) store: Store,
    pub(crate) installer: Arc<Installer>,
    pub(crate) keepers: Keepers,
    pub(crate) identities: Arc<Identities>,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    pub(crate) announcer: Announcer,
    pub(crate) measured: Arc<Measured>,
    pub(crate) scratch: PathBuf,
    /// The keys that may sign for this device: those of enrolment, then those of the last agreed authority document.
    pub(crate) director_keys: Mutex<Vec<VerifyingKey>>,
    pub(crate) home: Home,
    pub(crate) refusals: Mutex<Refusals>,
    /// What served before this start.
    pub(crate) last_card: Option<Card>,
    /// The version whose model serves since it was installed by this run: the same document again is no reason to change it,
    /// however the memory of the moment would be planned.
    pub(crate) settled: AtomicU64,
    /// Told when other rules took force while the rest of their document, perhaps a model of many hours, is still to come.
    pub(crate) ruled: Arc<Notify>,
    /// Takes builds of the agent itself.
    pub(crate) updates: Updates,
}

/// Keeps a broker that sends rubbish without end from filling the audit log.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// When the last one was recorded, seconds since 1970-01-01 UTC.
    recorded_s: Option<i64>,
    /// How many came since, unrecorded.
    unrecorded: u64,
}

/// Refused documents within this are counted in the next record instead of getting their own.
const REFUSAL_PACE_S: i64 = 10;

/// When something is applied: what may stay in force if it fails differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Nothing serves yet.
    Start,
    /// Something may serve, under rules that were accepted.
    Service,
}

/// Where the device stands after one attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// Newest version accepted.
    pub(crate) desired_version: u64,
    /// Newest version whose every part is in force.
    pub(crate) applied_version: u64,
    /// Why something wanted is not in force.
    pub(crate) reasons: Vec<Reason>,
    /// The plan in force, a line per candidate.
    pub(crate) plan: Vec<String>,
}

impl Standing {
    /// True if trying again later may help without a new document.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        self.has(&[ReasonCode::Unavailable, ReasonCode::InsufficientSpace]) || self.waits_for_policy()
    }

    /// A newer document was accepted, and what was wrong with the one before says nothing of it. The next report has it; there is
    /// none of its own for it, so this is always false.
    fn accepts(&mut self, version: u64) -> bool {
        if version > self.desired_version {
            self.desired_version = version;
            self.reasons.clear();
        }
        false
    }

    /// True if nothing but an hour or a day that comes can help.
    pub(crate) fn waits_for_policy(&self) -> bool {
        self.has(&[ReasonCode::WindowClosed, ReasonCode::BudgetSpent])
    }

    fn has(&self, codes: &[ReasonCode]) -> bool {
        self.reasons.iter().any(|reason| codes.contains(&reason.code))
    }
}

impl Reconciler {
    /// At a start: enforces and loads what was accepted before, without a network. `None` if nothing ever was.
    pub(crate) async fn resume(&self) -> Option<Standing> {
        let stored = match self.slot.load() {
            Ok(stored) => stored?,
            Err(error) => return Some(refused(0, reason(ReasonCode::Unavailable, "sync.db", error.to_string()))),
        };
        let checked = self.check_again(&stored).await;
        match checked {
            Ok((desired, agreed)) => Some(self.apply_agreed(&desired, &agreed, &Nowhere, Moment::Start).await),
            Err(reason) => {
                self.installer.withhold(&reason).await;
                Some(refused(stored.version, reason))
            }
        }
    }

    async fn check_again(&self, stored: &outpost_sync::Accepted) -> Result<(Desired, Agreed), Reason> {
        let expiration = ExpirationPolicy::AcceptStale { at_most_s: STALE_CATALOGUE_S };
        let catalogue = catalogue::verify_with(
            expiration,
            &stored.catalogue,
            &stored.trusted_root,
            &stored.floors,
            self.clock.now_s(),
            &self.scratch,
        )
        .await
        .map_err(|error| reason(error.reason(), "catalogue in force", error.to_string()))?;
        let keys = authority_keys(&catalogue);
        // The floor is below the stored version on purpose: this very document is to be read, whatever its expiry.
        let acceptance = Acceptance {
            tenant: self.identity.tenant(),
            device: self.identity.device(),
            floor_version: 0,
            floor_payload: None,
            director_keys: &keys,
            now_s: 0,
        };
        let accepted = desired::accept(&stored.envelope, &acceptance).map_err(|refusal| told(&refusal))?;
        let agreed = desired::agree(&accepted, &catalogue).map_err(|refusal| told(&refusal))?;
        self.trust(&agreed);
        Ok((accepted.desired, agreed))
    }

    /// The document that was accepted last.
    pub(crate) fn accepted(&self) -> Option<Vec<u8>> {
        let loaded = self.slot.load().inspect_err(|error| tracing::warn!(%error, "what was accepted cannot be read"));
        Some(loaded.ok()??.envelope)
    }

    /// A document arrived: checks it, and if it is right, does what it says. Meanwhile what is `told` of the one before it is over.
    pub(crate) async fn apply(&self, envelope: &[u8], source: &dyn Source, told: &watch::Sender<Standing>) -> Standing {
        let outcome = self.obey(envelope, source, Some(told)).await;
        outcome.unwrap_or_else(|reason| refused(self.slot.version().unwrap_or(0), reason))
    }

    /// The same, where a refusal is told from what was accepted and is not in force.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed.
    pub(crate) async fn obey(
        &self,
        envelope: &[u8],
        source: &dyn Source,
        told: Option<&watch::Sender<Standing>>,
    ) -> Result<Standing, Reason> {
        match self.accept(envelope, source).await {
            Ok((desired, agreed)) => {
                if let Some(told) = told {
                    told.send_if_modified(|standing| standing.accepts(desired.version));
                }
                Ok(self.apply_agreed(&desired, &agreed, source, Moment::Service).await)
            }
            Err(reason) => {
                if reason.code != ReasonCode::Unavailable {
                    self.announcer.say(Progress::Refused(format!("{}: {}", code_name(reason.code), reason.detail)));
                    self.record_refusal(&reason).await;
                }
                tracing::warn!(
                    code = code_name(reason.code),
                    detail = reason.detail,
                    "the desired state is not in force"
                );
                Err(reason)
            }
        }
    }

    /// Size, signature, address, version, expiry, catalogue, agreement; then the floors and the document, in one transaction.
    async fn accept(&self, envelope: &[u8], source: &dyn Source) -> Result<(Desired, Agreed), Reason> {
        let before = self.slot.load().map_err(|error| reason(ReasonCode::Unavailable, "sync.db", error.to_string()))?;
        let keys = self.director_keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let floor_payload = match &before {
            Some(stored) => Some(self.payload_of(&stored.envelope, &keys)?),
            None => None,
        };
        let acceptance = Acceptance {
            tenant: self.identity.tenant(),
            device: self.identity.device(),
            floor_version: before.as_ref().map_or(0, |stored| stored.version),
            floor_payload,
            director_keys: &keys,
            now_s: self.clock.now_s(),
        };
        let accepted = desired::accept(envelope, &acceptance).map_err(|refusal| told(&refusal))?;
        let blob = &accepted.desired.catalogue;
        let bundle = match &before {
            Some(stored) if accepted.repeated => stored.catalogue.clone(),
            _ => self.store.fetch_blob(blob, CATALOGUE_BYTES, source).await.map_err(|error| {
                reason(ReasonCode::Unavailable, Reason::CATALOGUE, format!("the catalogue did not arrive: {error}"))
            })?,
        };
        let floors = before.as_ref().map_or_else(Floors::default, |stored| stored.floors.clone());
        let shipped = self.identity.trusted_root().as_bytes();
        let stored_root = before.as_ref().map(|stored| stored.trusted_root.as_slice());
        let unreadable =
            |error: outpost_trust::CatalogueError| reason(error.reason(), Reason::CATALOGUE, error.to_string());
        let root = catalogue::newest_root(shipped, stored_root).map_err(unreadable)?;
        let now_s = self.clock.now_s();
        let verified = catalogue::verify(&bundle, root, &floors, now_s, &self.scratch).await.map_err(unreadable)?;
        let agreed = desired::agree(&accepted, &verified).map_err(|refusal| told(&refusal))?;
        let version = accepted.desired.version;
        self.slot
            .commit(&outpost_sync::Accepted {
                version,
                envelope: envelope.to_vec(),
                catalogue: bundle,
                floors: verified.floors,
                trusted_root: verified.root,
            })
            .map_err(|error| {
                let went_back = matches!(error, SyncError::Rollback { .. } | SyncError::Conflict { .. });
                let code = if went_back { ReasonCode::Rollback } else { ReasonCode::Unavailable };
                reason(code, "sync.db", error.to_string())
            })?;
        self.trust(&agreed);
        if !accepted.repeated {
            self.announcer.say(Progress::Accepted(version));
            self.record(Record::new(Kind::DesiredAccept).detail("version", version)).await;
        }
        Ok((accepted.desired, agreed))
    }

    /// A command that a director signed for this device; in words why not, if not.
    pub(crate) fn open_command(&self, envelope: &[u8]) -> Result<outpost_contract::Command, String> {
        let keys = self.director_keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let command = outpost_trust::command::open(envelope, &keys).map_err(|error| error.to_string())?;
        if command.tenant != *self.identity.tenant() || command.device != *self.identity.device() {
            return Err(format!("the command is for `{}` of `{}`", command.device, command.tenant));
        }
        Ok(command)
    }

    /// Hears what the control plane says, on a stick, of what this device sent home.
    pub(crate) async fn hear_answer(&self, envelope: &[u8]) -> Result<Heard, HomeError> {
        let keys = self.director_keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer =
            outpost_trust::answer::open(envelope, &keys).map_err(|error| HomeError::Answer(error.to_string()))?;
        let home = self.home.clone();
        match tokio::task::spawn_blocking(move || home.hear(&answer)).await {
            Ok(heard) => heard,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn payload_of(&self, envelope: &[u8], keys: &[VerifyingKey]) -> Result<outpost_contract::Sha256, Reason> {
        let acceptance = Acceptance {
            tenant: self.identity.tenant(),
            device: self.identity.device(),
            floor_version: 0,
            floor_payload: None,
            director_keys: keys,
            now_s: 0,
        };
        desired::accept(envelope, &acceptance).map(|accepted| accepted.payload_sha256).map_err(|refusal| told(&refusal))
    }

    fn trust(&self, agreed: &Agreed) {
        self.director_keys.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&agreed.director_keys);
        self.keepers.signers.replace(agreed.signers.clone());
    }

    async fn record_refusal(&self, reason: &Reason) {
        let now_s = self.clock.now_s();
        let unrecorded = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            if refusals.recorded_s.is_some_and(|last_s| (last_s..last_s + REFUSAL_PACE_S).contains(&now_s)) {
                refusals.unrecorded += 1;
                return;
            }
            refusals.recorded_s = Some(now_s);
            std::mem::take(&mut refusals.unrecorded)
        };
        let record = Record::new(Kind::DesiredReject)
            .detail("code", code_name(reason.code))
            .detail("reason", reason.detail.as_str())
            .detail("unrecorded_before", unrecorded);
        self.record(record).await;
    }

    async fn record(&self, record: Record) {
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(%error, "an event of the fleet could not be recorded");
        }
    }
}

/// The director keys that a verified catalogue's authority document lists.
fn authority_keys(catalogue: &outpost_trust::Catalogue) -> Vec<VerifyingKey> {
    let documents = catalogue.targets.values().filter(|target| matches!(target.kind, TargetKind::Authority { .. }));
    let authorities = documents.filter_map(|target| serde_json::from_slice::<Authority>(&target.bytes).ok());
    authorities.flat_map(|authority| authority.director_keys).filter_map(|key| key.parse().ok()).collect()
}

fn refused(desired_version: u64, reason: Reason) -> Standing {
    Standing { desired_version, reasons: vec![reason], ..Standing::default() }
}

fn reason(code: ReasonCode, subject: &str, detail: String) -> Reason {
    Reason { code, subject: subject.to_owned(), detail }
}

fn told(refusal: &outpost_trust::Refusal) -> Reason {
    reason(refusal.code, Reason::DESIRED_STATE, refusal.detail.clone())
}
