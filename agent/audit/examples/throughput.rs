//! Measures durable appends on this machine's disk: `cargo run --example throughput -- [threads] [seconds] [directory]`.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use outpost_audit::verify::verify;
use outpost_audit::{AuditLog, BootInfo, CheckpointKey, Io, Kind, LogIdentity, Outcome, Record, Who};
use outpost_disk::Clock;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads: usize = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(base)?;
    let key = CheckpointKey::from_pkcs8(CheckpointKey::generate()?.expose())?;
    let identity = LogIdentity { origin: "audit.example/throughput/1".to_owned(), key };
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "throughput".to_owned(), clock: Clock::system() };
    let (log, _) = AuditLog::open(directory.path(), identity, info)?;

    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                let mut latencies = Vec::new();
                while Instant::now() < end {
                    let request = format!("{thread}-{}", latencies.len());
                    let started = Instant::now();
                    log.append(record(request)).wait()?;
                    latencies.push(started.elapsed());
                }
                Ok::<_, outpost_audit::AuditError>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for worker in workers {
        latencies.extend(worker.join().map_err(|_| "a worker panicked")??);
    }
    let elapsed = begin.elapsed();
    latencies.sort_unstable();
    let percentile = |share: usize| latencies[(latencies.len() - 1) * share / 100];
    let (records, commits) = (latencies.len(), log.commits());
    log.shutdown("measured")?;
    let checking = Instant::now();
    let report = verify(directory.path())?;
    writeln!(
        std::io::stdout(),
        "{records} durable appends by {threads} threads in {elapsed:.1?}: {:.0}/s, {:.1} records per commit, p50 {:.2?}, p99 {:.2?}\n\
         verified {} records in {:.1?}: {} problems",
        records as f64 / elapsed.as_secs_f64(),
        records as f64 / commits as f64,
        percentile(50),
        percentile(99),
        report.records,
        checking.elapsed(),
        report.problems.len(),
    )?;
    Ok(())
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
