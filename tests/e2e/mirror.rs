//! Thirty days of records leave a box over a wire that breaks: nothing is lost, nothing comes twice, little is wasted.
//!
//! `OUTPOST_SYNC_RECORDS` and `OUTPOST_SYNC_CUTS` make it longer: 1000000 and 100 is the whole campaign.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outpost_agent::keys;
use outpost_agent::state::StateDir;
use outpost_audit::verify::verify;
use outpost_audit::{
    AuditLog, BootInfo, DecisionRef, Filter, Io, Kind, ObjectRef, Outcome, Record, Who, mirror, reader,
};
use outpost_contract::DeviceId;
use outpost_disk::Clock;
use outpost_tests::bad_wire::BadWire;
use outpost_tests::fleet::Fleet;
use tokio::net::TcpListener;

const DAYS: u64 = 30;

/// Records that wait for their fsync together while the log is filled.
const TOGETHER: u64 = 2_000;

/// As the packages are compressed, for the comparison.
const LEVEL: i32 = 9;

fn setting(name: &str, short: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(short), |text| text.parse().with_context(|| format!("`{name}` is a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_of_records_is_mirrored_whole_over_a_wire_that_breaks() -> Result<()> {
    let (records, cuts) = (setting("OUTPOST_SYNC_RECORDS", 30_000)?, setting("OUTPOST_SYNC_CUTS", 6)?);
    let folder = tempfile::tempdir()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let fleet = Fleet::start_reached_at(folder.path(), Some(listener.local_addr()?)).await?;
    fleet.release_policy_only().await?;
    let device: DeviceId = "till-7".parse()?;
    let (state, _) = fleet.enrol(&device).await?;
    let compressed = {
        let state = state.clone();
        tokio::task::spawn_blocking(move || fill(&state, records)).await??
    };

    // Cuts fall at random places of what has to pass, none of them after it has passed.
    let spread = compressed / (cuts + 1);
    let place = |number: u64| number * spread + noise(number) % spread;
    let budgets = (0..cuts).map(|number| place(number) - number.checked_sub(1).map_or(0, place));
    let wire = BadWire::lay(listener, fleet.mqtt_address(), budgets)?;
    let began = Instant::now();
    let agent = fleet.agent(&state).await?;
    let copy = fleet.control.config().state_dir.join("audit/till-7/1");
    while mirrored(&copy)? < records {
        ensure!(began.elapsed() < Duration::from_secs(1800), "only {} records arrived", mirrored(&copy)?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (took, bytes) = (began.elapsed(), wire.bytes());
    ensure!(wire.cuts() == cuts, "the wire broke {} times", wire.cuts());
    agent.stop().await;
    drop(wire);

    let report = verify(&copy)?;
    ensure!(report.is_ok(), "the mirror does not verify: {:?}", report.problems);
    ensure!(report.records >= records, "{} records", report.records);
    let kept = fleet.control.run(|fleet| fleet.audit_mirrors()).await?;
    ensure!(kept.len() == 1 && kept[0].mirrored == report.records && kept[0].incidents.is_empty(), "{kept:?}");
    for from in (0..report.records).step_by(10_000) {
        let filter = Filter { from: Some(from), until: Some(report.records.min(from + 10_000)), ..Filter::default() };
        ensure!(reader::list(&copy, &filter)? == reader::list(&state.audit(), &filter)?, "records from {from} differ");
    }
    #[expect(clippy::print_stderr, reason = "a campaign's figures")]
    {
        let ratio = bytes as f64 / compressed as f64;
        eprintln!("{records} records, {cuts} cuts, {took:.1?}: {bytes} bytes on the wire / {compressed} = {ratio:.3}");
    }
    Ok(())
}

fn mirrored(directory: &Path) -> Result<u64> {
    match mirror::head(directory) {
        Ok(head) => Ok(head.map_or(0, |head| head.size)),
        Err(outpost_audit::AuditError::Missing { .. }) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Writes as many records as a month brings, and gives the size of them all in one compressed stream.
fn fill(state: &StateDir, records: u64) -> Result<u64> {
    let clock = Clock::fixed(1_795_380_305);
    let info = BootInfo { agent: "0.1.0".into(), device: "till-7".into(), clock: clock.clone() };
    let (log, _) = AuditLog::open(&state.audit(), keys::log_identity(state)?, info)?;
    let step = Duration::from_secs(DAYS * 24 * 3600) / u32::try_from(records)?;
    let mut filled = 0;
    while filled < records {
        let batch: Vec<_> = (filled..records.min(filled + TOGETHER))
            .map(|number| {
                clock.advance(step);
                log.append(record(number))
            })
            .collect();
        filled += batch.len() as u64;
        for appended in batch {
            appended.wait()?;
        }
    }
    log.shutdown("a month is over")?;
    let mut stream = zstd::Encoder::new(Vec::new(), LEVEL)?;
    for from in (0..records).step_by(10_000) {
        for entry in
            reader::list(&state.audit(), &Filter { from: Some(from), until: Some(from + 10_000), ..Filter::default() })?
        {
            std::io::Write::write_all(&mut stream, &u16::try_from(entry.bytes.len())?.to_be_bytes())?;
            std::io::Write::write_all(&mut stream, &entry.bytes)?;
        }
    }
    Ok(stream.finish()?.len() as u64)
}

/// Requests and their answers, by forty people, as the API records them.
fn record(number: u64) -> Record {
    let request = number / 2;
    let person = noise(request) % 40;
    let who = Who {
        kind: "user".into(),
        id: format!("p:{:032x}", u128::from(noise(person)) << 64 | u128::from(noise(person + 1000))),
        roles: vec!["operator".into()],
        auth: "jwt".into(),
    };
    let object = ObjectRef {
        model: "qwen3-0.6b".into(),
        endpoint: "/v1/chat/completions".into(),
        file_sha256: "5b1f0c6e0f7f4a0e8d9a3c2b1a09f8e7d6c5b4a392817061524334251607f8e9".into(),
        ..ObjectRef::default()
    };
    let record = Record::new(if number.is_multiple_of(2) { Kind::InferStart } else { Kind::InferEnd })
        .request(format!("{:016x}{:010x}", noise(request), request))
        .act("infer")
        .who(who)
        .object(object);
    if number.is_multiple_of(2) {
        let rules = vec!["operators-may-infer".to_owned()];
        let decision = DecisionRef { effect: "allow".into(), policy: "bundle-7".into(), rules, errors: Vec::new() };
        return record.decision(decision);
    }
    record
        .io(Io {
            input_tokens: Some(noise(number) % 900),
            output_tokens: Some(noise(number + 1) % 400),
            ..Io::default()
        })
        .result(Outcome {
            status: Some(200),
            ms: Some(noise(number + 2) % 20_000),
            ttft_ms: Some(noise(number + 3) % 900),
            ..Outcome::default()
        })
}

/// A number that nobody foresees and that is the same each time.
fn noise(seed: u64) -> u64 {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
