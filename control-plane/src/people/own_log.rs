//! The control plane's own tamper-evident log, `<state>/audit/self`: who did what to what.
//!
//! Server and command line write at the same time, but a log has one writer. So a record first goes durably into the
//! database, and from there into the log by whichever process holds it: `audit/self.lock` says which. A server takes in what
//! the command line left within a second. A process that dies in between leaves a record twice, with one `entry` number,
//! never none.
//!
//! Where several servers share a database, the one that leads holds the log, in `audit/self-NAME` by its own name and with its own key:
//! who led before has written another part, and `entry` is counted through all of them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outpost_audit::{
    AuditLog, BootInfo, CheckpointKey, DecisionRef, Filter, Kind, LogIdentity, ObjectRef, Outcome, Record, Who, reader,
    verify,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Act, Actor};
use crate::db::Database;
use crate::files::failed;
use crate::fleet::{Fleet, FleetError};
use crate::leader::Replica;

/// How often a server looks for what others left.
const LOOK: Duration = Duration::from_secs(1);

/// Records that are taken into the log together.
const BATCH: u32 = 256;

/// What is recorded.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Happening {
    /// Who; empty if nobody was identified.
    pub(crate) by: String,
    pub(crate) means: String,
    pub(crate) roles: Vec<String>,
    pub(crate) act: String,
    pub(crate) subject: String,
    /// `allow` or `deny`; empty where the rules were not asked.
    pub(crate) effect: String,
    pub(crate) rules: Vec<String>,
    /// What went wrong; empty if nothing did.
    pub(crate) outcome: String,
    /// SHA-256 of what was sent with it; empty if nothing was.
    #[serde(default)]
    pub(crate) sent: String,
}

impl Happening {
    pub(crate) fn of(actor: &Actor, act: Act, subject: &str) -> Self {
        Self {
            by: actor.name.clone(),
            means: actor.means.name().to_owned(),
            roles: actor.roles.clone(),
            act: act.name().to_owned(),
            subject: subject.to_owned(),
            sent: super::sent::digest(),
            ..Self::default()
        }
    }

    fn into_record(self, entry: i64, at_s: i64) -> Record {
        let kind = if self.by.is_empty() { Kind::AuthFail } else { Kind::AdminAct };
        let who = Who { kind: "user".to_owned(), id: String::new(), roles: self.roles, auth: self.means };
        let record =
            Record::new(kind).who(who).act(self.act).object(ObjectRef { model: self.subject, ..ObjectRef::default() });
        let decision = DecisionRef { effect: self.effect, rules: self.rules, ..DecisionRef::default() };
        let outcome = Outcome { err: self.outcome, ..Outcome::default() };
        let record = if self.sent.is_empty() { record } else { record.detail("sent_sha256", self.sent) };
        record
            .decision(decision)
            .result(outcome)
            .detail("by", self.by)
            .detail("entry", entry.to_string())
            .detail("at_s", at_s.to_string())
    }
}

/// What is in the queue.
#[derive(Serialize, Deserialize)]
struct Queued {
    at_s: i64,
    #[serde(flatten)]
    happening: Happening,
}

/// One record of the log.
#[derive(Debug, Clone, Serialize)]
pub struct OwnRecord {
    /// Its index.
    pub index: u64,
    /// The leaf, JSON.
    pub leaf: serde_json::Value,
}

impl OwnRecord {
    fn read(entry: &reader::Entry) -> Result<Self, FleetError> {
        let leaf = serde_json::from_slice(&entry.bytes);
        let leaf = leaf.map_err(|error| FleetError::Record(format!("record {}: {error}", entry.index)))?;
        Ok(Self { index: entry.index, leaf })
    }
}

/// The log, which this process holds once it could.
#[derive(Debug)]
pub(crate) struct OwnLog {
    directory: PathBuf,
    key: PathBuf,
    lock: PathBuf,
    origin: String,
    database: Database,
    replica: Arc<Replica>,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    log: AuditLog,
    _lock: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.log.shutdown("done") {
            tracing::warn!(%error, "the control plane's own log did not close well");
        }
    }
}

impl OwnLog {
    pub(crate) fn new(state: &Path, database: Database, tenant: &str, replica: Arc<Replica>) -> Self {
        let part = replica.name().map(|name| format!("-{name}")).unwrap_or_default();
        Self {
            directory: state.join(format!("audit/self{part}")),
            key: state.join(format!("keys/audit-self{part}.key")),
            lock: state.join("audit/self.lock"),
            origin: format!("audit.outpost/{tenant}/control-plane{part}/1"),
            database,
            replica,
            held: Mutex::new(None),
        }
    }

    /// Records something. It is durable when this returns, and in the log unless another process has that.
    pub(crate) fn record(&self, happening: &Happening, at_s: i64) -> Result<(), FleetError> {
        let queued = Queued { at_s, happening: happening.clone() };
        let form = serde_json::to_string(&queued).map_err(|error| FleetError::Record(error.to_string()))?;
        self.database.queue_record(&form)?;
        self.take_in()
    }

    /// Takes what waits into the log, if no other process has it and no other server leads.
    pub(crate) fn take_in(&self) -> Result<(), FleetError> {
        let mut held = self.held.lock();
        if !self.replica.leads() {
            return Ok(());
        }
        if held.is_none() {
            *held = self.hold()?;
        }
        let Some(holding) = held.as_ref() else { return Ok(()) };
        let taken = self.drain(&holding.log);
        if taken.is_err() {
            // Opened anew, the log looks at what the disk has.
            *held = None;
        }
        taken
    }

    fn drain(&self, log: &AuditLog) -> Result<(), FleetError> {
        loop {
            let waiting = self.database.queued_records(BATCH)?;
            if waiting.is_empty() {
                return Ok(());
            }
            let mut appended = Vec::new();
            for (number, form) in &waiting {
                let Queued { at_s, happening } =
                    serde_json::from_str(form).map_err(|error| FleetError::Record(error.to_string()))?;
                appended.push(log.append(happening.into_record(*number, at_s)));
            }
            for answer in appended {
                answer.wait()?;
            }
            let numbers: Vec<i64> = waiting.into_iter().map(|(number, _)| number).collect();
            self.database.unqueue_records(&numbers)?;
        }
    }

    fn hold(&self) -> Result<Option<Held>, FleetError> {
        let lock = File::options().create(true).truncate(false).write(true).open(&self.lock);
        let lock = lock.map_err(failed("open", &self.lock))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &self.lock)(error).into()),
        }
        let identity = LogIdentity { origin: self.origin.clone(), key: CheckpointKey::read_or_create(&self.key)? };
        let info = BootInfo::at_system_time(env!("CARGO_PKG_VERSION"), "control-plane");
        let (log, _) = AuditLog::open(&self.directory, identity, info)?;
        Ok(Some(Held { log, _lock: lock }))
    }
}

/// Takes in what the command line left, for as long as the server runs.
pub(crate) async fn keep_record(fleet: Fleet) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        if let Err(error) = fleet.run(|fleet| fleet.inner.people.own_log.take_in()).await {
            tracing::error!(%error, "acts cannot be taken into the control plane's own log");
        }
    }
}

impl Fleet {
    /// The newest records of the control plane's own log, oldest first.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn own_records(&self, most: usize) -> Result<Vec<OwnRecord>, FleetError> {
        self.inner.people.own_log.take_in()?;
        let filter = Filter { limit: Some(most), newest_first: true, ..Filter::default() };
        let entries = reader::list(&self.inner.people.own_log.directory, &filter)?;
        entries.iter().rev().map(OwnRecord::read).collect()
    }

    /// Records of the control plane's own log from an index on, oldest first.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub(crate) fn own_records_from(&self, from: u64, most: usize) -> Result<Vec<OwnRecord>, FleetError> {
        self.inner.people.own_log.take_in()?;
        let filter = Filter { from: Some(from), limit: Some(most), ..Filter::default() };
        reader::list(&self.inner.people.own_log.directory, &filter)?.iter().map(OwnRecord::read).collect()
    }

    /// Verifies the control plane's own log, every record.
    ///
    /// # Errors
    /// If it cannot be read; what is wrong with it stands in the report.
    pub fn verify_own_log(&self) -> Result<verify::Report, FleetError> {
        self.inner.people.own_log.take_in()?;
        Ok(verify::verify(&self.inner.people.own_log.directory)?)
    }

    /// Where the control plane's own log lies, for `outpost audit`.
    #[must_use]
    pub fn own_log_directory(&self) -> &Path {
        &self.inner.people.own_log.directory
    }
}
