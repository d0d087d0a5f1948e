//! The process whose storage fails: opens a log, records, closes it, and tells over a socket what was acknowledged.
//!
//! Over a datagram socket, because that is the one system call of the recorder that no fault is put into and that a
//! trace shows in its place among the others.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use outpost_audit::verify::verify;
use outpost_audit::{AuditError, AuditLog, BootInfo, CheckpointKey, Filter, Kind, LogIdentity, Record, reader};
use outpost_disk::Clock;

/// Names the folder of the log, for the process whose storage fails.
const FOLDER: &str = "OUTPOST_TEST_STORAGE_FOLDER";

const THREADS: &str = "OUTPOST_TEST_STORAGE_THREADS";
const RECORDS: &str = "OUTPOST_TEST_STORAGE_RECORDS";

/// What was acknowledged: the number that the recorder gave a record, by its index.
pub(crate) type Acknowledged = BTreeMap<u64, u64>;

/// Who signs the log in a folder.
pub(crate) fn identity(folder: &Path) -> Result<LogIdentity, AuditError> {
    let key = CheckpointKey::read_or_create(folder.join("key"))?;
    Ok(LogIdentity { origin: "audit.example/storage/1".to_owned(), key })
}

/// Opens the log in a folder, as after a start.
pub(crate) fn open(folder: &Path) -> Result<AuditLog, AuditError> {
    let identity = identity(folder)?;
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "storage".to_owned(), clock: Clock::system() };
    AuditLog::open(&folder.join("audit"), identity, info).map(|(log, _)| log)
}

/// The recorder itself; in an ordinary run of the tests it has nothing to do.
#[test]
fn recorder() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(1);
    let (folder, threads, records) = (Path::new(&folder), number(THREADS), number(RECORDS));
    // Whatever fails, the recorder ends without a panic: what it acknowledged before is what counts.
    let Ok(log) = open(folder) else { return };
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let (log, socket, to) = (log.clone(), UnixDatagram::unbound().unwrap(), folder.join("acknowledged"));
            std::thread::spawn(move || {
                for place in 0..records {
                    let named = thread * records + place;
                    let record = Record::new(Kind::AdminAct).act("storage").detail("named", named);
                    let Ok(index) = log.append(record).wait() else { continue };
                    socket.send_to(format!("{index} {named}").as_bytes(), &to).unwrap();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let _ = log.shutdown("done");
}

/// The recorder under `strace`, told so before the program that it runs.
pub(crate) fn under_strace(folder: &Path, options: &[&str], threads: u64, records: u64) -> Command {
    let mut command = program_under_strace("recorder::recorder", options);
    command.env(FOLDER, folder).env(THREADS, threads.to_string()).env(RECORDS, records.to_string());
    command
}

/// One of the tests here as a program of its own, under `strace`.
pub(crate) fn program_under_strace(test: &str, options: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["--follow-forks", "--quiet=all", "--signal=none"])
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    command
}

/// Runs a recorder to its end, whatever it is, and gathers what it acknowledged.
pub(crate) fn run(folder: &Path, command: Command) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    for line in run_for_lines(folder, command) {
        let (index, named) = parse(&line);
        assert_eq!(acknowledged.insert(index, named), None, "index {index} was given twice");
    }
    acknowledged
}

/// Runs a program to its end, whatever it is, and gathers what it said over the socket.
pub(crate) fn run_for_lines(folder: &Path, mut command: Command) -> Vec<String> {
    let socket = UnixDatagram::bind(folder.join("acknowledged")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut child = command.spawn().expect("strace is installed; `tests/run tools` installs it");
    let mut lines = Vec::new();
    loop {
        let ended = child.try_wait().unwrap().is_some();
        let mut line = [0; 64];
        while let Ok(length) = socket.recv(&mut line) {
            lines.push(String::from_utf8(line[..length].to_vec()).unwrap());
        }
        if ended {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::fs::remove_file(folder.join("acknowledged")).unwrap();
    lines
}

/// `index named`, as the recorder sends it.
pub(crate) fn parse(line: &str) -> (u64, u64) {
    let (index, named) = line.split_once(' ').expect("an acknowledgement");
    (index.parse().unwrap(), named.parse().unwrap())
}

/// Opens the log again, as the next start does, and looks for everything that was acknowledged.
pub(crate) fn assert_nothing_is_lost(folder: &Path, acknowledged: &Acknowledged, what: &str) {
    let log = open(folder).unwrap_or_else(|error| panic!("{what}: the next start fails: {error}"));
    log.append(Record::new(Kind::AdminAct).act("after")).wait().unwrap_or_else(|error| panic!("{what}: {error}"));
    log.shutdown("checked").unwrap();
    let report = verify(&folder.join("audit")).unwrap();
    assert_eq!(report.problems, [], "{what}");
    let entries = reader::list(&folder.join("audit"), &Filter::default()).unwrap();
    for (&index, &named) in acknowledged {
        let entry = entries.get(usize::try_from(index).unwrap());
        let found = entry.and_then(|entry| entry.leaf().ok()).and_then(|leaf| leaf.integer("detail.named"));
        assert_eq!(found, i64::try_from(named).ok(), "{what}: record {index} is lost");
    }
}
