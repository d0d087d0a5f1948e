//! The logs that are tampered with, and what an auditor holds who was there before.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use outpost_audit::cosignature::{Cosigned, WitnessKey};
use outpost_audit::export::{self, Form, Format, export};
use outpost_audit::verify::Options;
use outpost_audit::witness::Policy;
use outpost_audit::{
    AuditLog, BootInfo, CheckpointKey, Entry, Filter, Kind, LogIdentity, Record, VerifierKey, Who, reader,
};
use outpost_disk::{Clock, Secret};
use rusqlite::Connection;

const NOW_S: i64 = 1_795_380_305;

/// A closed log with its exports, and copies of it as it was.
pub(crate) struct Subject {
    directory: tempfile::TempDir,
    /// The log's own key, which nobody who tampers has.
    pub(crate) pkcs8: Secret,
    pub(crate) key: VerifierKey,
    /// The signed head over all records, cosigned.
    pub(crate) cosigned: String,
    pub(crate) policy: Policy,
    pub(crate) entries: Vec<Entry>,
    /// Records that the log held when each old image was made.
    pub(crate) images: Vec<u64>,
}

/// 10,000 records, with an old image every 500.
pub(crate) fn large() -> &'static Subject {
    static LARGE: OnceLock<Subject> = OnceLock::new();
    LARGE.get_or_init(|| Subject::of(10_000, 500))
}

/// A full tile, and one record more.
pub(crate) fn small() -> &'static Subject {
    static SMALL: OnceLock<Subject> = OnceLock::new();
    SMALL.get_or_init(|| Subject::of(257, 300))
}

impl Subject {
    fn of(records: usize, image_every: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let pkcs8 = CheckpointKey::generate().unwrap();
        let log = open(&path("store"), &pkcs8);
        let mut images = Vec::new();
        // The first is `boot`, the last `shutdown`.
        for first in (1..records - 1).step_by(image_every) {
            let group: Vec<_> =
                (first..(records - 1).min(first + image_every)).map(|number| log.append(record(number))).collect();
            for appended in group {
                appended.wait().unwrap();
            }
            copy_store(&path("store"), &path(&format!("old/{}/store", log.size())));
            export(
                &path("store"),
                Format::Tiles,
                &path(&format!("old/{}/tiles", log.size())),
                &export::Options::default(),
            )
            .unwrap();
            images.push(log.size());
        }
        log.shutdown("asked").unwrap();
        let signer = CheckpointKey::from_pkcs8(pkcs8.expose()).unwrap();
        export(&path("store"), Format::Tiles, &path("tiles"), &export::Options::default()).unwrap();
        let options = export::Options { key: Some(&signer), ..export::Options::default() };
        export(&path("store"), Format::Records(Form::Jsonl), &path("lines"), &options).unwrap();
        let key: VerifierKey = std::fs::read_to_string(path("store/audit.vkey")).unwrap().parse().unwrap();
        let (cosigned, policy) = cosign(&path("tiles/checkpoint"), &key);
        std::fs::write(path("tiles/checkpoint"), &cosigned).unwrap();
        // No process locks what an auditor is given.
        std::fs::remove_file(path("store/lock")).unwrap();
        let entries = reader::list(&path("store"), &Filter::default()).unwrap();
        assert_eq!(entries.len(), records);
        Self { directory, pkcs8, key, cosigned, policy, entries, images }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the auditor brings: the log's key.
    pub(crate) fn options(&self) -> Options {
        Options { verifier_key: Some(self.key.clone()), ..Options::default() }
    }
}

fn open(store: &Path, pkcs8: &Secret) -> AuditLog {
    let key = CheckpointKey::from_pkcs8(pkcs8.expose()).unwrap();
    let identity = LogIdentity { origin: "audit.example/tamper/1".to_owned(), key };
    let info = BootInfo { agent: "0.1.0".into(), device: "tamper".into(), clock: Clock::fixed(NOW_S) };
    AuditLog::open(store, identity, info).unwrap().0
}

/// Starts, most of them with an end, and lengths of many kinds.
fn record(number: usize) -> Record {
    let kind = if number % 7 < 4 { Kind::InferStart } else { Kind::InferEnd };
    let who = Who { kind: "user".into(), id: format!("p:{:04}", number % 50), roles: vec![], auth: "key".into() };
    let record = Record::new(kind).request(format!("r{}", number / 2)).act("infer").who(who);
    if number.is_multiple_of(10) { record.detail("noise", "n".repeat(number % 61)) } else { record }
}

/// The head with the word of a witness, and a policy that wants it.
fn cosign(checkpoint: &Path, log: &VerifierKey) -> (String, Policy) {
    let note = std::fs::read_to_string(checkpoint).unwrap();
    let witness = WitnessKey::from_pkcs8("witness.example/w1", CheckpointKey::generate().unwrap().expose()).unwrap();
    let line = witness.cosign(&note[..=note.find("\n\n").unwrap()], NOW_S.unsigned_abs());
    let key = witness.cosigner_key();
    let cosigned = Cosigned::join(&note, &line, std::slice::from_ref(log), std::slice::from_ref(key)).unwrap();
    let policy = Policy::parse(format!("log {log}\nwitness w1 {key}\nquorum w1\n").as_bytes()).unwrap();
    (cosigned.note, policy)
}

/// As a backup program does it while the agent runs.
fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let live = Connection::open(from.join("audit.db")).unwrap();
    live.execute("VACUUM INTO ?1", [to.join("audit.db").to_str().unwrap()]).unwrap();
    for name in ["audit.vkey", "audit.checkpoint"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}
