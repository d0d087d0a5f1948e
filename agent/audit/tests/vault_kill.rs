//! Kills the process that seals and erases, at random moments, and looks for the content that it had acknowledged.
//!
//! `OUTPOST_KILLS` sets how often; a campaign is `OUTPOST_KILLS=1000 cargo test -p outpost-audit --test vault_kill`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use outpost_audit::verify::verify;
use outpost_audit::{
    AuditError, AuditLog, BootInfo, CheckpointKey, Content, EraseOrder, Kind, Level, LogIdentity, Record, VaultError,
    Who,
};
use outpost_disk::Clock;

/// Names the device for the process that is to be killed.
const CHILD_DEVICE: &str = "OUTPOST_TEST_VAULT_KILL";

const DEFAULT_KILLS: usize = 5;

/// Never erased.
const KEPT: &str = "p:0b0b";
/// Erased again and again.
const ERASED: &str = "p:0ada";

fn open(device: &Path) -> AuditLog {
    let key = CheckpointKey::read_or_create(device.join("key")).unwrap();
    let identity = LogIdentity { origin: "audit.example/kill/1".to_owned(), key };
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "kill".to_owned(), clock: Clock::system() };
    AuditLog::open_with_vault(&device.join("audit"), identity, info, &device.join("roots")).unwrap().0
}

fn random(below: usize) -> usize {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_ne_bytes(bytes) as usize % below
}

/// The process that is killed: seals from three threads, erases from a fourth, and says what was acknowledged. In an
/// ordinary run of the tests it has nothing to do.
#[test]
fn sealer() {
    let Some(device) = std::env::var_os(CHILD_DEVICE) else { return };
    let log = open(Path::new(&device));
    std::thread::scope(|scope| {
        for (thread, subject) in [KEPT, KEPT, ERASED].into_iter().enumerate() {
            let log = &log;
            scope.spawn(move || {
                for number in 0_u64.. {
                    let text = format!("{}-{thread}-{number}", std::process::id());
                    let content = Content::of_input(text.clone());
                    let record = Record::new(Kind::InferEnd).seal(Level::Request, subject, content);
                    let index = log.append(record).wait().unwrap();
                    say(&format!("{subject} {index} {text}"));
                }
            });
        }
        loop {
            say("erasing");
            let subject = ERASED.to_owned();
            let erased =
                log.erase(&EraseOrder { subject, basis: "case 1".to_owned(), approver: Who::default() }).unwrap();
            say(&format!("erased {}", erased.index));
        }
    });
}

fn say(line: &str) {
    // One write, so that a kill cannot cut a line in two, and past the test harness, which would keep it.
    std::io::stdout().lock().write_all(format!("line {line}\n").as_bytes()).unwrap();
}

/// What was acknowledged over all lives of the process.
#[derive(Default)]
struct Acknowledged {
    kept: BTreeMap<u64, String>,
    erasable: BTreeMap<u64, String>,
    /// What was acknowledged before the newest erasure began.
    before_erasure: BTreeSet<u64>,
    /// What must be destroyed, because an erasure began after it and was acknowledged.
    destroyed: BTreeSet<u64>,
}

impl Acknowledged {
    fn add(&mut self, line: &str) {
        let parts: Vec<&str> = line.split(' ').collect();
        let before = match parts[..] {
            [KEPT, index, text] => self.kept.insert(index.parse().unwrap(), text.to_owned()),
            [ERASED, index, text] => self.erasable.insert(index.parse().unwrap(), text.to_owned()),
            ["erasing"] => {
                self.before_erasure = self.erasable.keys().copied().collect();
                None
            }
            ["erased", _] => {
                self.destroyed.append(&mut self.before_erasure);
                None
            }
            _ => panic!("{line}"),
        };
        assert_eq!(before, None, "an index was given twice: {line}");
    }

    fn check(&self, device: &Path) {
        assert_eq!(verify(&device.join("audit")).unwrap().problems, []);
        let log = open(device);
        for (&index, text) in &self.kept {
            assert_eq!(log.content(index).unwrap(), Content::of_input(text.clone()), "record {index}");
        }
        for (&index, text) in &self.erasable {
            match log.content(index) {
                Ok(content) => {
                    assert!(!self.destroyed.contains(&index), "record {index} opens after it was erased");
                    assert_eq!(content, Content::of_input(text.clone()), "record {index}");
                }
                Err(AuditError::Vault(VaultError::Destroyed { .. })) => {}
                Err(error) => panic!("record {index}: {error}"),
            }
        }
        let roots = std::fs::read_dir(device.join("roots")).unwrap();
        let roots: Vec<_> = roots.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(roots.len(), 1, "{roots:?}");
    }
}

fn run_and_kill(device: &Path, lines_before_kill: usize, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sealer", "--nocapture"])
        .env(CHILD_DEVICE, device)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = lines.filter_map(|line| line.split_once("line ").map(|(_, line)| line.to_owned()));
    let mut said: Vec<String> = lines.by_ref().take(lines_before_kill).collect();
    assert_eq!(said.len(), lines_before_kill, "the process must start and go on without a hand: {said:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(lines);
    said.iter().for_each(|line| acknowledged.add(line));
}

#[test]
fn no_acknowledged_content_is_lost_and_no_erased_content_comes_back_when_the_process_is_killed() {
    let kills = std::env::var("OUTPOST_KILLS").map_or(DEFAULT_KILLS, |kills| kills.parse().expect("a number of kills"));
    let device = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    for kill in 0..kills {
        run_and_kill(device.path(), 1 + random(200), &mut acknowledged);
        if kill % 20 == 19 || kills <= 20 {
            acknowledged.check(device.path());
        }
    }
    acknowledged.check(device.path());
    assert!(!acknowledged.kept.is_empty() && !acknowledged.destroyed.is_empty());
}
