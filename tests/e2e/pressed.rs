//! Eight clients stream while a neighbour eats the memory: the box steps back in order, tells everybody what became of their
//! answer, is not killed, and comes back when the neighbour has left.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use outpost_engine::shape::Shape;
use outpost_tests::group::{Group, own_bytes};
use outpost_tests::process::{Process, binary, free_port, output};
use outpost_tests::question::client;
use serde_json::{Value, json};

use crate::groups::{complete, dense, fresh, import, key, place, ready, say, start, status, text};

const CLIENTS: usize = 8;

/// The box and its neighbour together.
const MEMORY: u64 = 1 << 30;

/// The neighbour eats so much at a time, and so often.
const BITE: usize = 3 << 20;
/// The same while there is plenty, so that the story does not take longer than it must.
const MOUTHFUL: usize = 24 << 20;
const PLENTY: u64 = 230 << 20;
const BITE_EVERY: Duration = Duration::from_millis(200);

/// How long any part of the story may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// It came whole.
    Whole,
    /// It was refused or broken off with an error that says what and why: status or 200, then the error's code.
    Told(u16, String),
    /// Nobody said anything.
    Lost(String),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_whose_memory_is_eaten_steps_back_in_order_answers_everybody_and_comes_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shape =
        Shape { layers: 8, embedding: 1_024, feed_forward: 2_816, heads: 16, rotary_divisors: false, ..dense() };
    let store = import(folder.path(), &shape, &["F16", "Q8_0", "Q4_0"])?;
    let state = folder.path().join("box");
    fresh(&state, &store)?;
    std::fs::write(state.join("outpost.toml"), "[model]\nslots = 8\ncalm_seconds = 1\n")?;
    let key = key(&state)?;
    let group = Group::new(MEMORY, 2)?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let (base, agent) = (format!("http://{listen}"), start(&group, &state, &listen)?);
    ready(&base).await?;
    let planned = status(&base, &key).await?["model"].clone();
    let context = planned["context_tokens"].as_u64().context("a context")?;
    say(&format!("planned: {} with {context} tokens for {} at once", planned["variant"], planned["slots"]))?;

    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(keep_streaming(base.clone(), key.clone(), number, Arc::clone(&over))))
        .collect();
    let mut neighbour = Neighbour::start(&group)?;
    let began = Instant::now();
    let mut lowest = String::new();
    // It eats until the box is content with a smaller variant, as a program that grows does not ask.
    while began.elapsed() < PATIENCE {
        let now = status(&base, &key).await?["pressure"].clone();
        let level = now["level"].as_str().context("a level")?.to_owned();
        if level != lowest {
            let (own, eaten) = (own_bytes(agent.id())? >> 20, neighbour.eaten >> 20);
            say(&format!("{:>5.1} s  {level:<8} box {own} MiB, neighbour {eaten} MiB", began.elapsed().as_secs_f64()))?;
            lowest = level;
        }
        if matches!(&*lowest, "variant" | "nothing") {
            break;
        }
        let is_plenty = now["available_bytes"].as_u64().is_some_and(|left| left > PLENTY);
        neighbour.bite(if is_plenty { MOUTHFUL } else { BITE })?;
        tokio::time::sleep(BITE_EVERY).await;
    }
    ensure!(matches!(&*lowest, "variant" | "nothing"), "memory was eaten and the box only did without {lowest}");
    let squeezed = loop {
        let now = status(&base, &key).await?;
        if now["model"]["variant"].as_str().is_some_and(|variant| place(variant) > place("F16")) {
            break now;
        }
        ensure!(began.elapsed() < PATIENCE, "no smaller variant serves: {now}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (level, variant) = (squeezed["pressure"]["level"].clone(), squeezed["model"]["variant"].clone());
    say(&format!("squeezed: {level}, {variant}, the box has {} MiB", own_bytes(agent.id())? >> 20))?;
    let (code, body) = complete(&base, &key, "Is somebody there?", 4).await?;
    ensure!(code == 200 || code == 503, "no clear answer: {code} {body}");

    drop(neighbour);
    wait_for_level(&base, &key, "full").await?;
    over.store(true, Ordering::Relaxed);
    let mut ends = Vec::new();
    for client in clients {
        ends.extend(client.await?);
    }
    let wait_began = Instant::now();
    let restored = loop {
        let now = status(&base, &key).await?["model"].clone();
        if now["variant"] == planned["variant"] {
            break now;
        }
        ensure!(wait_began.elapsed() < PATIENCE, "the variant of before does not come back: {now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    ensure!(restored["slots"] == planned["slots"], "fewer at once than before: {restored}");
    let restored_context = restored["context_tokens"].as_u64().context("a context")?;
    // Longer than half of it, which was too long a while ago.
    let (code, body) = complete(&base, &key, &"a".repeat(usize::try_from(restored_context / 2 + 300)?), 4).await?;
    ensure!(code == 200, "no answer at full size: {code} {body}");

    show_ends(&ends)?;
    ensure!(group.killed()? == 0, "the kernel killed {}", group.killed()?);
    drop(agent);
    let steps = steps(&state)?;
    check_order(&steps)
}

/// A program that takes memory and never gives any back.
struct Neighbour {
    _process: Process,
    mouth: ChildStdin,
    eaten: u64,
}

impl Neighbour {
    /// It waits for the end of a line that never comes, and keeps all of it.
    fn start(group: &Group) -> Result<Self> {
        let mut command = group.command(Path::new("tail"), &["-n", "1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::spawn(&mut command)?;
        let mouth = process.input().context("its input is written here")?;
        Ok(Self { _process: process, mouth, eaten: 0 })
    }

    fn bite(&mut self, bytes: usize) -> Result<()> {
        self.mouth.write_all(&vec![b'x'; bytes]).context("the neighbour is gone")?;
        self.eaten += bytes as u64;
        Ok(())
    }
}

async fn wait_for_level(base: &str, key: &str, level: &str) -> Result<()> {
    let began = Instant::now();
    let mut last = String::new();
    loop {
        let now = status(base, key).await?["pressure"].clone();
        let word = now["level"].as_str().context("a level")?;
        if word != last {
            say(&format!("{:>5.1} s after the neighbour left: {word}", began.elapsed().as_secs_f64()))?;
            word.clone_into(&mut last);
        }
        if word == level {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "waited in vain for {level}: {now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Streams one answer after another until told to stop; says how each ended.
async fn keep_streaming(base: String, key: String, number: usize, over: Arc<AtomicBool>) -> Vec<End> {
    let (http, mut ends) = (client(), Vec::new());
    while !over.load(Ordering::Relaxed) {
        let prompt = format!("{number} {} ", ends.len()).repeat(24);
        let end = stream(&http, &base, &key, &prompt).await;
        let is_whole = end == End::Whole;
        ends.push(end);
        if !is_whole {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    ends
}

async fn stream(http: &reqwest::Client, base: &str, key: &str, prompt: &str) -> End {
    let body = json!({ "model": "default", "prompt": prompt, "max_tokens": 100, "temperature": 0, "stream": true });
    let sent = http.post(format!("{base}/v1/completions")).bearer_auth(key).json(&body).send().await;
    let response = match sent {
        Ok(response) => response,
        Err(error) => return End::Lost(error.to_string()),
    };
    let status = response.status().as_u16();
    if status != 200 {
        let error: Value = response.json().await.unwrap_or_default();
        return told(status, &error["error"]);
    }
    let (mut stream, mut pending, mut end) = (response.bytes_stream(), Vec::new(), None);
    while let Some(part) = stream.next().await {
        match part {
            Ok(bytes) => pending.extend_from_slice(&bytes),
            Err(error) => return End::Lost(error.to_string()),
        }
        while let Some(at) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.trim_end().strip_prefix("data: ") else { continue };
            if data == "[DONE]" {
                return end.unwrap_or(End::Whole);
            }
            let chunk: Value = serde_json::from_str(data).unwrap_or_default();
            if chunk["error"].is_object() {
                end = Some(told(status, &chunk["error"]));
            }
        }
    }
    end.unwrap_or_else(|| End::Lost("the stream ended without a word".to_owned()))
}

fn told(status: u16, error: &Value) -> End {
    match (error["code"].as_str(), error["message"].as_str()) {
        (Some(code), Some(message)) if !message.is_empty() => End::Told(status, code.to_owned()),
        _ => End::Lost(format!("{status} and no word why")),
    }
}

fn show_ends(ends: &[End]) -> Result<()> {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for end in ends {
        *counts.entry(format!("{end:?}")).or_default() += 1;
    }
    say(&format!("{} answers were asked for: {counts:?}", ends.len()))?;
    let lost: Vec<_> = ends.iter().filter(|end| matches!(end, End::Lost(_))).collect();
    ensure!(lost.is_empty(), "{} answers were lost without a word: {lost:?}", lost.len());
    ensure!(ends.contains(&End::Whole), "no answer came whole: the story shows nothing");
    Ok(())
}

/// The steps as they are on record: from, to, why, what was done.
fn steps(state: &Path) -> Result<Vec<(String, String)>> {
    let audit = state.join("audit");
    let arguments = [
        "--state",
        text(state)?,
        "--json",
        "audit",
        "show",
        text(&audit)?,
        "--kind",
        "device.pressure",
        "--last",
        "1000",
    ];
    let records: Vec<Value> = serde_json::from_str(&output(&binary("outpost")?, &arguments)?)?;
    let mut steps = Vec::new();
    for record in &records {
        let detail = &record["detail"];
        let word = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
        let (from, to) = (word("from"), word("to"));
        say(&format!(
            "{:<9} {from:<8} {to:<8} {}; {}",
            record["act"].as_str().unwrap_or_default(),
            word("because"),
            word("did")
        ))?;
        ensure!(!word("because").is_empty() && detail["available_bytes"].is_u64(), "no reason: {record}");
        if !from.is_empty() {
            steps.push((from, to));
        }
    }
    Ok(steps)
}

/// Down to the variant one step after another, and back up the same way.
fn check_order(steps: &[(String, String)]) -> Result<()> {
    const ORDER: [&str; 6] = ["full", "cache", "slots", "context", "variant", "nothing"];
    let place = |word: &str| ORDER.iter().position(|level| *level == word).with_context(|| format!("`{word}`"));
    let mut at = 0;
    for (from, to) in steps {
        let (from, to) = (place(from)?, place(to)?);
        ensure!(from == at && from.abs_diff(to) <= 1, "a step was left out: {steps:?}");
        at = to;
    }
    ensure!(at == 0, "it did not come back: {steps:?}");
    ensure!(steps.iter().any(|(_, to)| to == "variant"), "no variant was stepped down to: {steps:?}");
    Ok(())
}
