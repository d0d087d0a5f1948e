//! The audit log as the agent holds it: open, append, read the newest head, shut down.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use outpost_disk::{StateLock, atomic};
use rusqlite::{Connection, OptionalExtension};

use crate::author::Author;
use crate::boot::Remains;
use crate::cosignature::Cosigned;
use crate::queue::{Appended, Draft};
use crate::space::{Gauge, make_room_to_open};
use crate::tally::Tally;
use crate::tree::Tree;
use crate::vault::{self, Act, Destruction, EndedLogs, Keeper, Vault, VaultError};
use crate::witness::{self, TooLong};
use crate::writer::{Memory, Pace, Shared, Tip, Writer};
use crate::{
    Admission, AuditError, BootInfo, BootReport, CapacityMode, Checkpoint, CheckpointKey, Counter, Entry, Filter,
    Health, Kind, LogOptions, Record, Space, VerifierKey, reader, schema,
};

/// The name of a log and the key that signs its heads.
#[derive(Debug)]
pub struct LogIdentity {
    /// Name for a new log, by convention `audit.<organisation>/<device>/<number>`: no spaces, no `+`. An existing log
    /// keeps its own.
    pub origin: String,
    /// The device's audit key.
    pub key: CheckpointKey,
}

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Milliseconds since 1970 by the device's clock, never below its floor.
    pub wall_ms: i64,
    /// Whether that clock is believed; if not, it counts on from the floor.
    pub clock_is_trusted: bool,
    /// Microseconds since the machine started, time asleep included; nobody can set it.
    pub boot_us: i64,
}

/// A handle to the open log. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct AuditLog(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    directory: PathBuf,
    author: Arc<Author>,
    ended: Option<EndedLogs>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AuditLog {
    /// Makes an empty log in `directory` (made if missing, mode 0700), if there is none: its name, its key and the signed
    /// head over no records. [`open`](Self::open) does the same by itself.
    ///
    /// # Errors
    /// If the directory is in use or cannot be written, or holds the log of another key.
    pub fn create(directory: &Path, identity: &LogIdentity) -> Result<VerifierKey, AuditError> {
        make_private_directory(directory)?;
        let _lock = StateLock::acquire_soon(directory)?;
        settle_identity(&schema::open_writer(directory)?, directory, identity)
    }

    /// Opens the log in `directory` (made if missing, mode 0700) and records the start: a `boot` record that says how
    /// the last run ended, and an `infer.aborted` for each request that it left without an end. Both are durable when
    /// this returns. Blocks on the disk.
    ///
    /// # Errors
    /// If the directory is in use, the log is of another key, damaged, shorter than its newest checkpoint, or the disk
    /// is full.
    pub fn open(directory: &Path, identity: LogIdentity, info: BootInfo) -> Result<(Self, BootReport), AuditError> {
        Self::open_with(directory, identity, info, &LogOptions::default())
    }

    /// Opens the log with a quota, a reserve or a vault of one's own choice, as [`open`](Self::open) and
    /// [`open_with_vault`](Self::open_with_vault) do otherwise.
    ///
    /// # Errors
    /// As those.
    pub fn open_with(
        directory: &Path,
        identity: LogIdentity,
        info: BootInfo,
        options: &LogOptions,
    ) -> Result<(Self, BootReport), AuditError> {
        Self::open_at_pace(directory, identity, info, options, Pace::default())
    }

    /// Opens the log together with its vault, as [`open`](Self::open) does otherwise: records may carry
    /// [content](Record::seal), sealed under keys that are wrapped under a root key in `root_directory` (made if missing,
    /// mode 0700; of this log alone). Keep that directory elsewhere than the log: a copy of the log is then no copy of
    /// its content. Finishes an erasure that a kill interrupted.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if the root key is missing, another one, or cannot be read.
    pub fn open_with_vault(
        directory: &Path,
        identity: LogIdentity,
        info: BootInfo,
        root_directory: &Path,
    ) -> Result<(Self, BootReport), AuditError> {
        let options = LogOptions { vault: Some(root_directory.to_owned()), ..LogOptions::default() };
        Self::open_with(directory, identity, info, &options)
    }

    pub(crate) fn open_at_pace(
        directory: &Path,
        identity: LogIdentity,
        info: BootInfo,
        options: &LogOptions,
        pace: Pace,
    ) -> Result<(Self, BootReport), AuditError> {
        make_private_directory(directory)?;
        let lock = StateLock::acquire_soon(directory)?;
        make_room_to_open(directory, outpost_disk::space::room(directory)?)?;
        let connection = schema::open_writer(directory)?;
        let verifier_key = settle_identity(&connection, directory, &identity)?;
        let (tree, tip, kept_size) = load_tree(&connection, directory, &verifier_key)?;
        let remains = Remains::read(&connection, directory)?;
        let tally =
            Tally::load(&connection, tree.size()).map_err(|error| AuditError::database("read", directory, &error))?;
        let keeper = options.vault.as_deref().map(|roots| Keeper::open(&connection, directory, roots)).transpose()?;
        let BootInfo { agent, device, clock } = info;
        let author = Arc::new(Author { boot: run_id()?, agent, device, clock });
        let (gauge, memory) = (Gauge::new(directory, options.space, pace.space), Memory::new(tally));
        let vault = keeper.as_ref().map(|keeper| Arc::clone(&keeper.vault));
        let shared = Arc::new(Shared::new(tip, vault, gauge.space(CapacityMode::Strict)));
        let writer = Writer {
            shared: Arc::clone(&shared),
            directory: directory.to_owned(),
            connection,
            tree,
            origin: verifier_key.name().to_owned(),
            key: identity.key,
            author: Arc::clone(&author),
            pace,
            kept_size,
            due: None,
            keeper,
            gauge,
            memory,
            latch: None,
            patience: None,
            _lock: lock,
        };
        let thread = std::thread::Builder::new()
            .name("outpost-audit".to_owned())
            .spawn(move || writer.run())
            .map_err(|cause| AuditError::Disk(format!("cannot start the thread that writes the audit log: {cause}")))?;
        let (directory, ended) = (directory.to_owned(), options.ended.clone());
        let log = Self(Arc::new(Inner { shared, directory, author, ended, writer: Mutex::new(Some(thread)) }));
        let report = log.record_boot(remains, &verifier_key)?;
        Ok((log, report))
    }

    fn record_boot(&self, remains: Remains, verifier_key: &VerifierKey) -> Result<BootReport, AuditError> {
        let (previous, aborted) = (remains.previous, remains.open_requests());
        let appended: Vec<Appended> =
            remains.records(self.moment().boot_us).into_iter().map(|record| self.append(record)).collect();
        for answer in appended {
            answer.wait()?;
        }
        Ok(BootReport {
            previous,
            aborted,
            records: self.size(),
            origin: verifier_key.name().to_owned(),
            boot: self.0.author.boot.clone(),
            verifier_key: verifier_key.to_string(),
        })
    }

    /// Appends a record; the answer is its index.
    ///
    /// **The promise:** when the answer is an index, the record is in the log under that index, its leaf is under a
    /// signed tree head, and both were fsynced: they survive a kill, a crash of the operating system and a power cut
    /// (on storage that does not lie about fsync). When the answer is an error other than
    /// [`Latched`](AuditError::Latched), the record is not in the log. Records answered or not, the order of indices is
    /// the order of calls on one thread, and there are no gaps.
    ///
    /// The one exception is chosen by policy and recorded: where room is critical in the mode
    /// [`Availability`](CapacityMode::Availability), a request is counted durably instead of recorded, and the answer is the
    /// index from which on the `summary` with that count stands.
    ///
    /// Many callers share one fsync: a call does not block, and appending from many threads is cheaper than in turn.
    ///
    /// # Errors
    /// [`Full`](AuditError::Full) when the disk is full, [`NoRoom`](AuditError::NoRoom) when too little is left for a
    /// record of this type (the log goes on by itself once it is not); [`Latched`](AuditError::Latched) after a storage
    /// error, until the log has checked what the disk has, which it does by itself;
    /// [`Damaged`](AuditError::Damaged) if that is not what was acknowledged;
    /// [`TooLarge`](AuditError::TooLarge), [`Busy`](AuditError::Busy), [`Closed`](AuditError::Closed). A caller that
    /// needs the record must not go on without it.
    pub fn append(&self, record: Record) -> Appended {
        self.push(record, false)
    }

    /// Appends a record that destroys keys, in a transaction of its own.
    pub(crate) fn push_destruction(&self, record: Record, destruction: Arc<Destruction>) -> Appended {
        self.push_act(record, Act::Destroy(destruction), false)
    }

    /// Appends a record with which the records before an index leave the device, in a transaction of its own.
    pub(crate) fn push_leaving(&self, record: Record, until: u64) -> Appended {
        self.push_act(record, Act::Leave(until), false)
    }

    fn push(&self, record: Record, last: bool) -> Appended {
        self.push_act(record, Act::None, last)
    }

    fn push_act(&self, record: Record, act: Act, last: bool) -> Appended {
        match self.draft(record, act) {
            Ok(draft) => self.0.shared.queue.push(draft, last),
            Err(error) => Appended::failed(error),
        }
    }

    /// The record as the writer takes it. Where room is scarce, its content stays behind, and it says so.
    fn draft(&self, mut record: Record, act: Act) -> Result<Draft, AuditError> {
        let (inner, kind, moment) = (&*self.0, record.kind(), self.moment());
        let space = inner.shared.space();
        if space.level.admits(space.mode, kind) == Admission::Refused {
            let (directory, kind) = (inner.directory.clone(), kind.name());
            return Err(AuditError::NoRoom { directory, kind, level: space.level, free_bytes: space.free_bytes });
        }
        if !space.level.keeps_content() && record.unsealed.take().is_some() {
            record = record.detail("content_dropped", space.level.name());
        }
        let (effect, changes) = (record.effect(), record.take_changes());
        let act = match act {
            Act::None => vault::seal(inner.shared.vault.as_deref(), &mut record, moment.wall_ms)?,
            act => act,
        };
        let leaf = inner.author.render(record, moment)?;
        Ok(Draft { effect, changes, act, ..Draft::plain(kind, moment, leaf) })
    }

    /// Appends the record of a cosigned checkpoint, and raises the floor of the clock to the time at which it was cosigned:
    /// that moment has passed. Of several witnesses the earliest counts, so that none alone can move the clock ahead.
    ///
    /// # Errors
    /// If a name in it is so long that the record could not hold its line; the floor is raised even then.
    pub fn append_cosigned(&self, cosigned: &Cosigned) -> Result<Appended, TooLong> {
        let earliest = cosigned.cosignatures.iter().map(|cosignature| cosignature.time_s).min();
        if let Some(time_s) = earliest.and_then(|time_s| i64::try_from(time_s).ok())
            && let Err(error) = self.0.author.clock.raise_floor(time_s)
        {
            tracing::warn!(%error, "the time of a cosignature is the clock's floor in this run only");
        }
        Ok(self.append(witness::record(cosigned)?))
    }

    /// How the log stands for room. Reads memory only.
    #[must_use]
    pub fn space(&self) -> Space {
        self.0.shared.space()
    }

    /// Whether a record of this type would be taken now, so that work which needs it can be refused before it begins. What
    /// this admits may still be refused when it is appended. Reads memory only.
    ///
    /// # Errors
    /// As [`append`](Self::append) would answer.
    pub fn admits(&self, kind: Kind) -> Result<(), AuditError> {
        let directory = || self.0.directory.clone();
        match self.health() {
            Health::Latched(cause) => return Err(AuditError::Latched { directory: directory(), cause }),
            Health::Failed(what) => return Err(AuditError::Damaged { directory: directory(), what }),
            Health::Recording | Health::Full => {}
        }
        let Space { level, free_bytes, mode, .. } = self.space();
        match level.admits(mode, kind) {
            Admission::Leaf | Admission::Counted => Ok(()),
            Admission::Refused => {
                Err(AuditError::NoRoom { directory: directory(), kind: kind.name(), level, free_bytes })
            }
        }
    }

    /// Chooses what matters more once room is critical, because of this (the version of a policy, say). The choice is a
    /// record, and counts from when on that is durable; a run begins with [`Strict`](CapacityMode::Strict). None if it is in
    /// force already.
    pub fn choose_capacity_mode(&self, mode: CapacityMode, because: &str) -> Option<Appended> {
        if self.space().mode == mode {
            return None;
        }
        let record = Record::new(Kind::Capacity)
            .act("mode")
            .detail("mode", mode.name())
            .detail("was", self.space().mode.name())
            .detail("because", because);
        Some(match self.draft(record, Act::None) {
            Ok(draft) => self.0.shared.queue.push(Draft { mode: Some(mode), ..draft }, false),
            Err(error) => Appended::failed(error),
        })
    }

    pub(crate) fn vault(&self) -> Result<&Vault, AuditError> {
        Ok(self.0.shared.vault.as_deref().ok_or(VaultError::Closed)?)
    }

    pub(crate) fn ended_logs(&self) -> Option<&EndedLogs> {
        self.0.ended.as_ref()
    }

    /// The time as a record made now would carry it.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.0.author.moment()
    }

    /// Every counter that records have changed, as the disk has them: what is appended meanwhile may be in or not. Reads
    /// the disk.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn counters(&self) -> Result<Vec<Counter>, AuditError> {
        reader::counters(&self.0.directory)
    }

    /// The newest durable tree head as a signed note (c2sp.org/tlog-checkpoint). Reads memory only.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        self.0.shared.tip().note
    }

    /// Durable records in the log.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.shared.tip().size
    }

    /// RFC 6962 root over them.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        self.0.shared.tip().root
    }

    /// Whether the log takes records.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.shared.health()
    }

    /// Transactions so far in this run: fewer than records when callers shared them.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.0.shared.commits.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Where the log lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// The records in a range of indices, in order. Reads the disk.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list(&self, range: Range<u64>) -> Result<Vec<Entry>, AuditError> {
        reader::list(
            &self.0.directory,
            &Filter { from: Some(range.start), until: Some(range.end), ..Filter::default() },
        )
    }

    /// The newest `count` records, in order. Reads the disk.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn tail(&self, count: u64) -> Result<Vec<Entry>, AuditError> {
        let size = self.size();
        self.list(size.saturating_sub(count)..size)
    }

    /// The records that a filter lets through. Reads the disk.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn find(&self, filter: &Filter) -> Result<Vec<Entry>, AuditError> {
        reader::list(&self.0.directory, filter)
    }

    /// Records `shutdown` with its reason, keeps a last checkpoint and closes the log. Records that wait are written
    /// before it; later ones are answered with [`Closed`](AuditError::Closed). Blocks on the disk.
    ///
    /// # Errors
    /// If the record cannot be written; the log is closed even then.
    pub fn shutdown(&self, reason: &str) -> Result<(), AuditError> {
        let recorded = self.push(Record::new(Kind::Shutdown).detail("reason", reason), true).wait();
        self.0.close();
        recorded.map(|_| ())
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AuditLog").field("directory", &self.0.directory).field("size", &self.size()).finish()
    }
}

impl Inner {
    fn close(&self) {
        self.shared.queue.stop();
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the audit log panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Finds out under which name and key this log lives, or gives it both at birth.
fn settle_identity(
    connection: &Connection,
    directory: &Path,
    identity: &LogIdentity,
) -> Result<VerifierKey, AuditError> {
    let database = |act| move |error: rusqlite::Error| AuditError::database(act, directory, &error);
    let stored = |key: &str| {
        connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get::<_, String>(0))
            .optional()
            .map_err(database("read"))
    };
    let origin = stored("origin")?.unwrap_or_else(|| identity.origin.clone());
    let verifier_key = identity.key.verifier_key(&origin)?;
    match stored("vkey")? {
        Some(found) if found != verifier_key.to_string() => {
            return Err(AuditError::OtherKey {
                directory: directory.to_owned(),
                found,
                expected: verifier_key.to_string(),
            });
        }
        Some(_) => {}
        None => {
            let empty = Checkpoint { origin: origin.clone(), size: 0, root: Tree::default().root() };
            let quoted = |text: &str| text.replace('\'', "''");
            let insert = format!(
                "BEGIN IMMEDIATE;
                 INSERT INTO meta VALUES ('origin', '{}'), ('vkey', '{}');
                 INSERT INTO tree VALUES (1, 0, x'{}', x'', '{}');
                 COMMIT;",
                quoted(&origin),
                quoted(&verifier_key.to_string()),
                hex::encode(empty.root),
                quoted(&identity.key.sign(&empty)),
            );
            connection.execute_batch(&insert).map_err(database("write"))?;
        }
    }
    let path = schema::verifier_key_path(directory);
    let line = format!("{verifier_key}\n");
    if std::fs::read_to_string(&path).ok().as_deref() != Some(line.as_str()) {
        atomic::write(&path, line)?;
    }
    Ok(verifier_key)
}

/// Loads the tree and refuses to go on from one that contradicts itself: what is signed next must extend what was
/// signed before.
pub(crate) fn load_tree(
    connection: &Connection,
    directory: &Path,
    verifier_key: &VerifierKey,
) -> Result<(Tree, Tip, u64), AuditError> {
    let read = |error: rusqlite::Error| AuditError::database("read", directory, &error);
    let damaged = |what: String| AuditError::Damaged { directory: directory.to_owned(), what };
    let (size, root, frontier, note): (u64, Vec<u8>, Vec<u8>, String) = connection
        .query_row("SELECT size, root, frontier, note FROM tree", (), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .map_err(read)?;
    let records: u64 =
        connection.query_row("SELECT coalesce(max(idx) + 1, 0) FROM leaves", (), |row| row.get(0)).map_err(read)?;
    if records != size {
        return Err(damaged(format!("it has {records} records and a tree over {size}")));
    }
    let tree =
        Tree::restore(size, &frontier).ok_or_else(|| damaged("the frontier does not fit the size".to_owned()))?;
    if tree.root().as_slice() != root {
        return Err(damaged("the frontier does not lead to the root".to_owned()));
    }
    if size > 0 {
        let head = Checkpoint::verify(&note, verifier_key).map_err(|cause| damaged(format!("its head: {cause}")))?;
        if (head.size, head.root) != (size, tree.root()) {
            return Err(damaged("its signed head is of another tree".to_owned()));
        }
    }
    let kept: u64 =
        connection.query_row("SELECT coalesce(max(size), 0) FROM checkpoints", (), |row| row.get(0)).map_err(read)?;
    let signed = kept.max(size_in_checkpoint_file(directory, verifier_key));
    if signed > size {
        return Err(AuditError::RolledBack { directory: directory.to_owned(), size, signed });
    }
    let tip = Tip { size, root: tree.root(), note };
    Ok((tree, tip, kept))
}

/// The size that the checkpoint file vouches for; 0 if there is none or it does not verify, in which case it is
/// replaced at the next checkpoint: a spoilt side file must not keep the agent from starting.
fn size_in_checkpoint_file(directory: &Path, verifier_key: &VerifierKey) -> u64 {
    let Ok(note) = std::fs::read_to_string(schema::checkpoint_path(directory)) else { return 0 };
    match Checkpoint::verify(&note, verifier_key) {
        Ok(checkpoint) => checkpoint.size,
        Err(error) => {
            tracing::warn!(%error, "the audit checkpoint file does not verify and is not used");
            0
        }
    }
}

pub(crate) fn make_private_directory(directory: &Path) -> Result<(), AuditError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|cause| {
        AuditError::Disk(format!("cannot make the audit directory `{}`: {cause}", directory.display()))
    })
}

/// A name for this run of the agent, so that records of one run can be told from those of the next.
fn run_id() -> Result<String, AuditError> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|cause| AuditError::Disk(format!("no randomness: {cause}")))?;
    Ok(hex::encode(random))
}

#[cfg(test)]
pub(crate) mod tests;
