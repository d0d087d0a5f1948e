//! What the audit log costs an answer: the same requests with and without its records, in turn.
//!
//! `cargo run --release --example audit_cost -- MODEL.gguf [PAIRS] [REQUESTS] [DIRECTORY] [TOKENS]`: in each pair, `REQUESTS`
//! requests are answered without the log and as many with it, as the API does it: the start is appended before the prompt is
//! read and waited for before the first text, the end is waited for before the next request. `DIRECTORY` is where the log lies,
//! `TOKENS` how long an answer is: with one request in a pair and one token in an answer, a thousand pairs tell what a first
//! text waits for, whatever else the machine does meanwhile.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use outpost_agent::worker::{Worker, WorkerOptions};
use outpost_audit::{
    AuditLog, BootInfo, CheckpointKey, DecisionRef, Io, Kind, LogIdentity, ObjectRef, Outcome, Record, Who,
};
use outpost_disk::Clock;
use outpost_engine::batch::EventKind;
use outpost_engine::generate::Request;

const PROMPT_TOKENS: u32 = 48;

/// Of an answer, unless told otherwise.
const ANSWER_TOKENS: u32 = 24;

/// What one half of a pair took.
#[derive(Default)]
struct Half {
    seconds: f64,
    tokens: u64,
    /// Milliseconds to the first text.
    first_ms: Vec<f64>,
    /// Milliseconds until the start was durable.
    durable_ms: Vec<f64>,
    /// Answers whose first text waited for that.
    delayed: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = PathBuf::from(arguments.next().context("name a model file")?);
    let pairs: u32 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let requests: u32 = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let directory = tempfile::tempdir_in(arguments.next().map_or_else(std::env::temp_dir, PathBuf::from))?;
    let tokens: u32 = arguments.next().map_or(Ok(ANSWER_TOKENS), |text| text.parse())?;
    let options = WorkerOptions { context_tokens: 512, slots: 1, threads: 0, backend: None, draft: None };
    let worker = Worker::load(&file, options)?;
    let key = CheckpointKey::from_pkcs8(CheckpointKey::generate()?.expose())?;
    let identity = LogIdentity { origin: "audit.example/cost/1".into(), key };
    let info = BootInfo { agent: "0.1.0".into(), device: "cost".into(), clock: Clock::system() };
    let (log, _) = AuditLog::open(directory.path(), identity, info)?;
    half(&worker, None, 2, tokens).await?;
    let (mut ratios, mut without_ms, mut with_ms, mut durable_ms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut delayed = 0;
    for pair in 0..pairs {
        // Every other pair begins with the other half: what warms up favours neither.
        let (without, with) = if pair % 2 == 0 {
            let without = half(&worker, None, requests, tokens).await?;
            (without, half(&worker, Some(&log), requests, tokens).await?)
        } else {
            let with = half(&worker, Some(&log), requests, tokens).await?;
            (half(&worker, None, requests, tokens).await?, with)
        };
        let speed = |half: &Half| half.tokens as f64 / half.seconds;
        ratios.push(speed(&with) / speed(&without));
        if requests > 1 {
            say(&format!("pair {pair}: {:.2} tokens/s without, {:.2} with", speed(&without), speed(&with)))?;
        }
        without_ms.extend(without.first_ms);
        with_ms.extend(with.first_ms);
        durable_ms.extend(with.durable_ms);
        delayed += with.delayed;
    }
    say(&format!(
        "tokens/s with ÷ without: median {:.4} ({:.4}–{:.4})",
        at(&mut ratios, 0.5),
        at(&mut ratios, 0.0),
        at(&mut ratios, 1.0)
    ))?;
    for part in [0.5, 0.9, 0.99] {
        let (without, with) = (at(&mut without_ms, part), at(&mut with_ms, part));
        say(&format!(
            "first text, p{:.0}: {without:.2} ms without, {with:.2} ms with, {:+.2} ms",
            part * 100.0,
            with - without
        ))?;
    }
    say(&format!(
        "start durable after p50 {:.2} ms, p99 {:.2} ms; {delayed} of {} first texts waited for it",
        at(&mut durable_ms, 0.5),
        at(&mut durable_ms, 0.99),
        durable_ms.len()
    ))?;
    say(&format!("{} records in {} commits", log.size(), log.commits()))
}

async fn half(worker: &Worker, log: Option<&AuditLog>, requests: u32, answer_tokens: u32) -> Result<Half> {
    let mut half = Half::default();
    let began = Instant::now();
    for number in 0..requests {
        let asked = Instant::now();
        let started = log.map(|log| log.append(start(number)));
        // No two prompts begin alike, so that every one is read.
        let tokens = (0..PROMPT_TOKENS).map(|place| 100 + (number * 131 + place * 17) % 900).collect();
        let request = Request { limit: Some(answer_tokens), scope: format!("{asked:?}"), ..Request::new(tokens) };
        let mut events = worker.generate(request).await?;
        if let Some(started) = started {
            started.await?;
            half.durable_ms.push(asked.elapsed().as_secs_f64() * 1000.0);
            half.delayed += usize::from(!events.is_empty());
        }
        let mut first = None;
        while let Some(event) = events.recv().await {
            first.get_or_insert_with(|| asked.elapsed());
            if let EventKind::Finished(finished) = event {
                half.tokens += u64::from(PROMPT_TOKENS + finished.generated_tokens);
            }
        }
        half.first_ms.push(first.context("no answer")?.as_secs_f64() * 1000.0);
        if let Some(log) = log {
            log.append(end(number, asked)).await?;
        }
    }
    half.seconds = began.elapsed().as_secs_f64();
    Ok(half)
}

fn record(kind: Kind, number: u32) -> Record {
    let who = Who { kind: "user".into(), id: "p:0123".into(), roles: vec!["operator".into()], auth: "jwt".into() };
    let object = ObjectRef {
        model: "qwen3-0.6b".into(),
        variant: "Q4_0".into(),
        file_sha256: "00".repeat(32),
        endpoint: "/v1/chat/completions".into(),
    };
    Record::new(kind).request(format!("request-{number}")).act("infer").who(who).object(object)
}

fn start(number: u32) -> Record {
    let rules = vec!["operators-may-infer".to_owned()];
    let decision = DecisionRef { effect: "allow".into(), policy: "bundle-1".into(), rules, errors: Vec::new() };
    record(Kind::InferStart, number).decision(decision)
}

fn end(number: u32, asked: Instant) -> Record {
    let ms = u64::try_from(asked.elapsed().as_millis()).ok();
    record(Kind::InferEnd, number)
        .io(Io { input_tokens: Some(48), output_tokens: Some(24), ..Io::default() })
        .result(Outcome { status: Some(200), ms, ttft_ms: ms, ..Outcome::default() })
}

/// The value below which this part of all lies.
fn at(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (part * (values.len() - 1) as f64).round();
    values.get(place as usize).copied().unwrap_or_default()
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
