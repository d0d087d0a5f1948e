//! What this machine can give: measured once in the background, kept on disk, refreshed where it changes by the minute, and
//! measured again when the processor, its governor, the usable cores or the kernels are others than they were.

use std::path::PathBuf;
use std::sync::Arc;

use outpost_contract::Measurements;
use outpost_disk::{Clock, Ledger};
use outpost_probe::{ProbeOptions, disturbed_by, measure};
use tokio::sync::Mutex;

use crate::learning::Learning;

/// The measurements of this machine.
#[derive(Debug)]
pub(crate) struct Measured {
    models_dir: PathBuf,
    clock: Clock,
    learning: Arc<Learning>,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    ledger: Ledger<Measurements>,
    measurements: Option<Measurements>,
}

impl Measured {
    /// Starts with what an earlier run measured, if it did.
    #[must_use]
    pub(crate) fn new(
        models_dir: PathBuf,
        clock: Clock,
        ledger: Ledger<Measurements>,
        earlier: Option<Measurements>,
        learning: Learning,
    ) -> Self {
        Self {
            models_dir,
            clock,
            learning: Arc::new(learning),
            kept: Mutex::new(Kept { ledger, measurements: earlier }),
        }
    }

    /// Who hears what answers take.
    pub(crate) fn learning(&self) -> &Arc<Learning> {
        &self.learning
    }

    /// Kernel speeds from the ledger or a short measured run; memory and disk as they are at this moment; and what answers
    /// taught.
    pub(crate) async fn get(&self) -> Measurements {
        let mut kept = self.kept.lock().await;
        let known = kept.measurements.clone();
        let (models_dir, now_s) = (self.models_dir.clone(), self.clock.now_s());
        let measuring = tokio::task::spawn_blocking(move || {
            // Every format: a plan that compares a measured variant with a guessed one explains little.
            let options = ProbeOptions { models_dir, quick: false, now_s };
            match known.filter(still_hold) {
                Some(known) => (outpost_probe::refresh(&known, &options), false),
                None => {
                    let measured = measure(&options);
                    // What the run worked on is free, and counts as free only once the system has it back.
                    crate::allocator::give_back();
                    (outpost_probe::refresh(&measured, &options), true)
                }
            }
        });
        let (measurements, is_new) = match measuring.await {
            Ok(measured) => measured,
            Err(error) => {
                tracing::error!(%error, "measuring failed; planning with what is known");
                let known = kept.measurements.clone();
                (known.unwrap_or_else(|| outpost_probe::unmeasured(self.clock.now_s())), false)
            }
        };
        if is_new {
            for cause in disturbed_by(&measurements) {
                tracing::warn!(cause, "kernels were measured while something slowed them");
            }
            self.learning.forget();
            if let Err(error) = kept.ledger.commit(&measurements) {
                tracing::warn!(%error, "the measurements are not kept");
            }
        }
        kept.measurements = Some(measurements.clone());
        self.learning.correct(measurements)
    }

    /// Everything measured anew, as on the first start.
    pub(crate) async fn again(&self) -> Measurements {
        self.kept.lock().await.measurements = None;
        self.get().await
    }

    /// What is known without measuring.
    pub(crate) async fn known(&self) -> Option<Measurements> {
        let known = self.kept.lock().await.measurements.clone();
        known.map(|known| self.learning.correct(known))
    }
}

/// Whether kernels need not be measured again. What was measured under a disturbance holds, too: on a box that is always busy, every
/// start would wait for a run that is no better.
fn still_hold(known: &Measurements) -> bool {
    let reason = outpost_probe::outdated(known);
    if let Some(reason) = &reason {
        tracing::info!(reason, "kernels are measured again");
    }
    reason.is_none()
}

#[cfg(test)]
mod tests {
    use outpost_contract::{MachineFacts, RunFacts};

    use super::*;

    /// What is measured once a run of before left this behind.
    async fn after(change: impl Fn(&mut RunFacts)) -> (bool, Measurements, Measurements) {
        let directory = tempfile::tempdir().unwrap();
        let open = || Ledger::<Measurements>::open(directory.path(), "measurements").unwrap();
        let mut run = RunFacts { build: outpost_engine::KERNEL_BUILD.to_owned(), ..RunFacts::default() };
        let now = outpost_probe::refresh(
            &outpost_probe::unmeasured(1),
            &ProbeOptions { models_dir: directory.path().to_owned(), quick: true, now_s: 1 },
        );
        let machine = now.machine.as_deref().cloned().unwrap_or_default();
        run.governor.clone_from(&machine.processor.governor);
        change(&mut run);
        let earlier = Measurements { machine: Some(Box::new(MachineFacts { run: Some(run), ..machine })), ..now };
        let (corrections, _) = Ledger::open(directory.path(), crate::learning::LEDGER).unwrap();
        let learning = Learning::new(corrections, None);
        let measured = Measured::new(directory.path().to_owned(), Clock::fixed(9), open().0, Some(earlier), learning);
        let (first, second) = (measured.get().await, measured.get().await);
        let is_kept = open().1.is_some_and(|kept| kept.kernels == first.kernels);
        (is_kept, first, second)
    }

    #[tokio::test]
    async fn what_still_holds_is_not_measured_again() {
        let (is_kept, first, _) = after(|_| ()).await;
        assert!(!is_kept && first.kernels.is_empty(), "nothing was measured");
        assert_eq!(first.measured_at_s, 9, "but memory and disk are of now");
    }

    #[tokio::test]
    async fn another_build_of_the_kernels_is_measured_once_and_kept() {
        let (is_kept, first, second) = after(|run| run.build = "another".to_owned()).await;
        assert!(is_kept && !first.kernels.is_empty());
        assert_eq!(first.kernels, second.kernels);
    }

    #[tokio::test]
    async fn what_was_measured_under_a_disturbance_holds_no_start_up() {
        let (is_kept, first, _) = after(|run| run.disturbed_by = vec!["other programs".to_owned()]).await;
        assert!(!is_kept && first.kernels.is_empty(), "nothing was measured");
    }

    #[tokio::test]
    async fn what_answers_taught_comes_with_the_measurements_and_is_kept_apart_from_them() {
        let directory = tempfile::tempdir().unwrap();
        let correction = outpost_contract::Correction {
            model: "m".parse().unwrap(),
            quantisation: "Q4_0".to_owned(),
            decode: outpost_contract::Learned { ratio_milli: 1_200, answers: 3 },
            first_token: outpost_contract::Learned::default(),
        };
        let (corrections, _) = Ledger::open(directory.path(), crate::learning::LEDGER).unwrap();
        let learning = Learning::new(corrections, Some(vec![correction.clone()]));
        let (ledger, _) = Ledger::<Measurements>::open(directory.path(), "measurements").unwrap();
        let known = Measurements { cores: 2, ..Measurements::default() };
        let measured =
            Measured::new(directory.path().to_owned(), Clock::fixed(9), ledger, Some(known.clone()), learning);
        let told = measured.known().await.unwrap();
        assert_eq!(told, Measurements { corrections: vec![correction], ..known });
        // Measured by nobody knows what: kernels are measured again, and what older predictions were off by is forgotten.
        let again = measured.again().await;
        assert!(again.corrections.is_empty() && !again.kernels.is_empty());
        let (_, kept) = Ledger::<Measurements>::open(directory.path(), "measurements").unwrap();
        assert!(kept.unwrap().corrections.is_empty());
    }
}
