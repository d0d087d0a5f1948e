//! Lets three verifiers judge the same logs: ours on the store, `ct-merkle` on the exported records, Python on the tiles.
//!
//! `cargo run --example three_verifiers -- PYTHON tests/peers/audit/verify.py [--long]`: they must agree on good logs, of
//! sizes around every edge of a tile and of random ones, and each must say so when something was done to a log.

#![allow(clippy::disallowed_methods, reason = "spoilt copies need not survive a power cut")]

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use outpost_audit::export::{Form, Format, Options, export, prove};
use outpost_audit::note::Note;
use outpost_audit::verify::{self, verify_any};
use outpost_audit::{AuditLog, BootInfo, Change, Checkpoint, CheckpointKey, Kind, LogIdentity, Record, VerifierKey};
use outpost_disk::{Clock, Secret};
use sha2::Sha256;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Around every edge of a tile, and the example of the specification.
const SIZES: [usize; 8] = [0, 1, 255, 256, 257, 65_535, 65_536, 70_000];

/// Logs of random sizes, in the short form and in the long one.
const RANDOM_LOGS: (usize, usize) = (4, 92);

/// Random logs have up to so many records.
const RANDOM_RECORDS: usize = 3_000;

/// Records that wait for the disk together.
const GROUP: usize = 4_096;

/// The judge that is not ours.
struct Python {
    program: PathBuf,
    script: PathBuf,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(program), Some(script)) = (arguments.next(), arguments.next()) else {
        return Err("usage: three_verifiers PYTHON verify.py [--long]".into());
    };
    let python = Python { program: program.into(), script: script.into() };
    let is_long = arguments.next().is_some();
    let random_logs = if is_long { RANDOM_LOGS.1 } else { RANDOM_LOGS.0 };
    let mut sizes = SIZES.to_vec();
    for _ in 0..random_logs {
        sizes.push(random(RANDOM_RECORDS)?);
    }
    // The large ones first, so that no thread is left alone with one.
    sizes.sort_unstable_by(|left, right| right.cmp(left));
    let began = Instant::now();
    let judge = |size: usize| -> Outcome<usize> {
        let log = Log::of(size)?;
        let root = log.agreed(&python)?;
        let is_tampered = size > 0 && (size <= RANDOM_RECORDS || is_long);
        let tampered = if is_tampered { log.tampered(&python)? } else { 0 };
        say(&format!("{size:>6} records: three verifiers agree on {root}"))?;
        Ok(tampered)
    };
    let tampered = on_every_core(&sizes, &judge)?;
    say(&format!(
        "{} logs, {} records: agreed on all; {tampered} tampered copies: each verifier said so; {:.1?}",
        sizes.len(),
        sizes.iter().sum::<usize>(),
        began.elapsed()
    ))
}

/// The sum of what the judgements of all logs come to; the first that fails ends it.
fn on_every_core(sizes: &[usize], judge: &(dyn Fn(usize) -> Outcome<usize> + Sync)) -> Outcome<usize> {
    let next = AtomicUsize::new(0);
    let judge_some = || {
        let mut tampered = 0;
        while let Some(&size) = sizes.get(next.fetch_add(1, Ordering::Relaxed)) {
            tampered += judge(size).inspect_err(|_| next.store(sizes.len(), Ordering::Relaxed))?;
        }
        Ok(tampered)
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(judge_some)).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).sum()
    })
}

fn say(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn random(below: usize) -> Outcome<usize> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|cause| cause.to_string())?;
    Ok(u32::from_ne_bytes(bytes) as usize % below)
}

/// A log, and its exports.
struct Log {
    directory: tempfile::TempDir,
    size: usize,
    key: VerifierKey,
}

impl Log {
    /// A log of exactly so many records of random types and lengths.
    fn of(size: usize) -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let pkcs8 = CheckpointKey::generate()?;
        let origin = "audit.example/three/1";
        let store = directory.path().join("store");
        let key = AuditLog::create(&store, &identity(origin, &pkcs8)?)?;
        if size > 0 {
            let info = BootInfo { agent: "0.1.0".into(), device: "three".into(), clock: Clock::system() };
            // Opening it is the first record.
            let log = AuditLog::open(&store, identity(origin, &pkcs8)?, info)?.0;
            let mut left = size - 1;
            while left > 0 {
                let group: Vec<_> = (0..left.min(GROUP)).map(|_| Ok(log.append(record()?))).collect::<Outcome<_>>()?;
                left -= group.len();
                for appended in group {
                    appended.wait()?;
                }
            }
        }
        let log = Self { directory, size, key };
        let signer = CheckpointKey::from_pkcs8(pkcs8.expose())?;
        export(&store, Format::Tiles, &log.path("tiles"), &Options::default())?;
        let options = Options { key: Some(&signer), ..Options::default() };
        export(&store, Format::Records(Form::Jsonl), &log.path("records"), &options)?;
        Ok(log)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The root that all three find, and that was signed.
    fn agreed(&self, python: &Python) -> Outcome<String> {
        let options = verify::Options { verifier_key: Some(self.key.clone()), ..verify::Options::default() };
        let mut roots = Vec::new();
        for name in ["store", "tiles", "records"] {
            let report = verify_any(&self.path(name), &options)?;
            if !report.is_ok() || report.records != self.size as u64 {
                return Err(
                    format!("our verifier on the {name} of {} records: {:?}", self.size, report.problems).into()
                );
            }
            roots.push(report.root_hex);
        }
        let checkpoint = self.checkpoint()?;
        roots.push(hex::encode(checkpoint.root));
        roots.push(hex::encode(judged_by_ct_merkle(&std::fs::read(self.path("records/records.jsonl"))?)));
        let verdict = python.judge(&["tiles".into(), self.path("tiles")], &self.key)?;
        let told = verdict.map_err(|problems| format!("Python on {} records: {problems}", self.size))?;
        roots.push(told.trim_end().rsplit(' ').next().unwrap_or_default().to_owned());
        if roots.iter().any(|root| *root != roots[0]) {
            return Err(format!("they disagree on {} records: {roots:?}", self.size).into());
        }
        self.proofs_hold(python, &options)?;
        Ok(roots.swap_remove(0))
    }

    /// Some records, each proven and the proof checked by two; the third's judgement is in ours, which asks `ct-merkle`.
    fn proofs_hold(&self, python: &Python, options: &verify::Options) -> Outcome<()> {
        let indices: std::collections::BTreeSet<_> = match self.size {
            0 => return Ok(()),
            size => [0, size - 1, random(size)?].into(),
        };
        for index in indices {
            let path = self.path(&format!("{index}.tlog-proof"));
            prove(&self.path("store"), index as u64, &path)?;
            let report = verify_any(&path, options)?;
            let files = ["proof".into(), path.clone(), path.with_extension("json")];
            let verdict = python.judge(&files, &self.key)?;
            if !report.is_ok() || verdict.is_err() {
                return Err(format!("proof {index} of {}: {:?} {verdict:?}", self.size, report.problems).into());
            }
            let record = std::fs::read(path.with_extension("json"))?;
            std::fs::write(path.with_extension("json"), [&record[..], b" "].concat())?;
            if verify_any(&path, options)?.is_ok() || python.judge(&files, &self.key)?.is_ok() {
                return Err(format!("a changed record passed with proof {index} of {}", self.size).into());
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Outcome<Checkpoint> {
        let note = std::fs::read_to_string(self.path("tiles/checkpoint"))?;
        Ok(Checkpoint::parse_text(Note::parse(&note)?.verify(&self.key)?)?)
    }

    /// Tries each way to tamper on all three forms of the log; every verifier must say that something is wrong.
    fn tampered(&self, python: &Python) -> Outcome<usize> {
        let lines: Vec<Vec<u8>> = std::fs::read(self.path("records/records.jsonl"))?
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        let (victim, other) = (random(lines.len())?, random(lines.len())?);
        let mut ways: Vec<(&str, Vec<Vec<u8>>)> = Vec::new();
        let mut changed = |name, change: &mut dyn FnMut(&mut Vec<Vec<u8>>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            ways.push((name, lines));
        };
        let byte = random(lines[victim].len())?;
        changed("a flipped byte of a record", &mut |lines| lines[victim][byte] ^= 1);
        changed("a deleted record", &mut |lines| drop(lines.remove(victim)));
        changed("a doubled record", &mut |lines| lines.insert(victim, lines[victim].clone()));
        changed("a tail that was cut off", &mut |lines| lines.truncate(victim));
        if victim != other {
            changed("two records that changed places", &mut |lines| lines.swap(victim, other));
        }
        for (way, lines) in &ways {
            self.must_be_seen(python, way, lines)?;
        }
        Ok(ways.len() + self.spoilt_files(python)?)
    }

    /// The changed records in the store and in the tiles, by somebody without the key.
    fn must_be_seen(&self, python: &Python, way: &str, lines: &[Vec<u8>]) -> Outcome<()> {
        let missed = |who: &str| format!("{who} did not see {way} among {} records", self.size);
        let store = copy(&self.path("store"), &self.path("spoilt-store"))?;
        let mut connection = rusqlite::Connection::open(store.join("audit.db"))?;
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM leaves", ())?;
        for (index, line) in lines.iter().enumerate() {
            // With the hash that belongs to it: nothing but the tree and the signature can show it then.
            let hash = judged_by_ct_merkle(line);
            transaction.execute("INSERT INTO leaves VALUES (?1, ?2, ?3)", (index, hash, line))?;
        }
        transaction.commit()?;
        drop(connection);
        if verify::verify(&store)?.is_ok() {
            return Err(missed("our verifier").into());
        }
        let signed = self.checkpoint()?;
        if judged_by_ct_merkle(&lines.join(&b'\n')) == signed.root && lines.len() as u64 == signed.size {
            return Err(missed("ct-merkle").into());
        }
        let tiles = copy(&self.path("tiles"), &self.path("spoilt-tiles"))?;
        std::fs::remove_dir_all(tiles.join("tile/entries"))?;
        for (number, bundle) in lines.chunks(256).enumerate() {
            let mut bytes = Vec::new();
            for line in bundle {
                bytes.extend_from_slice(&u16::try_from(line.len())?.to_be_bytes());
                bytes.extend_from_slice(line);
            }
            let path = tiles.join(entries_path(number, bundle.len()));
            std::fs::create_dir_all(path.parent().ok_or("a path without a folder")?)?;
            std::fs::write(path, bytes)?;
        }
        self.tiles_must_fail(python, &tiles, way)?;
        std::fs::remove_dir_all(store)?;
        Ok(std::fs::remove_dir_all(tiles)?)
    }

    /// One flipped byte in the checkpoint, and one in each tile and bundle of some.
    fn spoilt_files(&self, python: &Python) -> Outcome<usize> {
        let mut names = vec!["checkpoint".to_owned()];
        files(&self.path("tiles/tile"), "tile", &mut names)?;
        let mut count = 0;
        let step = names.len().div_ceil(8);
        for name in names.iter().step_by(step) {
            let path = self.path("tiles").join(name);
            let good = std::fs::read(&path)?;
            let mut bytes = good.clone();
            bytes[random(good.len())?] ^= 1;
            std::fs::write(&path, bytes)?;
            self.tiles_must_fail(python, &self.path("tiles"), &format!("a flipped byte in `{name}`"))?;
            std::fs::write(&path, good)?;
            count += 1;
        }
        Ok(count)
    }

    fn tiles_must_fail(&self, python: &Python, tiles: &Path, way: &str) -> Outcome<()> {
        if verify_any(tiles, &verify::Options::default())?.is_ok() {
            return Err(format!("our verifier did not see {way} in the tiles of {} records", self.size).into());
        }
        match python.judge(&["tiles".into(), tiles.to_owned()], &self.key)? {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("Python did not see {way} in the tiles of {} records", self.size).into()),
        }
    }
}

impl Python {
    /// What it says: its verdict, or its problems.
    fn judge(&self, arguments: &[PathBuf], key: &VerifierKey) -> Outcome<Result<String, String>> {
        let output =
            Command::new(&self.program).arg(&self.script).args(arguments).arg("--key").arg(key.to_string()).output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.code() {
            Some(0) => Ok(Ok(told)),
            Some(1) if told.contains("PROBLEM") => Ok(Err(told)),
            _ => Err(format!("Python failed: {told}{}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }
}

fn identity(origin: &str, pkcs8: &Secret) -> Outcome<LogIdentity> {
    Ok(LogIdentity { origin: origin.to_owned(), key: CheckpointKey::from_pkcs8(pkcs8.expose())? })
}

fn record() -> Outcome<Record> {
    let kinds = [Kind::InferEnd, Kind::AuthFail, Kind::AdminAct, Kind::InferDenied];
    let mut noise = vec![0; random(200)?];
    getrandom::fill(&mut noise).map_err(|cause| cause.to_string())?;
    let record = Record::new(kinds[random(kinds.len())?]).act("infer").detail("noise", BASE64.encode(noise));
    Ok(record.count(Change::add("records", 0, 1)))
}

/// The root over the lines of a file, by `ct-merkle` alone.
fn judged_by_ct_merkle(lines: &[u8]) -> [u8; 32] {
    let mut tree = MemoryBackedTree::<Sha256, &[u8]>::new();
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| tree.push(line));
    (*tree.root().as_bytes()).into()
}

/// Written out here once more, so that a mistake in the exporter's names cannot repeat itself.
fn entries_path(number: usize, width: usize) -> String {
    let mut path = String::from("tile/entries/");
    if number >= 1000 {
        let _ = write!(path, "x{:03}/", number / 1000);
    }
    let _ = write!(path, "{:03}", number % 1000);
    if width < 256 {
        let _ = write!(path, ".p/{width}");
    }
    path
}

fn files(folder: &Path, name: &str, found: &mut Vec<String>) -> Outcome<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let below = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() { files(&entry.path(), &below, found)? } else { found.push(below) }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome<PathBuf> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(to.to_owned())
}
