//! Erasing a subject, pruning a month and the change of the root key that both bring, with each system call failing once:
//! afterwards either all of it opens and nothing says that it was destroyed, or nothing opens and the record says so.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use outpost_audit::vault::tombstones;
use outpost_audit::verify::verify;
use outpost_audit::{
    AuditError, AuditLog, BootInfo, Content, EraseOrder, Filter, Kind, Level, Record, Retention, VaultError, Who,
    reader,
};
use outpost_disk::Clock;
use rusqlite::Connection;

use crate::exporting::copy;
use crate::faults::{Campaign, Fault};
use crate::recorder::{identity, program_under_strace};

/// Names the folder of the log, for the process that destroys.
const FOLDER: &str = "OUTPOST_TEST_DESTROY_FOLDER";

/// Says what it does: `erase` or `prune`.
const ACT: &str = "OUTPOST_TEST_DESTROY_ACT";

/// When the content was sealed that goes, and a month that is over by now: 2026-09-18 and 2026-11-22.
const THEN_S: i64 = 1_789_764_305;
const NOW_S: i64 = 1_795_380_305;

const ERASED: &str = "p:0ada";
const KEPT: &str = "p:0b0b";

/// Prompts of each subject and month.
const PROMPTS: usize = 4;

fn open(folder: &Path, now_s: i64) -> Result<AuditLog, AuditError> {
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "storage".to_owned(), clock: Clock::fixed(now_s) };
    AuditLog::open_with_vault(&folder.join("audit"), identity(folder)?, info, &folder.join("roots")).map(|(log, _)| log)
}

fn seal(log: &AuditLog, subject: &str, number: usize) -> Result<u64, AuditError> {
    let content = Content::of_input(format!("{subject} {number}"));
    log.append(Record::new(Kind::InferEnd).seal(Level::Request, subject, content)).wait()
}

/// The process that destroys; in an ordinary run of the tests it has nothing to do.
#[test]
fn destroyer() {
    let (Some(folder), Ok(act)) = (std::env::var_os(FOLDER), std::env::var(ACT)) else { return };
    let folder = Path::new(&folder);
    let Ok(log) = open(folder, NOW_S) else { return };
    let say = |line: String| {
        UnixDatagram::unbound().unwrap().send_to(line.as_bytes(), folder.join("acknowledged")).unwrap();
    };
    if let Ok(index) = seal(&log, KEPT, 0) {
        say(format!("kept {index}"));
    }
    let destroyed = match act.as_str() {
        "erase" => {
            let order = EraseOrder { subject: ERASED.to_owned(), basis: "case 1".to_owned(), approver: Who::default() };
            log.erase(&order).map(|erased| erased.index)
        }
        _ => log.prune(Retention::default(), Who::default()).map(|pruned| pruned.index.unwrap()),
    };
    if let Ok(index) = destroyed {
        say(format!("destroyed {index}"));
    }
    let _ = log.shutdown("done");
}

#[test]
fn an_erasure_is_done_or_undone_whichever_system_call_fails() {
    campaign("erase", Kind::AuditErase);
}

#[test]
fn a_prune_is_done_or_undone_whichever_system_call_fails() {
    campaign("prune", Kind::AuditPrune);
}

/// What the process finds: prompts that are to go and prompts that are to stay, by their index.
struct Sealed {
    going: BTreeMap<u64, String>,
    staying: BTreeMap<u64, String>,
}

fn campaign(act: &str, kind: Kind) {
    let template = tempfile::tempdir().unwrap();
    let mut sealed = Sealed { going: BTreeMap::new(), staying: BTreeMap::new() };
    // What goes by its subject is of this month, and what goes by its month is of the subject that stays otherwise.
    let (gone, when_s) = if act == "erase" { (ERASED, NOW_S) } else { (KEPT, THEN_S) };
    for (going, subject, when_s) in [(true, gone, when_s), (false, KEPT, NOW_S)] {
        let log = open(template.path(), when_s).unwrap();
        let prompts = if going { &mut sealed.going } else { &mut sealed.staying };
        prompts
            .extend((0..PROMPTS).map(|number| (seal(&log, subject, number).unwrap(), format!("{subject} {number}"))));
        log.shutdown("prepared").unwrap();
    }
    let program = |folder: &Path, options: &[&str]| {
        let mut command = program_under_strace("destroying::destroyer", options);
        command.env(FOLDER, folder).env(ACT, act);
        command
    };
    Campaign {
        name: act,
        prepare: &|folder| copy(template.path(), folder),
        program: &program,
        judge: &|folder, lines, fault| sealed.judge(folder, lines, fault, kind),
        short: 20,
    }
    .run();
}

impl Sealed {
    fn judge(&self, folder: &Path, lines: &[String], fault: &Fault, kind: Kind) {
        let log = open(folder, NOW_S).unwrap_or_else(|error| panic!("{fault}: the next start fails: {error}"));
        while log.vault_status().unwrap().sweeping {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let mut opened = 0;
        for (&index, text) in &self.going {
            match log.content(index) {
                Ok(content) => {
                    assert_eq!(content, Content::of_input(text.clone()), "{fault}: record {index}");
                    opened += 1;
                }
                Err(AuditError::Vault(VaultError::Destroyed { .. })) => {}
                Err(error) => panic!("{fault}: record {index}: {error}"),
            }
        }
        for (&index, text) in &self.staying {
            let content = log.content(index).unwrap_or_else(|error| panic!("{fault}: record {index}: {error}"));
            assert_eq!(content, Content::of_input(text.clone()), "{fault}: record {index}");
        }
        self.judge_acknowledged(&log, lines, fault, opened);
        self.judge_traces(folder, fault, opened, kind);
        // It goes on: the subject gets another key, and the other half of the act is still possible.
        seal(&log, ERASED, 1).unwrap_or_else(|error| panic!("{fault}: {error}"));
        log.shutdown("judged").unwrap();
        assert_eq!(verify(&folder.join("audit")).unwrap().problems, [], "{fault}");
    }

    fn judge_acknowledged(&self, log: &AuditLog, lines: &[String], fault: &Fault, opened: usize) {
        for line in lines {
            match line.split_once(' ').unwrap() {
                ("destroyed", _) => assert_eq!(opened, 0, "{fault}: what was destroyed on record opens"),
                (_, index) => {
                    let content = log.content(index.parse().unwrap());
                    assert_eq!(content.unwrap(), Content::of_input(format!("{KEPT} 0")), "{fault}: record {index}");
                }
            }
        }
    }

    /// Done or undone: the keys, the tombstones, the record and the ciphertext say the same, and one root key is left.
    fn judge_traces(&self, folder: &Path, fault: &Fault, opened: usize, kind: Kind) {
        assert!(opened == 0 || opened == self.going.len(), "{fault}: {opened} of {} open", self.going.len());
        let log = folder.join("audit");
        let (tombstones, filter) = (tombstones(&log, 0).unwrap(), Filter { kinds: vec![kind], ..Filter::default() });
        let records = reader::list(&log, &filter).unwrap().len();
        let done = usize::from(opened == 0);
        assert_eq!((tombstones.len(), records), (done, done), "{fault}");
        let database = Connection::open(log.join("audit.db")).unwrap();
        let slots = self.going.keys().map(|index| (2 * index).to_string()).collect::<Vec<_>>().join(",");
        let count = format!("SELECT count(*) FROM sealed WHERE slot IN ({slots})");
        let left: usize = database.query_row(&count, (), |row| row.get(0)).unwrap();
        assert_eq!(left, opened, "{fault}: ciphertext");
        let roots = std::fs::read_dir(folder.join("roots")).unwrap().count();
        assert_eq!(roots, 1, "{fault}: root keys");
    }
}
