//! The same program on boxes of every size, as control groups make them: what it chooses in each, that it serves, and that it is
//! never killed.
//!
//! ```text
//! cargo e2e groups                         two sizes, half a minute
//! OUTPOST_BOXES=all cargo e2e groups       512 MiB, 1, 2, 4 and 8 GiB with one and two processors
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::facts;
use outpost_engine::gguf::Gguf;
use outpost_engine::shape::Shape;
use outpost_planner::{KvType, Setting, needs};
use outpost_tests::group::{Group, own_bytes};
use outpost_tests::process::{Process, binary, eventually, free_port, output};
use outpost_tests::question::client;
use serde_json::{Value, json};

use crate::shapes;

/// How long a box may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// Variants of one model, the best first; their files take about 0.6, 0.3, 0.25 and 0.2 GiB.
pub(crate) const VARIANTS: [&str; 4] = ["F16", "Q8_0", "Q5_1", "Q4_0"];

/// One box.
struct Size {
    mebibytes: u64,
    processors: u32,
}

/// What became of it.
struct Found {
    variant: String,
    context_tokens: u64,
    slots: u64,
    threads: u64,
    predicted: u64,
    own: u64,
    most: u64,
    killed: u64,
    answered: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_program_serves_on_boxes_of_every_size_and_is_never_killed() -> Result<()> {
    let all = std::env::var("OUTPOST_BOXES").is_ok_and(|which| which == "all");
    let size = |mebibytes, processors| Size { mebibytes, processors };
    let sizes: Vec<Size> = if all {
        let each = [512, 1_024, 2_048, 4_096, 8_192].into_iter();
        each.flat_map(|mebibytes| [1, 2].map(|processors| size(mebibytes, processors))).collect()
    } else {
        vec![size(512, 1), size(2_048, 1)]
    };
    let folder = tempfile::tempdir()?;
    let shape = Shape { layers: 4, rotary_divisors: false, ..dense() };
    let store = import(folder.path(), &shape, &VARIANTS)?;
    say(&format!(
        "{:>9} {:>4}  {:<7} {:>7} {:>5} {:>7} {:>9} {:>8} {:>9} {:>6} {:>8}",
        "memory", "CPUs", "variant", "context", "slots", "threads", "predicted", "own", "group", "killed", "answers"
    ))?;
    let mut chosen = Vec::new();
    for Size { mebibytes, processors } in sizes {
        let found = serve(folder.path(), &store, mebibytes, processors).await;
        let found = found.with_context(|| format!("a box of {mebibytes} MiB and {processors} processors"))?;
        let mib = |bytes: u64| bytes >> 20;
        say(&format!(
            "{mebibytes:>5} MiB {processors:>4}  {:<7} {:>7} {:>5} {:>7} {:>5} MiB {:>4} MiB {:>5} MiB {:>6} {:>8}",
            found.variant,
            found.context_tokens,
            found.slots,
            found.threads,
            mib(found.predicted),
            mib(found.own),
            mib(found.most),
            found.killed,
            found.answered,
        ))?;
        ensure!(found.killed == 0, "the kernel killed {} on {mebibytes} MiB", found.killed);
        ensure!(found.predicted < mebibytes << 20, "more was planned than there is");
        ensure!(found.own <= found.predicted, "{} bytes were taken, {} predicted", found.own, found.predicted);
        chosen.push((mebibytes, place(&found.variant)));
    }
    let (least, most) = (chosen.first().context("a box")?, chosen.last().context("a box")?);
    ensure!(least.1 > most.1, "the smallest box chose no smaller variant than the largest: {chosen:?}");
    ensure!(chosen.is_sorted_by(|one, next| one.1 >= next.1), "a larger box chose a smaller variant: {chosen:?}");
    Ok(())
}

/// A shape whose files matter to a small box.
pub(crate) fn dense() -> Shape {
    let all = shapes::all();
    let found = all.into_iter().find(|(name, _)| *name == "dense");
    found.map_or_else(shapes::small, |(_, shape)| shape)
}

/// Imports variants of a shape, without a limit; gives the store that they are in.
pub(crate) fn import(folder: &Path, shape: &Shape, variants: &[&str]) -> Result<PathBuf> {
    let (outpost, state) = (binary("outpost")?, folder.join("imported"));
    for variant in variants {
        let file = folder.join(format!("box-{}.gguf", variant.to_lowercase()));
        shapes::write(&file, shape, variant)?;
        output(&outpost, &["--state", text(&state)?, "model", "import", text(&file)?])?;
        std::fs::remove_file(&file)?;
    }
    Ok(state.join("store"))
}

/// A fresh box with these files: they are the same ones, under another name.
pub(crate) fn fresh(state: &Path, store: &Path) -> Result<()> {
    fn link(from: &Path, to: &Path) -> Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => link(&entry.path(), &to)?,
                false => std::fs::hard_link(entry.path(), to)?,
            }
        }
        Ok(())
    }
    std::fs::create_dir_all(state)?;
    link(store, &state.join("store"))
}

/// A key to ask with.
pub(crate) fn key(state: &Path) -> Result<String> {
    let arguments = ["--state", text(state)?, "--json", "key", "create", "--name", "till", "--role", "admin"];
    let created: Value = serde_json::from_str(&output(&binary("outpost")?, &arguments)?)?;
    Ok(created["key"].as_str().context("the new key is shown")?.to_owned())
}

/// An agent in a group, its log beside its state.
pub(crate) fn start(group: &Group, state: &Path, listen: &str) -> Result<Process> {
    let log = std::fs::File::create(state.join("said.log"))?;
    let mut command = group.command(&binary("outpost")?, &["--state", text(state)?, "run", "--listen", listen]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Process::spawn(&mut command)
}

/// Waits until it serves.
pub(crate) async fn ready(base: &str) -> Result<()> {
    let (http, health) = (client(), format!("{base}/health"));
    let ready = || async { http.get(&health).send().await.is_ok_and(|response| response.status().is_success()) };
    eventually("the box to serve", PATIENCE, ready).await
}

/// What `GET /outpost/status` says of the agent.
pub(crate) async fn status(base: &str, key: &str) -> Result<Value> {
    let response = client().get(format!("{base}/outpost/status")).bearer_auth(key).send().await?;
    let status: Value = response.json().await?;
    Ok(status["agent"].clone())
}

async fn serve(folder: &Path, store: &Path, mebibytes: u64, processors: u32) -> Result<Found> {
    let state = folder.join(format!("box-{mebibytes}-{processors}"));
    fresh(&state, store)?;
    let key = key(&state)?;
    let group = Group::new(mebibytes << 20, processors)?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let (base, mut agent) = (format!("http://{listen}"), start(&group, &state, &listen)?);
    let failed = || format!("it said: {}", std::fs::read_to_string(state.join("said.log")).unwrap_or_default());
    ready(&base).await.with_context(failed)?;
    let model = status(&base, &key).await?["model"].clone();
    let number = |name: &str| model[name].as_u64().with_context(|| format!("no {name} in {model}"));
    let (context_tokens, slots, threads) = (number("context_tokens")?, number("slots")?, number("threads")?);
    let variant = model["variant"].as_str().context("a variant")?.to_owned();
    // As many at once as it says that it takes, each with a prompt of some length.
    let asking = (0..slots).map(|number| {
        let (base, key) = (base.clone(), key.clone());
        tokio::spawn(async move { complete(&base, &key, &"word ".repeat(20 + usize::try_from(number)?), 8).await })
    });
    let mut answered = 0;
    for answer in asking.collect::<Vec<_>>() {
        let (status, body) = answer.await??;
        ensure!(status == 200, "no answer: {status} {body}");
        ensure!(body["usage"]["completion_tokens"].as_u64() == Some(8), "a short answer: {body}");
        answered += 1;
    }
    let own = own_bytes(agent.id())?;
    ensure!(agent.ended().is_none(), "the agent has ended; {}", failed());
    let (most, killed) = (group.most_bytes()?, group.killed()?);
    let predicted = predicted(store, &variant, context_tokens, slots, threads)?;
    agent.kill();
    drop(group);
    std::fs::remove_dir_all(&state)?;
    Ok(Found { variant, context_tokens, slots, threads, predicted, own, most, killed, answered })
}

/// What a plan says that this takes.
fn predicted(store: &Path, variant: &str, context_tokens: u64, slots: u64, threads: u64) -> Result<u64> {
    let opened = outpost_store::Store::open(store)?;
    for stored in opened.list()? {
        let info = Gguf::open(&stored.path)?.info();
        if info.quantisation == variant {
            let facts = facts::variant("box".parse()?, 1, &info);
            let (context_tokens, slots, threads) = (context_tokens.try_into()?, slots.try_into()?, threads.try_into()?);
            return Ok(needs(&facts, &Setting { context_tokens, slots, threads, kv_type: KvType::default() }).total());
        }
    }
    anyhow::bail!("no {variant} in the store")
}

/// One text, continued.
pub(crate) async fn complete(base: &str, key: &str, prompt: &str, max_tokens: u32) -> Result<(u16, Value)> {
    let body = json!({ "model": "default", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0 });
    let response = client().post(format!("{base}/v1/completions")).bearer_auth(key).json(&body).send().await?;
    Ok((response.status().as_u16(), response.json().await.context("the answer is not JSON")?))
}

/// A variant's place, the best first.
pub(crate) fn place(variant: &str) -> usize {
    VARIANTS.iter().position(|name| *name == variant).unwrap_or(VARIANTS.len())
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is UTF-8")
}

pub(crate) fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}
