//! What this machine can give: measured once in the background, kept on disk, refreshed where it changes by the minute.

use std::path::PathBuf;

use outpost_contract::Measurements;
use outpost_disk::{Clock, Ledger};
use outpost_probe::{ProbeOptions, measure};
use tokio::sync::Mutex;

/// The measurements of this machine.
#[derive(Debug)]
pub(crate) struct Measured {
    models_dir: PathBuf,
    clock: Clock,
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
    ) -> Self {
        Self { models_dir, clock, kept: Mutex::new(Kept { ledger, measurements: earlier }) }
    }

    /// Kernel speeds from the ledger or a short measured run; memory and disk as they are at this moment.
    pub(crate) async fn get(&self) -> Measurements {
        let mut kept = self.kept.lock().await;
        let known = kept.measurements.clone();
        let (models_dir, now_s) = (self.models_dir.clone(), self.clock.now_s());
        let measuring = tokio::task::spawn_blocking(move || {
            // Every format, once: a plan that compares a measured variant with a guessed one explains little.
            let options = ProbeOptions { models_dir, quick: false, now_s };
            match known {
                Some(known) => outpost_probe::refresh(&known, &options),
                None => measure(&options),
            }
        });
        let measurements = match measuring.await {
            Ok(measurements) => measurements,
            Err(error) => {
                tracing::error!(%error, "measuring failed; planning with what is known");
                kept.measurements.clone().unwrap_or_else(|| outpost_probe::unmeasured(self.clock.now_s()))
            }
        };
        if kept.measurements.is_none()
            && let Err(error) = kept.ledger.commit(&measurements)
        {
            tracing::warn!(%error, "the measurements are not kept");
        }
        kept.measurements = Some(measurements.clone());
        measurements
    }

    /// Everything measured anew, as on the first start.
    pub(crate) async fn again(&self) -> Measurements {
        self.kept.lock().await.measurements = None;
        self.get().await
    }

    /// What is known without measuring.
    pub(crate) async fn known(&self) -> Option<Measurements> {
        self.kept.lock().await.measurements.clone()
    }
}
