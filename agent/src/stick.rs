//! A stick that somebody put in: read as far as it says whom it is for, then obeyed like a document from the network.
//!
//! ```text
//! bundle.json ──► for this tenant and device? ──► desired/<device>.dsse, whole? ──► the one task that reconciles
//!        ──► the same checks as over a network, chunks from the stick alone ──► accepted or refused, and why
//!        ──► answers/<device>.dsse, if it is there ──► see `home`
//! ```

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use outpost_audit::{Kind, Record};
use outpost_contract::bundle::{CHUNKS_DIRECTORY, DESIRED_DIRECTORY, INDEX_BYTES, INDEX_FILE, desired_file};
use outpost_contract::home::{ANSWER_BYTES, ANSWERS_DIRECTORY, answer_file};
use outpost_contract::limits::DOCUMENT_BYTES;
use outpost_contract::{BundleIndex, DeviceId, InvalidBundle, Reason, ReasonCode, TenantId};
use outpost_store::{DirectorySource, read_plain_file};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::home::{Heard, Home, HomeError, SentHome};
use crate::install::code_name;
use crate::reconcile::{Reconciler, Standing};

/// What a stick holds for this device. Nothing of it is proven yet.
#[derive(Debug)]
pub(crate) struct Stick {
    pub(crate) envelope: Bytes,
    /// What the control plane says of what this device sent home.
    answer: Option<Bytes>,
    chunks: DirectorySource,
    made_at_s: i64,
}

/// A stick was not taken in; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// There is no table of contents.
    #[error(
        "`{0}` holds no finished bundle: there is no `{INDEX_FILE}`; give the directory that was exported to, or export again"
    )]
    NoBundle(PathBuf),
    /// A file cannot be read, or is none.
    #[error("`{path}` cannot be read: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be understood, or is for others.
    #[error(transparent)]
    Invalid(#[from] InvalidBundle),
    /// The copy is not what was exported.
    #[error("`{0}` is not as it was exported; export the bundle again, on another stick if this one is worn")]
    Damaged(PathBuf),
    /// One stick at a time.
    #[error("another stick is being taken in; try again")]
    Busy,
    /// What it holds did not pass the checks that every document passes.
    #[error("the stick is refused ({}): {}", code_name(.0.code), .0.detail)]
    Refused(Reason),
    /// Nobody is there to take it in any more.
    #[error("the agent is stopping")]
    Stopping,
}

impl Stick {
    /// Reads what a directory holds for a device.
    ///
    /// # Errors
    /// If it holds no finished bundle, or one for others: says for whom.
    pub(crate) fn read(directory: &Path, tenant: &TenantId, device: &DeviceId) -> Result<Self, NotTaken> {
        let index_file = directory.join(INDEX_FILE);
        let index = match read_plain_file(&index_file, u32::try_from(INDEX_BYTES).unwrap_or(u32::MAX)) {
            Ok(bytes) => BundleIndex::parse(&bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(NotTaken::NoBundle(directory.to_owned())),
            Err(source) => return Err(NotTaken::Unreadable { path: index_file, source }),
        };
        let listed = index.desired_of(tenant, device)?;
        let path = directory.join(DESIRED_DIRECTORY).join(desired_file(device));
        let read = read_plain_file(&path, u32::try_from(DOCUMENT_BYTES).unwrap_or(u32::MAX));
        let envelope = read.map_err(|source| NotTaken::Unreadable { path: path.clone(), source })?;
        if envelope.len() as u64 != listed.bytes || blake3::hash(&envelope).as_bytes() != &listed.blake3.0 {
            return Err(NotTaken::Damaged(path));
        }
        let path = directory.join(ANSWERS_DIRECTORY).join(answer_file(device));
        let answer = match read_plain_file(&path, u32::try_from(ANSWER_BYTES).unwrap_or(u32::MAX)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(NotTaken::Unreadable { path, source }),
        };
        let chunks = DirectorySource::new(&directory.join(CHUNKS_DIRECTORY));
        Ok(Self { envelope, answer, chunks, made_at_s: index.made_at_s })
    }

    /// Checks and obeys it, by what is on it and in the store alone. What is still missing then is no refusal.
    ///
    /// # Errors
    /// Why it was refused; nothing has changed.
    pub(crate) async fn apply(&self, reconciler: &Reconciler) -> Result<TakenIn, Reason> {
        let record = Record::new(Kind::AdminAct).act("bundle.import");
        let record = record.detail("source", "stick").detail("made_at_s", self.made_at_s);
        reconciler.audit.append(record).await.map_err(|error| Reason {
            code: ReasonCode::Unavailable,
            subject: "audit log".to_owned(),
            detail: format!("that a stick is taken in could not be recorded: {error}"),
        })?;
        let standing = reconciler.obey(&self.envelope, &self.chunks, None).await?;
        // The keys that count for the answer are those that the newest catalogue names.
        let answer = match &self.answer {
            Some(envelope) => Some(reconciler.hear_answer(envelope).await),
            None => None,
        };
        Ok(TakenIn { standing, answer })
    }
}

/// What became of a stick.
#[derive(Debug)]
pub(crate) struct TakenIn {
    pub(crate) standing: Standing,
    /// What became of the answer on it, if there was one.
    answer: Option<Result<Heard, HomeError>>,
}

/// Where sticks are handed in while the agent runs; clones lead to the same task.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    home: Home,
    sender: mpsc::Sender<HandedIn>,
}

/// A stick, and who waits for what becomes of it.
#[derive(Debug)]
pub(crate) struct HandedIn {
    pub(crate) stick: Stick,
    pub(crate) answer: oneshot::Sender<Result<TakenIn, Reason>>,
}

impl Port {
    /// A port of this device, and what comes in there.
    pub(crate) fn of(home: Home) -> (Self, mpsc::Receiver<HandedIn>) {
        let (sender, handed_in) = mpsc::channel(1);
        (Self { home, sender }, handed_in)
    }

    /// Writes onto a stick what the control plane lacks.
    ///
    /// # Errors
    /// As [`Home::send`].
    pub(crate) async fn send(&self, directory: PathBuf, from: Option<u64>) -> Result<SentHome, HomeError> {
        let home = self.home.clone();
        match tokio::task::spawn_blocking(move || home.send(&directory, from)).await {
            Ok(sent) => sent,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Hands a stick in, and waits for what becomes of it.
    ///
    /// # Errors
    /// If it was not taken in; nothing has changed.
    pub(crate) async fn take(&self, directory: PathBuf) -> Result<TakenIn, NotTaken> {
        let (tenant, device) = (self.home.tenant.clone(), self.home.device.clone());
        let reading = tokio::task::spawn_blocking(move || Stick::read(&directory, &tenant, &device));
        let stick = reading.await.map_err(|_| NotTaken::Stopping)??;
        let (answer, answered) = oneshot::channel();
        self.sender.try_send(HandedIn { stick, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotTaken::Busy,
            mpsc::error::TrySendError::Closed(_) => NotTaken::Stopping,
        })?;
        answered.await.map_err(|_| NotTaken::Stopping)?.map_err(NotTaken::Refused)
    }
}

/// What whoever brought the stick is told.
pub(crate) fn facts(taken: &TakenIn) -> Map<String, Value> {
    let TakenIn { standing, answer } = taken;
    let facts = [
        ("version", json!(standing.desired_version)),
        ("applied_version", json!(standing.applied_version)),
        ("reasons", json!(standing.reasons)),
        ("plan", json!(standing.plan)),
    ];
    let heard = answer.as_ref().map(|answer| match answer {
        Ok(heard) => ("answer", json!(heard)),
        Err(error) => ("answer_refused", json!(error.to_string())),
    });
    facts.into_iter().chain(heard).map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use outpost_contract::{Blake3, BundledDesired};
    use proptest::prelude::*;

    use super::*;

    const TILL: &[u8] = b"signed elsewhere, judged elsewhere";

    /// A stick for `till-7` of `acme`.
    fn exported() -> tempfile::TempDir {
        let stick = tempfile::tempdir().unwrap();
        fs::create_dir(stick.path().join(DESIRED_DIRECTORY)).unwrap();
        let desired =
            BundledDesired { version: 3, bytes: TILL.len() as u64, blake3: Blake3(*blake3::hash(TILL).as_bytes()) };
        let index = BundleIndex {
            v: 1,
            tenant: "acme".parse().unwrap(),
            made_at_s: 1_795_380_305,
            desired: [("till-7".parse().unwrap(), desired)].into(),
            chunks: 0,
            chunk_bytes: 0,
        };
        put(&stick.path().join(INDEX_FILE), &index.to_bytes());
        put(&till(&stick), TILL);
        stick
    }

    fn till(stick: &tempfile::TempDir) -> PathBuf {
        stick.path().join(DESIRED_DIRECTORY).join("till-7.dsse")
    }

    fn put(path: &Path, bytes: &[u8]) {
        std::io::Write::write_all(&mut fs::File::create(path).unwrap(), bytes).unwrap();
    }

    fn read(stick: &tempfile::TempDir, tenant: &str, device: &str) -> Result<Stick, String> {
        let (tenant, device) = (tenant.parse().unwrap(), device.parse().unwrap());
        Stick::read(stick.path(), &tenant, &device).map_err(|error| error.to_string())
    }

    #[test]
    fn a_stick_is_read_by_whom_it_is_for_and_tells_others_whose_it_is() {
        let stick = exported();
        let read_here = read(&stick, "acme", "till-7").unwrap();
        assert_eq!((&read_here.envelope[..], read_here.made_at_s), (TILL, 1_795_380_305));
        assert!(read(&stick, "other", "till-7").unwrap_err().contains("for devices of `acme`"));
        assert!(read(&stick, "acme", "till-8").unwrap_err().contains("but for `till-7`"));
    }

    #[test]
    fn a_stick_that_is_unfinished_edited_or_cut_is_not_taken() {
        let stick = exported();
        for edited in [&b"signed elsewhere, judged elsewherE"[..], &TILL[..20], b"", &[7; DOCUMENT_BYTES + 9]] {
            put(&till(&stick), edited);
            assert!(read(&stick, "acme", "till-7").unwrap_err().contains("not as it was exported"));
        }
        put(&till(&stick), TILL);
        put(&stick.path().join(INDEX_FILE), &vec![b' '; INDEX_BYTES + 1]);
        assert!(read(&stick, "acme", "till-7").unwrap_err().contains("more than"));
        fs::remove_file(stick.path().join(INDEX_FILE)).unwrap();
        assert!(read(&stick, "acme", "till-7").unwrap_err().contains("no finished bundle"));
    }

    #[test]
    fn links_and_pipes_are_neither_followed_nor_waited_for() {
        let (stick, elsewhere) = (exported(), exported());
        for file in [till(&stick), stick.path().join(INDEX_FILE)] {
            fs::remove_file(&file).unwrap();
            let mode = 0o600.into();
            rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
            assert!(read(&stick, "acme", "till-7").unwrap_err().contains("cannot be read"));
            fs::remove_file(&file).unwrap();
            let there = elsewhere.path().join(file.strip_prefix(stick.path()).unwrap());
            std::os::unix::fs::symlink(there, &file).unwrap();
            assert!(read(&stick, "acme", "till-7").unwrap_err().contains("cannot be read"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_the_files_hold_a_stick_is_refused_or_brings_what_its_table_says(
            in_index: bool, at: prop::sample::Index, bytes in proptest::collection::vec(any::<u8>(), 0..80), cut: bool,
        ) {
            let stick = exported();
            let file = if in_index { stick.path().join(INDEX_FILE) } else { till(&stick) };
            let mut edited = fs::read(&file).unwrap();
            let from = at.index(edited.len());
            let to = if cut { edited.len() } else { (from + bytes.len()).min(edited.len()) };
            edited.splice(from..to, bytes);
            put(&file, &edited);
            if let Ok(taken) = read(&stick, "acme", "till-7") {
                prop_assert_eq!(&taken.envelope[..], TILL);
            }
        }
    }
}
