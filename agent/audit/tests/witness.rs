//! Kills a device and its witness, in one process, at random moments: what was cosigned stays cosigned, and the two
//! find together again without a hand.
//!
//! `OUTPOST_KILLS` sets how often; a campaign is `OUTPOST_KILLS=1000 cargo test -p outpost-audit --test witness`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use outpost_audit::cosignature::{Cosigned, CosignerKey, WitnessKey};
use outpost_audit::verify::{Options, verify_with};
use outpost_audit::witness::{DatabaseState, Exchange, Next, Policy, Witness, WitnessState, newest, record};
use outpost_audit::{AuditLog, BootInfo, CheckpointKey, Kind, LogIdentity, Record, VerifierKey};
use outpost_disk::Clock;

/// Names the directory for the process that is to be killed.
const CHILD_DIRECTORY: &str = "OUTPOST_TEST_WITNESS_DIRECTORY";

const DEFAULT_KILLS: usize = 10;

const ORIGIN: &str = "audit.example/kill/1";

fn log_key(directory: &Path) -> CheckpointKey {
    CheckpointKey::read_or_create(directory.join("log.key")).unwrap()
}

fn witness_key(directory: &Path) -> WitnessKey {
    WitnessKey::read_or_create("witness.example/w1", directory.join("witness.key")).unwrap()
}

fn open(directory: &Path) -> (AuditLog, VerifierKey) {
    let key = log_key(directory);
    let public = key.verifier_key(ORIGIN).unwrap();
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "kill".to_owned(), clock: Clock::system() };
    let identity = LogIdentity { origin: ORIGIN.to_owned(), key };
    (AuditLog::open(&directory.join("audit"), identity, info).unwrap().0, public)
}

/// Has the newest head cosigned, as often as the witness asks for another proof.
fn cosign(log: &AuditLog, log_key: &VerifierKey, witness: &Witness<DatabaseState>, key: &CosignerKey) -> Cosigned {
    let cosigned = newest(log.directory(), log_key, key).unwrap().map_or(0, |newest| newest.checkpoint.size);
    let mut old = cosigned;
    loop {
        let exchange = Exchange::begin(log, log_key, key, cosigned, old).unwrap();
        let now_s = Clock::system().now_s().try_into().unwrap();
        let outcome = witness.add_checkpoint(exchange.body().as_bytes(), now_s, |_| vec![log_key.clone()]).unwrap();
        match exchange.understand(&outcome, log.size()) {
            Next::Record(cosigned) => return cosigned,
            Next::Retry { old: theirs } => old = theirs,
            other => panic!("{other:?}"),
        }
    }
}

/// The process that is killed. In an ordinary run of the tests it has nothing to do.
#[test]
fn pair() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let directory = Path::new(&directory);
    say("opening");
    let (log, log_key) = open(directory);
    let key = witness_key(directory);
    let public = key.cosigner_key().clone();
    let witness = Witness::new(key, DatabaseState::open(directory).unwrap());
    loop {
        log.append(Record::new(Kind::AdminAct).act("drain")).wait().unwrap();
        let cosigned = cosign(&log, &log_key, &witness, &public);
        say(&format!("cosigned {}", cosigned.checkpoint.size));
        log.append(record(&cosigned).unwrap()).wait().unwrap();
    }
}

fn say(line: &str) {
    // One write, so that a kill cannot cut a line in two, and past the test harness, which would keep it.
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Runs the pair, kills it after some lines, and returns the largest size that was cosigned.
fn run_and_kill(directory: &Path, lines_before_kill: usize) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "pair", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.by_ref().find(|line| line == "opening").expect("the pair starts");
    let mut said: Vec<String> = lines.by_ref().take(lines_before_kill).collect();
    assert_eq!(said.len(), lines_before_kill, "the pair must go on without a hand: {said:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(lines);
    said.iter().map(|line| line.strip_prefix("cosigned ").expect(line).parse().expect(line)).max()
}

#[test]
fn what_was_cosigned_stays_cosigned_when_both_are_killed_at_random_moments() {
    let kills = std::env::var("OUTPOST_KILLS").map_or(DEFAULT_KILLS, |kills| kills.parse().expect("a number of kills"));
    let directory = tempfile::tempdir().unwrap();
    let mut cosigned = 0;
    for kill in 0..kills {
        // Every fourth dies while it opens, the others somewhere in their work.
        let lines = if kill % 4 == 3 { 0 } else { 1 + kill * 7 % 20 };
        cosigned = cosigned.max(run_and_kill(directory.path(), lines).unwrap_or_default());
        let held = DatabaseState::open(directory.path()).unwrap().latest(ORIGIN).unwrap();
        let held = held.map_or(0, |held| held.head.size);
        assert!(held >= cosigned, "the witness remembers {held} records and cosigned {cosigned}");
    }
    assert!(cosigned > 0);
    assert_an_auditor_is_satisfied(directory.path());
}

/// The log verifies with what the witness holds, and by a policy that asks for its cosignature.
fn assert_an_auditor_is_satisfied(directory: &Path) {
    let (log, log_key) = open(directory);
    log.shutdown("done").unwrap();
    let held = DatabaseState::open(directory).unwrap().latest(ORIGIN).unwrap().unwrap();
    let key = witness_key(directory);
    let policy = format!("log {log_key}\nwitness w1 {}\nquorum w1\n", key.cosigner_key());
    let believed = Policy::parse(policy.as_bytes()).unwrap().check(&held.note).unwrap();
    assert_eq!((believed.checkpoint.size, believed.cosignatures.len()), (held.head.size, 1));
    let options = Options { checkpoints: vec![held.note], ..Options::default() };
    assert_eq!(verify_with(&directory.join("audit"), &options).unwrap().problems, []);
}
