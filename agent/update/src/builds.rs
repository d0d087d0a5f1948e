//! The slots as the running agent sees them: what stands there, and every way in which it may change it.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outpost_contract::Sha256;
use outpost_disk::{DiskError, atomic};

use crate::build::{Build, OWN_TARGET, OWN_VERSION};
use crate::format::{FORMAT, StateFormat};
use crate::launch::TIMES;
use crate::mark::{Mark, PLACE};
use crate::record::{Before, Record, RolledBack};
use crate::signals;
use crate::standing::{OnTrial, Running, Source, Standing};

/// Where the slots are, in the state directory.
pub const DIRECTORY: &str = "builds";

/// How long a build on trial must stay healthy, seconds, where nobody says otherwise.
const TRIAL_SECONDS: u64 = 60;

/// How long a build may take for its self-check.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the disk that stay free beside a build: the audit log goes on.
const KEPT_BYTES: u64 = 32 << 20;

/// As much of a failed start's words as is written down, characters.
const WORDS: usize = 500;

/// The slots of one state directory; cloning gives another hand on the same ones. Whoever changes them holds the directory's
/// lock. All of it works with the disk, away from the threads that serve.
#[derive(Debug, Clone)]
pub struct Builds {
    pub(crate) state: PathBuf,
    pub(crate) launched: Option<Mark>,
    pub(crate) packaged: String,
    pub(crate) trial_seconds: u64,
    pub(crate) patience: Duration,
    /// Bytes of the disk that stay free beside a build.
    pub(crate) kept_bytes: u64,
    /// When this process began.
    pub(crate) since: Instant,
    /// One change at a time.
    pub(crate) turn: Arc<Mutex<()>>,
}

impl Builds {
    /// The slots of a state directory, as this process was launched; nothing is opened or made yet.
    #[must_use]
    pub fn at(state: &Path) -> Self {
        let launched = Mark::of_environment();
        let packaged = launched.as_ref().map_or_else(|| OWN_VERSION.to_owned(), |mark| mark.packaged.clone());
        Self::with(state, launched, packaged)
    }

    pub(crate) fn with(state: &Path, launched: Option<Mark>, packaged: String) -> Self {
        Self {
            state: state.to_owned(),
            launched,
            packaged,
            trial_seconds: TRIAL_SECONDS,
            patience: PATIENCE,
            kept_bytes: KEPT_BYTES,
            since: Instant::now(),
            turn: Arc::default(),
        }
    }

    /// How long a build that is staged from now on must stay healthy.
    #[must_use]
    pub fn trying_for(self, seconds: u64) -> Self {
        Self { trial_seconds: seconds, ..self }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.state.join(DIRECTORY)
    }

    /// Whether this process runs from a slot.
    #[must_use]
    pub fn is_from_slot(&self) -> bool {
        self.launched.is_some()
    }

    /// How things stand; at once, also while a build is being taken in.
    ///
    /// # Errors
    /// If what is written down cannot be read.
    pub fn standing(&self) -> Result<Standing, DiskError> {
        let record = self.record()?;
        let running = match &self.launched {
            Some(mark) => Running {
                source: Source::Slot,
                version: mark.version.clone(),
                target: mark.target.clone(),
                sha256: Some(mark.sha256),
                on_trial: self.own_trial(&record),
                packaged: mark.packaged.clone(),
            },
            None => Running {
                source: Source::Packaged,
                version: self.packaged.clone(),
                target: OWN_TARGET.to_owned(),
                sha256: None,
                on_trial: false,
                packaged: self.packaged.clone(),
            },
        };
        let trial = record.tried().map(|(trial, build)| OnTrial {
            version: build.version.clone(),
            target: build.target.clone(),
            sha256: build.sha256,
            attempts: trial.attempts,
        });
        let passed_over = self.launched.as_ref().map(|mark| mark.notes.clone()).unwrap_or_default();
        let confirmed = record.confirmed.and_then(|slot| record.build(slot)).cloned();
        Ok(Standing { running, confirmed, trial, rolled_back: record.rolled_back.last().cloned(), passed_over })
    }

    /// Takes back that a build is to be tried, where it has not been started yet. Gives whether one was.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn withdraw(&self) -> Result<bool, DiskError> {
        let mut withdrawn = false;
        self.change(|record| {
            if let Some(trial) = record.trial.take_if(|trial| trial.attempts == 0) {
                record.set(trial.slot, None);
                withdrawn = true;
            }
        })?;
        Ok(withdrawn)
    }

    /// Has the packaged program run from the next start on, whatever is confirmed or on trial.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn leave(&self) -> Result<(), DiskError> {
        self.change(|record| (record.confirmed, record.trial) = (None, None))
    }

    /// Why a build with these bytes is not taken again; nothing if it may be.
    ///
    /// # Errors
    /// As [`Builds::standing`].
    pub fn barred(&self, sha256: Sha256) -> Result<Option<RolledBack>, DiskError> {
        let _turn = self.turn();
        Ok(self.record()?.barred(sha256).cloned())
    }

    /// Lets a build that was rolled back be taken again.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn forgive(&self, sha256: Sha256) -> Result<(), DiskError> {
        self.change(|record| {
            record.rolled_back.iter_mut().filter(|one| one.sha256 == sha256).for_each(|one| one.barred = false);
        })
    }

    /// Looks again at a build that was rolled back because it lacked the control plane and nothing else. Where this process, too,
    /// was without it for as long as a trial may take, nobody had it, and the build has its turn; where this process found it
    /// sooner, the build is to blame. Asked each time that the build is wanted.
    ///
    /// # Errors
    /// If that cannot be written down.
    pub fn reconsider(&self, sha256: Sha256, has_link: bool) -> Result<(), DiskError> {
        let nobody_had_it = self.since.elapsed() >= Duration::from_secs(self.trial_seconds) * TIMES;
        if !nobody_had_it && !has_link {
            return Ok(());
        }
        self.change(|record| {
            let lacking = record.rolled_back.iter_mut().filter(|one| one.sha256 == sha256 && one.lacked_link);
            lacking.for_each(|one| (one.barred, one.lacked_link) = (one.barred && !nobody_had_it, false));
        })
    }

    /// What this process must have and for how long it must stay healthy, if it is a build on trial.
    ///
    /// # Errors
    /// As [`Builds::standing`].
    pub fn trial(&self) -> Result<Option<(Before, Duration)>, DiskError> {
        let _turn = self.turn();
        let record = self.record()?;
        let own = self.own_trial(&record);
        Ok(record.trial.filter(|_| own).map(|trial| (trial.before, Duration::from_secs(trial.seconds))))
    }

    /// The build on trial that this process is has proven itself: it is what starts from now on, and its state may have this
    /// build's format. Gives it; nothing for a process that is not on trial. Durable when it returns.
    ///
    /// # Errors
    /// If it cannot be written down; it is on trial still.
    pub fn confirm(&self) -> Result<Option<Build>, DiskError> {
        let mut confirmed = None;
        self.change(|record| {
            if !self.own_trial(record) {
                return;
            }
            if let Some(trial) = record.trial.take() {
                record.confirmed = Some(trial.slot);
                confirmed = record.build(trial.slot).cloned();
                if let Some(build) = &confirmed {
                    record.rolled_back.retain(|one| one.sha256 != build.sha256);
                }
            }
        })?;
        if confirmed.is_some() {
            signals::disarm();
        }
        Ok(confirmed)
    }

    /// Writes this build's format of state down, where the state has an older one; not while it is on trial.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn raise_format(&self) -> Result<(), DiskError> {
        if self.trial()?.is_some() || StateFormat::of(&self.state).is_ok_and(|found| found.number >= FORMAT) {
            return Ok(());
        }
        StateFormat::raise(&self.state, FORMAT, OWN_VERSION)
    }

    /// The start of this build on trial failed: keeps why, for the reason of a roll-back, and whether it `lacked_link` and nothing
    /// else.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn failed(&self, words: &str, lacked_link: bool) -> Result<(), DiskError> {
        let line: String = words.chars().map(|one| if one.is_control() { ' ' } else { one }).take(WORDS).collect();
        self.change(|record| {
            if self.own_trial(record)
                && let Some(trial) = &mut record.trial
            {
                (trial.last_words, trial.lacked_link) = (Some(line.clone()), lacked_link);
            }
        })
    }

    /// Somebody stopped this build on trial in good order: that start does not count.
    ///
    /// # Errors
    /// If it cannot be written down.
    pub fn stopped(&self) -> Result<(), DiskError> {
        self.change(|record| {
            if self.own_trial(record)
                && let Some(trial) = &mut record.trial
            {
                trial.attempts = trial.attempts.saturating_sub(1);
            }
        })
    }

    /// Builds that were rolled back and are not on record yet.
    ///
    /// # Errors
    /// As [`Builds::standing`].
    pub fn untold(&self) -> Result<Vec<RolledBack>, DiskError> {
        let _turn = self.turn();
        Ok(self.record()?.rolled_back.into_iter().filter(|one| !one.told).collect())
    }

    /// They are on record now.
    ///
    /// # Errors
    /// If that cannot be written down: they are told of once more.
    pub fn told(&self, these: &[RolledBack]) -> Result<(), DiskError> {
        self.change(|record| {
            let are_told =
                record.rolled_back.iter_mut().filter(|one| these.iter().any(|told| told.sha256 == one.sha256));
            are_told.for_each(|one| one.told = true);
        })
    }

    /// Removes what an update left that was cut off.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn sweep(&self) -> Result<(), DiskError> {
        let _turn = self.turn();
        if self.directory().exists() {
            atomic::sweep(self.directory())?;
        }
        Ok(())
    }

    /// Starts again in this process: by the launcher, if this process came from one, otherwise by its `own` program, as it lies
    /// on the disk now. Comes back only if that fails.
    #[must_use]
    pub fn start_again(&self, own: &Path) -> io::Error {
        signals::disarm();
        let program = self.launched.as_ref().map_or(own, |mark| mark.program.as_path());
        Command::new(program).args(std::env::args_os().skip(1)).env_remove(PLACE).exec()
    }

    /// Whether this process is the build on trial.
    pub(crate) fn own_trial(&self, record: &Record) -> bool {
        let tried = record.tried().map(|(_, build)| build.sha256);
        self.launched.as_ref().is_some_and(|mark| mark.on_trial && tried == Some(mark.sha256))
    }

    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is written down; nothing, and nothing is made, where there never was an update.
    pub(crate) fn record(&self) -> Result<Record, DiskError> {
        if !self.directory().exists() {
            return Ok(Record::default());
        }
        Ok(Record::open(&self.directory())?.1)
    }

    fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), DiskError> {
        let _turn = self.turn();
        if !self.directory().exists() {
            return Ok(());
        }
        let (mut ledger, before) = Record::open(&self.directory())?;
        let mut record = before.clone();
        change(&mut record);
        if record == before { Ok(()) } else { ledger.commit(&record) }
    }
}
