//! Measures durable appends on this machine's disk: `cargo run --release --example throughput -- [seconds] [directory]`.
//!
//! Beside each figure stands the limit on the same disk in the same minute: the same bytes into a bare SQLite table, as many
//! in one transaction as there are callers, on one thread, with no tree, no signature and nobody to answer. The two take
//! turns, so that what else the machine does falls on both.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outpost_audit::verify::verify;
use outpost_audit::{AuditLog, BootInfo, CheckpointKey, Io, Kind, LogIdentity, Outcome, Record, Who};
use outpost_disk::Clock;
use rusqlite::Connection;

/// Callers who wait for their records at the same time.
const CALLERS: [usize; 3] = [1, 8, 64];

/// Turns that the log and its limit take.
const ROUNDS: u32 = 4;

/// About a leaf of [`record`], with its hash.
const ROW_BYTES: usize = 480;

/// Pages of the file that is only written and synced: about what SQLite's write-ahead log has before it begins again.
const PAGES: usize = 1_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base)?;
    let turn = Duration::from_secs(seconds) / ROUNDS / 2;
    let log = open(&directory.path().join("log"))?;
    let bare = bare_table(directory.path())?;
    say(&format!("one write of 4 KiB and its fdatasync: {:.0}/s", sync_rate(directory.path(), turn)?))?;
    say("callers   appends/s       p50       p99   records a commit   bare SQLite   share")?;
    for callers in CALLERS {
        let (mut latencies, mut limit, mut commits) = (Vec::new(), 0, log.commits());
        for _ in 0..ROUNDS {
            latencies.extend(append(&log, callers, turn)?);
            limit += insert(&bare, callers, turn)?;
        }
        commits = log.commits() - commits;
        latencies.sort_unstable();
        let percentile = |share: usize| format!("{:.2?}", latencies[(latencies.len() - 1) * share / 100]);
        let all = (turn * ROUNDS).as_secs_f64();
        let (rate, limit) = (latencies.len() as f64 / all, limit as f64 / all);
        say(&format!(
            "{callers:>7}   {rate:>9.0}   {:>7}   {:>7}   {:>16.1}   {limit:>9.0}/s   {:>4.0}%",
            percentile(50),
            percentile(99),
            latencies.len() as f64 / commits as f64,
            100.0 * rate / limit,
        ))?;
    }
    log.shutdown("measured")?;
    let checking = Instant::now();
    let report = verify(log.directory())?;
    let (records, problems, took) = (report.records, report.problems.len(), checking.elapsed());
    say(&format!("verified {records} records in {took:.1?}: {problems} problems"))
}

fn say(line: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn open(directory: &Path) -> Result<AuditLog, Failure> {
    let key = CheckpointKey::from_pkcs8(CheckpointKey::generate()?.expose())?;
    let identity = LogIdentity { origin: "audit.example/throughput/1".to_owned(), key };
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "throughput".to_owned(), clock: Clock::system() };
    Ok(AuditLog::open(directory, identity, info)?.0)
}

/// What each caller waited for each of its records, appending one after the other.
fn append(log: &AuditLog, callers: usize, turn: Duration) -> Result<Vec<Duration>, Failure> {
    let end = Instant::now() + turn;
    let caller = |caller: usize| -> Result<Vec<Duration>, Failure> {
        let mut latencies = Vec::new();
        while Instant::now() < end {
            let record = record(format!("{caller}-{}", latencies.len()));
            let began = Instant::now();
            log.append(record).wait()?;
            latencies.push(began.elapsed());
        }
        Ok(latencies)
    };
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..callers).map(|number| scope.spawn(move || caller(number))).collect();
        let mut latencies = Vec::new();
        for caller in callers {
            latencies.extend(caller.join().map_err(|_| "a caller panicked")??);
        }
        Ok(latencies)
    })
}

fn record(request: String) -> Record {
    let who = Who { kind: "user".into(), id: "p:0123".into(), roles: vec!["operator".into()], auth: "jwt".into() };
    Record::new(Kind::InferEnd)
        .request(request)
        .act("infer")
        .who(who)
        .io(Io { input_tokens: Some(203), output_tokens: Some(488), ..Io::default() })
        .result(Outcome { status: Some(200), ms: Some(4312), ttft_ms: Some(410), ..Outcome::default() })
}

/// A table of rows, as durable as the log's.
fn bare_table(directory: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open(directory.join("bare.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch("CREATE TABLE rows (idx INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT")?;
    Ok(connection)
}

/// Rows that became durable, so many in each transaction.
fn insert(bare: &Connection, together: usize, turn: Duration) -> Result<usize, Failure> {
    let (end, row, mut rows) = (Instant::now() + turn, [7_u8; ROW_BYTES], 0);
    while Instant::now() < end {
        let transaction = bare.unchecked_transaction()?;
        for _ in 0..together {
            transaction.prepare_cached("INSERT INTO rows (bytes) VALUES (?1)")?.execute([&row[..]])?;
        }
        transaction.commit()?;
        rows += together;
    }
    Ok(rows)
}

/// How often a second the disk takes a page, in a file that does not grow: no commit is faster.
fn sync_rate(directory: &Path, turn: Duration) -> Result<f64, Failure> {
    let file = File::create(directory.join("synced"))?;
    file.write_all_at(&vec![7; 4096 * PAGES], 0)?;
    file.sync_all()?;
    let (began, mut syncs) = (Instant::now(), 0_u32);
    while began.elapsed() < turn {
        file.write_all_at(&[9; 4096], (syncs as usize % PAGES * 4096) as u64)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / began.elapsed().as_secs_f64())
}
