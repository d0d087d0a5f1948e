//! Kills the process that records, at random moments, and looks for what it had acknowledged.
//!
//! After each kill, what is new in the log must continue what was read before: all leaves seen so far lead to the root that
//! is signed now, and each record acknowledged since the last kill stands at its index. That reads only what is new, so ten
//! thousand kills are minutes. That nothing old changed since is shown by the whole verification of the log, every so often
//! and at its end, before the next log begins.
//!
//! `OUTPOST_KILLS` sets how often; a campaign is `OUTPOST_KILLS=10000 cargo test -p outpost-audit --test kill`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use outpost_audit::verify::verify;
use outpost_audit::{
    AuditLog, BootInfo, Checkpoint, CheckpointKey, Entry, Filter, Kind, LogIdentity, Previous, Record, VerifierKey,
    reader,
};
use outpost_disk::Clock;
use rusqlite::{Connection, OpenFlags};
use sha2::Sha256;

/// Names the log for the process that is to be killed.
const CHILD_LOG: &str = "OUTPOST_TEST_KILL_LOG";

const DEFAULT_KILLS: usize = 10;

/// Kills of one log; then it is verified whole, and the next one begins.
const KILLS_PER_LOG: usize = 500;

/// Kills between two whole verifications.
const KILLS_PER_VERIFICATION: usize = 100;

fn open(log: &Path) -> (AuditLog, outpost_audit::BootReport) {
    let key = CheckpointKey::read_or_create(log.join("key")).unwrap();
    let identity = LogIdentity { origin: "audit.example/kill/1".to_owned(), key };
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "kill".to_owned(), clock: Clock::system() };
    AuditLog::open(&log.join("audit"), identity, info).unwrap()
}

fn random(below: usize) -> usize {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_ne_bytes(bytes) as usize % below
}

/// The process that is killed: opens the log, records from four threads, and says what was acknowledged. In an
/// ordinary run of the tests it has nothing to do.
#[test]
fn recorder() {
    let Some(log) = std::env::var_os(CHILD_LOG) else { return };
    say("opening");
    let (log, _) = open(Path::new(&log));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                for number in 0_u64.. {
                    let request = format!("{}-{thread}-{number}", std::process::id());
                    for kind in [Kind::InferStart, Kind::InferEnd] {
                        let index = log.append(Record::new(kind).request(&request)).wait().unwrap();
                        say(&format!("recorded {index} {kind} {request}"));
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn say(line: &str) {
    // One write, so that a kill cannot cut a line in two, and past the test harness, which would keep it.
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn spawn_recorder(log: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recorder", "--nocapture"])
        .env(CHILD_LOG, log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a recorder and kills it after some lines; what it had acknowledged.
fn run_and_kill(device: &Path, lines_before_kill: usize) -> Vec<(u64, String)> {
    let mut child = spawn_recorder(device);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.by_ref().find(|line| line == "opening").expect("the recorder starts");
    let mut recorded: Vec<String> = lines.by_ref().take(lines_before_kill).collect();
    assert_eq!(recorded.len(), lines_before_kill, "the recorder must start and go on without a hand: {recorded:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    recorded.extend(lines);
    let parse = |line: &String| {
        let (index, rest) = line.strip_prefix("recorded ").and_then(|line| line.split_once(' ')).expect(line);
        (index.parse().unwrap(), rest.to_owned())
    };
    recorded.iter().map(parse).collect()
}

/// One log, as somebody saw it who looked after every kill.
struct Watched<'a> {
    log: &'a Path,
    /// Every leaf that was ever read.
    tree: MemoryBackedTree<Sha256, Vec<u8>>,
    acknowledged: BTreeMap<u64, String>,
}

impl<'a> Watched<'a> {
    fn new(log: &'a Path) -> Self {
        Self { log, tree: MemoryBackedTree::new(), acknowledged: BTreeMap::new() }
    }

    /// After a kill: nothing that was seen durable is written over, the log continues what was seen, and what was
    /// acknowledged meanwhile is in it.
    fn catch_up(&mut self, acknowledged: Vec<(u64, String)>) {
        let seen = self.tree.len();
        for (index, named) in &acknowledged {
            assert!(*index >= seen, "record {index} was given to {named}, and {seen} records were durable before");
        }
        for (index, named) in acknowledged {
            assert_eq!(self.acknowledged.insert(index, named), None, "index {index} was given twice");
        }
        if self.acknowledged.is_empty() {
            return;
        }
        let new = reader::list(self.log, &Filter { from: Some(seen), ..Filter::default() }).unwrap();
        for entry in &new {
            assert_eq!(entry.index, self.tree.len());
            self.tree.push(entry.bytes.clone());
        }
        let head = self.signed_head();
        assert_eq!((self.tree.len(), self.tree.root().as_bytes().as_slice()), (head.size, head.root.as_slice()));
        for (&index, expected) in self.acknowledged.range(seen..) {
            assert_names(new.get(usize::try_from(index - seen).unwrap()), index, expected);
        }
    }

    fn signed_head(&self) -> Checkpoint {
        let key: VerifierKey = std::fs::read_to_string(self.log.join("audit.vkey")).unwrap().parse().unwrap();
        let database =
            Connection::open_with_flags(self.log.join("audit.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let note: String = database.query_row("SELECT note FROM tree", (), |row| row.get(0)).unwrap();
        Checkpoint::verify(&note, &key).unwrap()
    }

    /// Everything, old and new, from the beginning.
    fn verify_whole(&self) -> Vec<Entry> {
        let report = verify(self.log).unwrap();
        assert_eq!(report.problems, []);
        let entries = reader::list(self.log, &Filter::default()).unwrap();
        assert_eq!(report.records, entries.len() as u64);
        for (&index, expected) in &self.acknowledged {
            assert_names(entries.get(usize::try_from(index).unwrap()), index, expected);
        }
        entries
    }
}

fn assert_names(entry: Option<&Entry>, index: u64, expected: &str) {
    let leaf = entry.unwrap_or_else(|| panic!("record {index} is lost: {expected}")).leaf().unwrap();
    assert_eq!(format!("{} {}", leaf.kind().unwrap(), leaf.request().unwrap()), *expected, "record {index}");
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed_at_random_moments() {
    let kills = std::env::var("OUTPOST_KILLS").map_or(DEFAULT_KILLS, |kills| kills.parse().expect("a number of kills"));
    let began = Instant::now();
    let (mut logs, mut done, mut records, mut acknowledged) = (0, 0, 0, 0);
    while done < kills {
        let of_this_log = KILLS_PER_LOG.min(kills - done);
        let (all, promised) = kill_one_log(of_this_log);
        (logs, done) = (logs + 1, done + of_this_log);
        (records, acknowledged) = (records + all, acknowledged + promised);
        say_figure(&format!(
            "{done} kills, {logs} logs, {records} records: {acknowledged} acknowledged, none lost; {:.0?}",
            began.elapsed()
        ));
    }
}

/// The life of one log: its records, and how many of them were acknowledged to a process that was killed.
fn kill_one_log(kills: usize) -> (usize, usize) {
    let device = tempfile::tempdir().unwrap();
    let log = device.path().join("audit");
    let mut watched = Watched::new(&log);
    for kill in 1..=kills {
        // One in four dies while it opens the log, the first among them while it makes it; the others somewhere in their
        // work.
        let lines = if random(4) == 0 { 0 } else { 1 + random(300) };
        watched.catch_up(run_and_kill(device.path(), lines));
        if kill % KILLS_PER_VERIFICATION == 0 && !watched.acknowledged.is_empty() {
            watched.verify_whole();
        }
    }
    let (open_log, report) = open(device.path());
    assert!(watched.acknowledged.is_empty() || report.previous == Previous::Unclean, "{:?}", report.previous);
    open_log.shutdown("done").unwrap();
    let entries = watched.verify_whole();
    assert_every_request_ended_once(&entries);
    (entries.len(), watched.acknowledged.len())
}

/// Each start has exactly one end, be it its own or the one that the next start of the agent wrote.
fn assert_every_request_ended_once(entries: &[Entry]) {
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for entry in entries {
        let leaf = entry.leaf().unwrap();
        let step = match leaf.kind().unwrap() {
            "infer.start" => 1,
            "infer.end" | "infer.aborted" => -1,
            _ => continue,
        };
        *open.entry(leaf.request().unwrap().to_owned()).or_default() += step;
    }
    let uneven: Vec<_> = open.into_iter().filter(|(_, balance)| *balance != 0).collect();
    assert_eq!(uneven, []);
}

#[expect(clippy::print_stderr, reason = "the figures that the campaign is for")]
fn say_figure(line: &str) {
    eprintln!("{line}");
}
