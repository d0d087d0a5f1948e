//! One way to tamper, at every place where it is possible: applied to a copy, judged, taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use outpost_audit::verify::{Options, verify_any};
use outpost_audit::witness::Policy;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::{places, say};

/// What must come of it.
#[derive(Debug)]
pub(crate) enum Demand {
    /// It is seen, and each of these records is named.
    Named(Vec<u64>),
    /// It is seen.
    Seen,
    /// It is seen, or it changes nothing of what can be read from the log.
    SeenOrWithoutEffect,
}

/// One way to tamper.
pub(crate) struct Trial<'a> {
    pub(crate) name: &'a str,
    /// The log or the export.
    pub(crate) folder: &'a Path,
    pub(crate) options: Options,
    /// Whose word the checkpoint in the folder must carry.
    pub(crate) policy: Option<&'a Policy>,
    /// Places, and how many of them the short form tries.
    pub(crate) places: usize,
    pub(crate) short: usize,
    /// Tampers at one place.
    pub(crate) tamper: &'a (dyn Fn(&mut Copied, usize) -> Demand + Sync),
}

impl Trial<'_> {
    /// Tries all places, or some of them in the short form, on every core.
    pub(crate) fn run(&self) {
        let began = Instant::now();
        let chosen = places(self.places, self.short);
        let (next, named, harmless) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let (original, missed) = (OnceLock::new(), Mutex::new(Vec::new()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut copy = Copied::of(self.folder);
                    while let Some(&place) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let demand = (self.tamper)(&mut copy, place);
                        match self.judge(&copy, &demand, &original) {
                            Ok(Judged::Named(count)) => {
                                named.fetch_add(count, Ordering::Relaxed);
                            }
                            Ok(Judged::Seen) => {}
                            Ok(Judged::WithoutEffect) => {
                                harmless.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(miss) => missed.lock().unwrap().push(format!("place {place}: {miss}")),
                        }
                        copy.restore();
                    }
                });
            }
        });
        let missed = missed.into_inner().unwrap();
        let some = &missed[..missed.len().min(20)];
        assert!(missed.is_empty(), "{}: {} of {} missed: {some:#?}", self.name, missed.len(), chosen.len());
        let (named, harmless) = (named.into_inner(), harmless.into_inner());
        let without = if harmless > 0 { format!(", {harmless} of them without effect") } else { String::new() };
        say(&format!(
            "{}: {} of {} tried, all seen{without}; {named} records named; {:.1?}",
            self.name,
            chosen.len(),
            self.places,
            began.elapsed()
        ));
    }

    fn judge(&self, copy: &Copied, demand: &Demand, original: &OnceLock<Content>) -> Result<Judged, String> {
        let original = || original.get_or_init(|| content(self.folder).unwrap());
        let found: Result<BTreeSet<u64>, ()> = match verify_any(copy.folder(), &self.options) {
            Ok(report) if report.is_ok() && self.policy.is_none_or(|policy| copy.satisfies(policy)) => Err(()),
            Ok(report) => Ok(report.problems.iter().filter_map(|problem| problem.index).collect()),
            // It cannot be read at all: that shows too, and names nothing.
            Err(_) => Ok(BTreeSet::new()),
        };
        match (found, demand) {
            (Ok(found), Demand::Named(wanted)) => match wanted.iter().find(|index| !found.contains(index)) {
                None => Ok(Judged::Named(wanted.len())),
                Some(missing) => Err(format!("record {missing} is not named among {} others", found.len())),
            },
            (Ok(_), _) => Ok(Judged::Seen),
            (Err(()), Demand::SeenOrWithoutEffect) => {
                let read = content(copy.folder()).map_err(|error| format!("it was not seen, and: {error}"))?;
                match read.iter().zip(original()).find(|(read, original)| read != original) {
                    Some((read, original)) => Err(format!("it was not seen: {read:?} instead of {original:?}")),
                    None if read.len() != original().len() => Err("it was not seen: rows are missing".to_owned()),
                    None => Ok(Judged::WithoutEffect),
                }
            }
            (Err(()), _) => Err("it was not seen".to_owned()),
        }
    }
}

enum Judged {
    Named(usize),
    Seen,
    WithoutEffect,
}

type Content = Vec<Vec<Value>>;

/// Everything that the log in a folder says, with the type of each cell.
fn content(folder: &Path) -> Result<Content, rusqlite::Error> {
    // Nobody writes, and nothing is to be made beside it.
    let address = format!("file://{}?immutable=1", folder.join("audit.db").display());
    let database = Connection::open_with_flags(address, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)?;
    let mut rows = Vec::new();
    for query in [
        "SELECT * FROM leaves ORDER BY idx",
        "SELECT * FROM nodes ORDER BY level, idx",
        "SELECT * FROM tree",
        "SELECT * FROM checkpoints ORDER BY size",
        "SELECT * FROM open_requests ORDER BY request",
        "SELECT * FROM meta ORDER BY key",
    ] {
        let mut statement = database.prepare(query)?;
        let columns = statement.column_count();
        let found = statement.query_map((), |row| (0..columns).map(|column| row.get(column)).collect())?;
        rows.extend(found.collect::<Result<Vec<Vec<Value>>, _>>()?);
    }
    Ok(rows)
}

/// A copy of a folder that can be changed and becomes again what it was.
pub(crate) struct Copied {
    original: PathBuf,
    copy: tempfile::TempDir,
    /// Files that are not as they were, by their path in the folder.
    touched: BTreeSet<String>,
    /// Bytes that were flipped, by file, offset and mask.
    flipped: Vec<(String, u64, u8)>,
    files: BTreeMap<String, std::fs::File>,
}

impl Copied {
    fn of(original: &Path) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for name in files(original) {
            let target = copy.path().join(&name);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(original.join(&name), target).unwrap();
        }
        let original = original.to_owned();
        Self { original, copy, touched: BTreeSet::new(), flipped: Vec::new(), files: BTreeMap::new() }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.copy.path()
    }

    /// Flips some bits of one byte.
    pub(crate) fn flip(&mut self, name: &str, offset: u64, mask: u8) {
        self.toggle(name, offset, mask);
        self.flipped.push((name.to_owned(), offset, mask));
    }

    fn toggle(&mut self, name: &str, offset: u64, mask: u8) {
        let file = self.files.entry(name.to_owned()).or_insert_with(|| {
            std::fs::OpenOptions::new().read(true).write(true).open(self.copy.path().join(name)).unwrap()
        });
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ mask], offset).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.copy.path().join(name)).unwrap()
    }

    /// Replaces a file, or makes one.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) {
        let path = self.copy.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self.touched.insert(name.to_owned());
    }

    pub(crate) fn remove(&mut self, name: &str) {
        std::fs::remove_file(self.copy.path().join(name)).unwrap();
        self.touched.insert(name.to_owned());
    }

    /// Changes the database as somebody does who knows SQL.
    pub(crate) fn sql(&mut self, statements: &str) {
        let database = Connection::open(self.copy.path().join("audit.db")).unwrap();
        // It need not survive anything: the copy is made anew afterwards.
        let fast = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;";
        database.execute_batch(&format!("{fast} BEGIN; {statements} COMMIT;")).unwrap();
        self.touched.insert("audit.db".to_owned());
    }

    /// Whether the checkpoint in the folder is cosigned as a policy wants it.
    fn satisfies(&self, policy: &Policy) -> bool {
        let note = String::from_utf8(self.read("checkpoint"));
        note.is_ok_and(|note| policy.check(&note).is_ok())
    }

    fn restore(&mut self) {
        for (name, offset, mask) in std::mem::take(&mut self.flipped) {
            self.toggle(&name, offset, mask);
        }
        for name in std::mem::take(&mut self.touched) {
            let (original, path) = (self.original.join(&name), self.copy.path().join(&name));
            if original.exists() {
                std::fs::copy(original, path).unwrap();
            } else if path.exists() {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

/// The files below a folder, by their path in it.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
