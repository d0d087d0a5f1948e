//! Measures how long a start takes with a large log: `cargo run --release --example restart -- [records] [directory]`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use outpost_audit::{AuditLog, BootInfo, CheckpointKey, Io, Kind, LogIdentity, Outcome, Record, Who};
use outpost_disk::Clock;

/// Records that wait for their fsync together while the log is filled.
const TOGETHER: u64 = 4_096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let records: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base)?;
    let began = Instant::now();
    let log = open(directory.path())?;
    let mut filled = 0;
    while filled < records {
        let batch: Vec<_> = (filled..records.min(filled + TOGETHER)).map(|number| log.append(record(number))).collect();
        filled += batch.len() as u64;
        for appended in batch {
            appended.wait()?;
        }
    }
    let filling = began.elapsed();
    // No shutdown: the next start finds what a power cut leaves, write-ahead log and all.
    let copy = tempfile::tempdir_in(directory.path())?;
    for entry in std::fs::read_dir(directory.path())? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name() != "lock" {
            std::fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
        }
    }
    std::fs::copy(directory.path().join("key"), copy.path().join("key"))?;
    let size = std::fs::metadata(directory.path().join("audit.db"))?.len();
    let began = Instant::now();
    let again = open(copy.path())?;
    let ready = began.elapsed();
    let found = again.size();
    writeln!(
        std::io::stdout(),
        "{filled} records, {} MiB, written in {filling:.1?}; opened after an unclean end in {ready:.2?} with {found} records",
        size / (1024 * 1024),
    )?;
    Ok(())
}

fn open(directory: &Path) -> Result<AuditLog, Box<dyn std::error::Error>> {
    let key = CheckpointKey::read_or_create(directory.join("key"))?;
    let identity = LogIdentity { origin: "audit.example/restart/1".to_owned(), key };
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "restart".to_owned(), clock: Clock::system() };
    Ok(AuditLog::open(directory, identity, info)?.0)
}

fn record(number: u64) -> Record {
    let who = Who { kind: "user".into(), id: "p:0123".into(), roles: vec!["operator".into()], auth: "jwt".into() };
    // The first thousand requests stay open, so that the start has something to end.
    let kind = if number < 1_000 { Kind::InferStart } else { Kind::InferEnd };
    Record::new(kind)
        .request(format!("request-{number}"))
        .act("infer")
        .who(who)
        .io(Io { input_tokens: Some(203), output_tokens: Some(488), ..Io::default() })
        .result(Outcome { status: Some(200), ms: Some(4312), ttft_ms: Some(410), ..Outcome::default() })
}
