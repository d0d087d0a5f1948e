//! The build of the agent that is wanted: fetched as a model is, staged beside what runs, in force once it has confirmed itself.
//!
//! ```text
//! one for this kind of machine? ──► runs it already? ──► rolled back or refused here before? ──► fetched into the store
//!        ──► staged in the spare slot, where it proves itself ──► this process starts again ──► on trial ──► confirmed: in force
//! ```

use std::fs::File;

use outpost_contract::{AgentFacts, Manifest, Reason, ReasonCode, TargetPin};
use outpost_store::{Source, StoredFile};
use outpost_trust::Agreed;
use outpost_update::{Candidate, Refused, Running, Standing, is_newer};

use super::{Moment, Reconciler, reason};
use crate::updates::aside;

/// How far the wanted build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Build {
    /// It runs and is confirmed, or none is wanted.
    InForce,
    /// It runs, or runs from the next start on, and is not confirmed.
    OnTrial,
    /// It was chosen just now: this process ends in a moment.
    StartsAgain,
}

impl Reconciler {
    /// Brings the wanted build as far as it comes without waiting.
    ///
    /// # Errors
    /// Why it is not in force.
    pub(super) async fn build(
        &self,
        version: u64,
        agreed: &Agreed,
        source: &dyn Source,
        moment: Moment,
    ) -> Result<Build, Reason> {
        let Some((_, first, _)) = agreed.builds.first() else { return Ok(Build::InForce) };
        let subject = format!("outpost {}", first.version);
        let refused = |code, detail: String| Err(reason(code, &subject, detail));
        let standing = self.slots(&subject).await?;
        let running = &standing.running;
        let Some(wanted) = agreed.builds.iter().find(|(_, facts, _)| facts.target.as_str() == running.target) else {
            let detail =
                format!("no build for `{}` is released: publish one of version {}", running.target, first.version);
            return refused(ReasonCode::BuildRefused, detail);
        };
        let (_, facts, manifest) = wanted;
        if runs(running, facts, manifest) {
            return Ok(if running.on_trial { Build::OnTrial } else { Build::InForce });
        }
        match &standing.trial {
            Some(trial) if self.updates.is_left_over(trial.sha256) => {
                let detail = format!(
                    "version {} was to be tried at this start, which could not be written down (`outpost update show`): make room on \
                     the disk; it is tried again in an hour, or at the next start",
                    trial.version
                );
                return refused(ReasonCode::Unavailable, detail);
            }
            Some(trial) if trial.sha256 == manifest.sha256 => {
                self.updates.start_again();
                return Ok(Build::OnTrial);
            }
            Some(trial) => {
                let detail = format!("version {} is on trial: this one has its turn when that is over", trial.version);
                return refused(ReasonCode::Unavailable, detail);
            }
            None => {}
        }
        let (packaged, wants) = (running.packaged.as_str(), facts.version.as_str());
        if wants != packaged && !is_newer(wants, packaged) {
            let detail =
                format!("the packaged program is {packaged}, which is newer: bring the device back by its package");
            return refused(ReasonCode::BuildRefused, detail);
        }
        if moment == Moment::Start {
            // Before it is tried, all of what it must have afterwards is there, the model and the link.
            return match self.given_up(&standing, manifest, &subject).await {
                Some(reason) => Err(reason),
                None => refused(ReasonCode::Unavailable, "it is taken once the agent serves".to_owned()),
            };
        }
        if wants == packaged {
            let builds = self.updates.builds.clone();
            aside(move || builds.leave())
                .await
                .map_err(|error| reason(ReasonCode::Unavailable, &subject, error.to_string()))?;
            tracing::info!(version = packaged, "the packaged program is wanted again");
            self.updates.start_again();
            return Ok(Build::StartsAgain);
        }
        if let Err(error) = self.installer.attempts.for_version(version) {
            tracing::warn!(%error, "what failed before is not forgotten on disk");
        }
        if let Some(reason) = self.given_up(&standing, manifest, &subject).await {
            return Err(reason);
        }
        self.take(wanted, &subject, source).await
    }

    /// Fetches a build and stages it.
    async fn take(
        &self,
        (pin, facts, manifest): &(TargetPin, AgentFacts, Manifest),
        subject: &str,
        source: &dyn Source,
    ) -> Result<Build, Reason> {
        let stored = self.installer.fetch(subject, Some(&pin.name), manifest, source).await?;
        let candidate = Candidate {
            version: Some(facts.version.to_string()),
            target: Some(facts.target.to_string()),
            sha256: manifest.sha256,
            bytes: manifest.bytes,
        };
        let opened = File::open(&stored.path).map_err(|source| Refused::Read { source });
        let staged = match opened {
            Ok(file) => self.updates.stage(candidate, file).await,
            Err(refused) => Err(refused),
        };
        let Err(refused) = staged else {
            self.discard(stored).await;
            self.updates.start_again();
            return Ok(Build::StartsAgain);
        };
        let reason = reason(code(&refused), subject, refused.to_string());
        if matches!(reason.code, ReasonCode::BuildRefused | ReasonCode::CorruptContent) {
            // The same bytes would be refused again, each time that the document comes.
            if let Err(error) = self.installer.attempts.end(manifest.blake3, Some(&reason)) {
                tracing::warn!(%error, "that a build was refused is not remembered");
            }
            self.discard(stored).await;
        }
        Err(reason)
    }

    /// Why a build is not tried again: it was rolled back here, or refused for this document before.
    async fn given_up(&self, standing: &Standing, manifest: &Manifest, subject: &str) -> Option<Reason> {
        let (builds, sha256, has_link) = (self.updates.builds.clone(), manifest.sha256, self.updates.has_link());
        let looked_again = aside(move || {
            builds.reconsider(sha256, has_link)?;
            builds.barred(sha256)
        });
        let barred = match looked_again.await {
            Ok(barred) => barred,
            // Its last word holds where the disk has no other.
            Err(error) => {
                tracing::warn!(%error, "why a build is not tried again cannot be looked up");
                standing.rolled_back.clone().filter(|one| one.barred && one.sha256 == sha256)
            }
        };
        let rolled_back = barred.map(|one| reason(ReasonCode::BuildRolledBack, subject, one.reason));
        rolled_back.or_else(|| self.installer.attempts.failure(manifest.blake3))
    }

    async fn slots(&self, subject: &str) -> Result<Standing, Reason> {
        let builds = self.updates.builds.clone();
        let told = aside(move || builds.standing()).await;
        told.map_err(|error| reason(ReasonCode::Unavailable, subject, error.to_string()))
    }

    /// Lets go of the store's copy: the slot has its own.
    async fn discard(&self, stored: StoredFile) {
        let store = self.store.clone();
        if let Err(error) = aside(move || store.remove(stored.blake3)).await {
            tracing::warn!(%error, "a build stays in the store until its room is needed");
        }
    }
}

/// Whether that is what runs: the very file, or the packaged program of that version.
fn runs(running: &Running, facts: &AgentFacts, manifest: &Manifest) -> bool {
    match running.sha256 {
        Some(sha256) => sha256 == manifest.sha256,
        None => running.version == facts.version.as_str(),
    }
}

/// What the fleet is told of a refusal.
fn code(refused: &Refused) -> ReasonCode {
    match refused {
        Refused::RolledBack { .. } => ReasonCode::BuildRolledBack,
        Refused::NoRoom { .. } => ReasonCode::InsufficientSpace,
        Refused::Disk(error) if error.is_full() => ReasonCode::InsufficientSpace,
        Refused::WrongLength { .. } | Refused::WrongDigest { .. } => ReasonCode::CorruptContent,
        Refused::Busy { .. }
        | Refused::NotRecorded { .. }
        | Refused::Read { .. }
        | Refused::Write { .. }
        | Refused::Disk(_) => ReasonCode::Unavailable,
        _ => ReasonCode::BuildRefused,
    }
}

#[cfg(test)]
mod tests {
    use outpost_contract::{Blake3, Sha256};
    use outpost_update::Source as From;

    use super::*;

    fn running(sha256: Option<Sha256>, version: &str) -> Running {
        Running {
            source: if sha256.is_some() { From::Slot } else { From::Packaged },
            version: version.to_owned(),
            target: "x86_64-unknown-linux-gnu".to_owned(),
            sha256,
            on_trial: false,
            packaged: "0.1.0".to_owned(),
        }
    }

    #[test]
    fn a_slot_is_known_by_its_bytes_and_the_packaged_program_by_its_version() {
        let (version, target) = ("0.2.0".parse().unwrap(), "x86_64-unknown-linux-gnu".parse().unwrap());
        let facts = AgentFacts { release: 1, version, target, state_format: 1 };
        let (blake3, sha256) = (Blake3([1; 32]), Sha256([2; 32]));
        let manifest = Manifest { v: 1, bytes: 1, blake3, sha256, chunking: "fixed".into(), chunks: Vec::new() };
        for (running, expected) in [
            (running(Some(sha256), "0.2.0"), true),
            (running(Some(Sha256([3; 32])), "0.2.0"), false),
            (running(None, "0.2.0"), true),
            (running(None, "0.1.0"), false),
        ] {
            assert_eq!(runs(&running, &facts, &manifest), expected, "{running:?}");
        }
    }

    #[test]
    fn what_time_or_a_person_may_mend_is_tried_again_and_what_the_bytes_are_is_not() {
        let words = || "words".to_owned();
        for (refused, expected) in [
            (Refused::Busy { version: words() }, ReasonCode::Unavailable),
            (Refused::NoRoom { needed: 2, kept: 1, free: 1 }, ReasonCode::InsufficientSpace),
            (Refused::WrongLength { expected: 2, found: 1 }, ReasonCode::CorruptContent),
            (Refused::RolledBack { version: words(), reason: words() }, ReasonCode::BuildRolledBack),
            (Refused::LacksKernel, ReasonCode::BuildRefused),
            (Refused::OlderState { reads: 1, found: 2 }, ReasonCode::BuildRefused),
        ] {
            assert_eq!(code(&refused), expected, "{refused}");
        }
    }
}
