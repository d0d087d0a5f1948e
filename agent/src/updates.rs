//! Newer builds of the agent itself: taken in, on record, tried at the next start; what came of them, on record at that start.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outpost_audit::{AuditLog, Kind, Record};
use outpost_contract::Sha256;
use outpost_sync::LinkHandle;
use outpost_update::{Before, Builds, Candidate, Refused, Staged, Standing};
use serde_json::{Map, Value, json};
use sha2::Digest;
use tokio::sync::{Notify, watch};

use crate::active::Active;

/// Read at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// A start that could not be made is tried again after so long: what keeps the launcher from it does not heal in a moment, and each
/// try takes what serves away.
const LEFT_OVER_FOR: Duration = Duration::from_secs(60 * 60);

/// Takes builds in while the agent serves; cloning gives another hand on the same slots.
#[derive(Debug, Clone)]
pub(crate) struct Updates {
    pub(crate) builds: Builds,
    pub(crate) audit: AuditLog,
    pub(crate) active: Arc<Active>,
    /// None on a box that belongs to no fleet, or leaves it alone.
    pub(crate) link: Option<LinkHandle>,
    /// Set when this process is to start again.
    pub(crate) restart: watch::Sender<bool>,
    /// Told when this build is confirmed.
    pub(crate) confirmed: Arc<Notify>,
    /// The build that was to be tried at this start and was not.
    pub(crate) left_over: Arc<OnceLock<LeftOver>>,
}

/// A build that the launcher was to try and could not: a start that cannot be counted, on a full disk say, is not made.
#[derive(Debug)]
pub(crate) struct LeftOver {
    sha256: Sha256,
    since: Instant,
}

impl Updates {
    /// Takes a build in and chooses it for the next start, on trial; that is on record when this returns. What runs goes on until
    /// [`Updates::start_again`].
    ///
    /// # Errors
    /// Why it is not taken, which is on record, too; or that it could not be recorded.
    pub(crate) async fn stage(
        &self,
        candidate: Candidate,
        reader: impl Read + Send + 'static,
    ) -> Result<Staged, Refused> {
        let (builds, before, offered) = (self.builds.clone(), self.before(), candidate.clone());
        let staged = aside(move || builds.stage(&offered, before, reader)).await;
        match staged {
            Ok(staged) => {
                if let Err(error) = self.audit.append(staged_record(&staged)).await {
                    let builds = self.builds.clone();
                    aside(move || builds.withdraw()).await?;
                    return Err(Refused::NotRecorded { because: error.to_string() });
                }
                let build = &staged.build;
                tracing::info!(version = build.version, sha256 = %build.sha256, slot = staged.slot.name(), "a build is staged");
                Ok(staged)
            }
            Err(refused) => {
                tracing::warn!(code = refused.code(), reason = %refused, "a build is refused");
                if let Some(record) = refused_record(&candidate, &refused)
                    && let Err(error) = self.audit.append(record).await
                {
                    tracing::error!(%error, "that a build is refused is not on record");
                }
                Err(refused)
            }
        }
    }

    /// The same with a file of this machine; `again` takes one that was rolled back here.
    ///
    /// # Errors
    /// As [`Updates::stage`].
    pub(crate) async fn stage_file(&self, file: &Path, again: bool) -> Result<Staged, Refused> {
        let file = file.to_owned();
        let (candidate, opened) = aside(move || candidate(&file)).await.map_err(|source| Refused::Read { source })?;
        if again {
            let (builds, sha256) = (self.builds.clone(), candidate.sha256);
            aside(move || builds.forgive(sha256)).await?;
        }
        self.stage(candidate, opened).await
    }

    /// Ends this process in good order and starts the one that is chosen.
    pub(crate) fn start_again(&self) {
        self.restart.send_replace(true);
    }

    /// Whether this build was to be tried at this start, could not be, and is not worth another start yet.
    pub(crate) fn is_left_over(&self, sha256: Sha256) -> bool {
        self.left_over.get().is_some_and(|left| left.sha256 == sha256 && left.since.elapsed() < LEFT_OVER_FOR)
    }

    /// Whether the control plane is within reach.
    pub(crate) fn has_link(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.connectivity().borrow().is_online())
    }

    /// Whether a model serves.
    pub(crate) fn has_model(&self) -> bool {
        self.active.current().is_some()
    }

    fn before(&self) -> Before {
        Before { model: self.has_model(), link: self.has_link() }
    }
}

/// What this start found, put on record: builds that were rolled back, and that this one is on trial. Also gives the slots what
/// an update left that was cut off, and remembers what was `left_over`.
///
/// # Errors
/// If it cannot be recorded, or the slots cannot be read.
pub(crate) async fn tell(builds: &Builds, audit: &AuditLog, left_over: &OnceLock<LeftOver>) -> Result<()> {
    let own = builds.clone();
    let (untold, standing) = aside(move || -> Result<_> {
        own.sweep()?;
        Ok((own.untold()?, own.standing()?))
    })
    .await
    .context("what the slots hold cannot be told")?;
    for one in &untold {
        tracing::warn!(version = one.version, reason = one.reason, "a build was rolled back");
        let record = record(Kind::UpdateRolledBack, &one.version, &one.target, one.sha256);
        audit.append(record.detail("reason", one.reason.as_str())).await?;
    }
    if !untold.is_empty() {
        let own = builds.clone();
        aside(move || own.told(&untold)).await?;
    }
    let Some(trial) = standing.trial else { return Ok(()) };
    if standing.running.on_trial {
        let record = record(Kind::UpdateStarted, &trial.version, &trial.target, trial.sha256);
        audit.append(record.detail("attempt", trial.attempts)).await?;
    } else {
        tracing::warn!(version = trial.version, because = ?standing.passed_over, "a build that was to be tried is not");
        left_over.get_or_init(|| LeftOver { sha256: trial.sha256, since: Instant::now() });
    }
    Ok(())
}

/// A file of this machine as somebody offers it: its length and its digest, and the file to read again from its beginning.
pub(crate) fn candidate(path: &Path) -> io::Result<(Candidate, File)> {
    let file = File::open(path)?;
    let (mut hasher, mut block, mut bytes) = (sha2::Sha256::new(), vec![0; BLOCK_BYTES], 0_u64);
    loop {
        match file.read_at(&mut block, bytes)? {
            0 => break,
            read => {
                hasher.update(&block[..read]);
                bytes += read as u64;
            }
        }
    }
    let sha256 = Sha256(hasher.finalize().into());
    Ok((Candidate { version: None, target: None, sha256, bytes }, file))
}

/// The record of a build that was taken in.
pub(crate) fn staged_record(staged: &Staged) -> Record {
    let build = &staged.build;
    record(Kind::UpdateStaged, &build.version, &build.target, build.sha256).detail("slot", staged.slot.name())
}

/// The record of one that was not; none where nothing was tried: it is here, or its turn comes later.
pub(crate) fn refused_record(candidate: &Candidate, refused: &Refused) -> Option<Record> {
    if matches!(refused, Refused::AlreadyHere { .. } | Refused::Busy { .. }) {
        return None;
    }
    let (version, target) = (candidate.version.as_deref(), candidate.target.as_deref());
    let record = record(Kind::UpdateRefused, version.unwrap_or_default(), target.unwrap_or_default(), candidate.sha256);
    Some(record.detail("code", refused.code()).detail("reason", refused.to_string()))
}

/// The record of a build that proved itself.
pub(crate) fn confirmed_record(build: &outpost_update::Build) -> Record {
    record(Kind::UpdateConfirmed, &build.version, &build.target, build.sha256)
}

fn record(kind: Kind, version: &str, target: &str, sha256: Sha256) -> Record {
    let facts = [("version", version), ("target", target)].into_iter().filter(|(_, fact)| !fact.is_empty());
    let record = Record::new(kind).detail("sha256", sha256.to_hex());
    facts.fold(record, |record, (name, fact)| record.detail(name, fact))
}

/// What whoever staged a build is told.
pub(crate) fn facts(staged: &Staged) -> Map<String, Value> {
    let build = &staged.build;
    let facts = json!({
        "version": build.version, "target": build.target, "sha256": build.sha256, "bytes": build.bytes, "slot": staged.slot,
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// How things stand, for status and `outpost update show`.
pub(crate) fn standing(builds: &Builds) -> Value {
    let told = |standing: Standing| serde_json::to_value(standing).unwrap_or_default();
    builds.standing().map_or_else(|error| json!({ "error": error.to_string() }), told)
}

/// Works with the disk off the threads that serve; a panic goes on to whoever asked.
pub(crate) async fn aside<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
}
