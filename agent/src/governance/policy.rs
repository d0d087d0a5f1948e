//! The policy bundle in force: taken with as many approvals as the one before it asks for, kept over restarts, and the way
//! back.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use outpost_audit::{CapacityMode, Kind, Record};
use outpost_contract::SealedKind;
use outpost_disk::Ledger;
use outpost_policies::CriticalRoom;
use outpost_policies::{Bundle, Policies};
use outpost_serve::GovernanceError;
use outpost_trust::Signers;
use outpost_trust::sealed::is_sealed;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Surroundings, facts, failed};
use crate::progress::Progress;

const LEDGER: &str = "policy";

/// What survives a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    /// Whether a fleet assigned it; what a box of its own decided counts for nothing in a fleet, and the other way round.
    assigned: bool,
    now: Held,
    before: Option<Held>,
    /// The highest version that was ever in force.
    floor: u64,
}

/// One bundle that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// As it was brought, sealed or not.
    document: String,
    /// The bundle in it.
    bundle: String,
    version: u64,
    approved_by: BTreeSet<String>,
}

/// Keeps the policy of one device.
#[derive(Debug)]
pub(crate) struct PolicyKeeper {
    kept: Mutex<(Ledger<Kept>, Option<Kept>)>,
    around: Surroundings,
}

/// The policies that a box of its own keeps, for commands that need its roles while no agent runs; `None` for the
/// built-in ones.
///
/// # Errors
/// If they cannot be read, or no longer hold.
pub(crate) fn kept_policies(ledgers: &Path) -> Result<Option<Policies>> {
    let (_, kept) = Ledger::<Kept>::open(ledgers, LEDGER)?;
    kept.map(|kept| again(&kept.now)).transpose()
}

fn again(held: &Held) -> Result<Policies> {
    let bundle = Bundle::parse(held.bundle.as_bytes())?;
    Policies::activate(bundle).map_err(|findings| anyhow::anyhow!(said(&findings)))
}

fn said(findings: &[outpost_policies::Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl PolicyKeeper {
    /// Puts the bundle in force that was before.
    pub(super) fn open(ledgers: &Path, around: Surroundings) -> Result<Self> {
        let (ledger, kept) = Ledger::<Kept>::open(ledgers, LEDGER)?;
        let kept = kept.filter(|kept| kept.assigned == around.enrolled);
        if let Some(kept) = &kept {
            let policies = again(&kept.now).with_context(|| {
                format!(
                    "version {} no longer holds under this agent; put the agent back that took it, or remove `{}/{LEDGER}.*.ledger` \
                     to begin with the built-in policy",
                    kept.now.version,
                    ledgers.display()
                )
            })?;
            around.policies.replace(policies);
        }
        let keeper = Self { kept: Mutex::new((ledger, kept)), around };
        keeper.settle_capacity()?;
        Ok(keeper)
    }

    /// Whether a bundle was in force before this start, or came into force since.
    pub(crate) fn has_one(&self) -> bool {
        self.held().1.is_some()
    }

    /// The version that decides now.
    pub(crate) fn version(&self) -> u64 {
        self.around.policies.now().version()
    }

    /// Takes the bundle that the fleet assigns; the one in force already changes nothing.
    pub(crate) fn take_assigned(&self, document: &[u8], signers: &Signers) -> Result<(), GovernanceError> {
        if self.held().1.as_ref().is_some_and(|kept| kept.now.document.as_bytes() == document) {
            return Ok(());
        }
        self.take(document, signers, |_| 0).map(|_| ())
    }

    /// Takes a bundle that somebody brought to a box of its own.
    pub(super) fn take_local(&self, document: &[u8], signers: &Signers) -> Result<Map<String, Value>, GovernanceError> {
        self.of_its_own()?;
        let floor = |kept: Option<&Kept>| kept.map_or_else(|| self.around.policies.now().version(), |kept| kept.floor);
        let held = self.take(document, signers, floor)?;
        Ok(facts([("version", json!(held.version)), ("approved_by", json!(held.approved_by))]))
    }

    /// Goes back to the bundle before.
    pub(super) fn roll_back(&self) -> Result<Map<String, Value>, GovernanceError> {
        self.of_its_own()?;
        let mut held = self.held();
        let asked = self.around.policies.now().required_approvals();
        if asked > 0 {
            let why = format!("the policy in force asks for {asked} approvals, and a way back would need none");
            return Err(GovernanceError::Conflict(format!("{why}: have the earlier rules signed as a newer version")));
        }
        let Some((kept, before)) = held.1.as_ref().and_then(|kept| Some((kept, kept.before.clone()?))) else {
            let why = "no other policy was in force before: bring one with `outpost policy activate`";
            return Err(GovernanceError::Conflict(why.to_owned()));
        };
        let policies = again(&before).map_err(|error| GovernanceError::Invalid(format!("{error:#}")))?;
        let record = Record::new(Kind::PolicyRollback)
            .detail("version", before.version)
            .detail("from_version", kept.now.version);
        self.append(record)?;
        let next = Kept { now: before.clone(), before: Some(kept.now.clone()), ..kept.clone() };
        self.put(&mut held, next, policies)?;
        Ok(facts([("version", json!(before.version)), ("approved_by", json!(before.approved_by))]))
    }

    fn of_its_own(&self) -> Result<(), GovernanceError> {
        if self.around.enrolled {
            let why = "this device belongs to a fleet, which assigns its policy";
            return Err(GovernanceError::Conflict(why.to_owned()));
        }
        Ok(())
    }

    /// Checks it, above what `floor` makes of what is in force, and then: on record, on disk, in force.
    fn take(
        &self,
        document: &[u8],
        signers: &Signers,
        floor: impl FnOnce(Option<&Kept>) -> u64,
    ) -> Result<Held, GovernanceError> {
        // Held from the first look to the change, so that of two bundles at once the second is judged by the first.
        let mut held = self.held();
        let checked = self.check(document, signers, floor(held.1.as_ref()));
        let (taken, policies) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                self.append(Record::new(Kind::PolicyReject).detail("reason", refusal.to_string()))?;
                return Err(refusal);
            }
        };
        let pseudonyms: Vec<_> = taken.approved_by.iter().map(|name| self.around.pseudonyms.of(name)).collect();
        let record = Record::new(Kind::PolicyActivate)
            .detail("version", taken.version)
            .detail("approved_by", pseudonyms.join(" "));
        self.append(record)?;
        let (before, floor) = match &held.1 {
            Some(kept) => (kept.now.clone(), kept.floor),
            None => (built_in(), 0),
        };
        let next = Kept {
            assigned: self.around.enrolled,
            now: taken.clone(),
            before: Some(before),
            floor: floor.max(taken.version),
        };
        self.put(&mut held, next, policies)?;
        Ok(taken)
    }

    fn check(&self, document: &[u8], signers: &Signers, floor: u64) -> Result<(Held, Policies), GovernanceError> {
        let invalid = |error: &dyn std::fmt::Display| GovernanceError::Invalid(error.to_string());
        let (bytes, approved_by) = if is_sealed(document) {
            let opened = super::signers::open(signers, SealedKind::Policy, document)?;
            (opened.payload, opened.signed_by)
        } else {
            (document.to_vec(), BTreeSet::new())
        };
        let asked = usize::from(self.around.policies.now().required_approvals());
        if approved_by.len() < asked {
            let have = match approved_by.len() {
                0 => "nobody".to_owned(),
                _ => approved_by.iter().cloned().collect::<Vec<_>>().join(" and "),
            };
            let why = format!("the policy in force asks for {asked} approvals, and {have} who may has signed this one");
            return Err(GovernanceError::NotApproved(format!("{why}: `outpost seal again` adds a signature")));
        }
        let bundle = Bundle::parse(&bytes).map_err(|error| invalid(&error))?;
        if bundle.version <= floor {
            let why = format!("the bundle has version {}, which is not above {floor}", bundle.version);
            return Err(GovernanceError::Conflict(format!("{why}: give it a higher one")));
        }
        let (next, people) = (usize::from(bundle.required_approvals), signers.people(SealedKind::Policy));
        if next > people {
            let why =
                format!("the bundle asks for {next} approvals of the next one, and {people} people may sign one here");
            return Err(GovernanceError::Invalid(format!("{why}: nobody could replace it; list more signers first")));
        }
        let version = bundle.version;
        let policies = Policies::activate(bundle).map_err(|findings| GovernanceError::Invalid(said(&findings)))?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| invalid(&error));
        let held = Held { document: text(document.to_vec())?, bundle: text(bytes)?, version, approved_by };
        Ok((held, policies))
    }

    fn put(
        &self,
        held: &mut (Ledger<Kept>, Option<Kept>),
        next: Kept,
        policies: Policies,
    ) -> Result<(), GovernanceError> {
        held.0.commit(&next).map_err(failed)?;
        let version = next.now.version;
        held.1 = Some(next);
        self.around.policies.replace(policies);
        self.around.announcer.say(Progress::Policy(version));
        self.settle_capacity().map_err(failed)
    }

    /// Tells the audit log what the bundle in force wants once room is critical; a change is on record.
    fn settle_capacity(&self) -> Result<()> {
        let policies = self.around.policies.now();
        let mode = match policies.audit().when_room_is_critical {
            CriticalRoom::Refuse => CapacityMode::Strict,
            CriticalRoom::Count => CapacityMode::Availability,
        };
        let chosen = self.around.audit.choose_capacity_mode(mode, &format!("bundle-{}", policies.version()));
        chosen.map_or(Ok(()), |appended| appended.wait().map(|_| ())).context("what matters when room is critical")
    }

    fn append(&self, record: Record) -> Result<(), GovernanceError> {
        let appended = self.around.audit.append(record).wait();
        appended.map(|_| ()).map_err(failed)
    }

    fn held(&self) -> MutexGuard<'_, (Ledger<Kept>, Option<Kept>)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bundle that was in force before any was brought.
fn built_in() -> Held {
    let bundle = Bundle::default_bundle();
    let text = String::from_utf8_lossy(&bundle.to_bytes()).into_owned();
    Held { document: text.clone(), bundle: text, version: bundle.version, approved_by: BTreeSet::new() }
}
