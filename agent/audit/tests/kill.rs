//! Kills the process that records, at random moments, and looks for what it had acknowledged.
//!
//! `OUTPOST_KILLS` sets how often; a campaign is `OUTPOST_KILLS=10000 cargo test -p outpost-audit --test kill`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use outpost_audit::verify::verify;
use outpost_audit::{AuditLog, BootInfo, CheckpointKey, Filter, Kind, LogIdentity, Previous, Record, reader};
use outpost_disk::Clock;

/// Names the log for the process that is to be killed.
const CHILD_LOG: &str = "OUTPOST_TEST_KILL_LOG";

const DEFAULT_KILLS: usize = 10;

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

/// Runs a recorder, kills it after some lines, and adds what it had acknowledged.
fn run_and_kill(log: &Path, lines_before_kill: usize, acknowledged: &mut BTreeMap<u64, String>) {
    let mut child = spawn_recorder(log);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.by_ref().find(|line| line == "opening").expect("the recorder starts");
    let mut recorded: Vec<String> = lines.by_ref().take(lines_before_kill).collect();
    assert_eq!(recorded.len(), lines_before_kill, "the recorder must start and go on without a hand: {recorded:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    recorded.extend(lines);
    for line in &recorded {
        let (index, rest) = line.strip_prefix("recorded ").and_then(|line| line.split_once(' ')).expect(line);
        let before = acknowledged.insert(index.parse().unwrap(), rest.to_owned());
        assert_eq!(before, None, "index {index} was given twice");
    }
}

fn assert_nothing_acknowledged_is_lost(log: &Path, acknowledged: &BTreeMap<u64, String>) {
    let report = verify(log).unwrap();
    assert_eq!(report.problems, []);
    let entries = reader::list(log, &Filter::default()).unwrap();
    for (&index, expected) in acknowledged {
        let leaf = entries[usize::try_from(index).unwrap()].leaf().unwrap();
        assert_eq!(format!("{} {}", leaf.kind().unwrap(), leaf.request().unwrap()), *expected, "record {index}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed_at_random_moments() {
    let kills = std::env::var("OUTPOST_KILLS").map_or(DEFAULT_KILLS, |kills| kills.parse().expect("a number of kills"));
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("audit");
    let mut acknowledged = BTreeMap::new();
    for kill in 0..kills {
        // Every fourth dies while it opens the log, the others somewhere in their work.
        let lines = if kill % 4 == 3 { 0 } else { 1 + random(300) };
        run_and_kill(directory.path(), lines, &mut acknowledged);
        if log.join("audit.db").exists() && (kill % 20 == 19 || kills <= 20) && !acknowledged.is_empty() {
            assert_nothing_acknowledged_is_lost(&log, &acknowledged);
        }
    }
    let (open_log, report) = open(directory.path());
    assert_eq!(report.previous, Previous::Unclean);
    open_log.shutdown("done").unwrap();
    assert_nothing_acknowledged_is_lost(&log, &acknowledged);
    assert_every_request_ended_once(&log);
}

/// Each start has exactly one end, be it its own or the one that the next start of the agent wrote.
fn assert_every_request_ended_once(log: &Path) {
    let mut open: BTreeMap<String, i64> = BTreeMap::new();
    for entry in reader::list(log, &Filter::default()).unwrap() {
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
