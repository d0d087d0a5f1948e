//! What is shipped keeps to what is said of it: what it takes of its box, what it computes, what a bill lists of it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_agent::client::Client;
use outpost_tests::process::{Process, binary, eventually};
use serde_json::Value;

/// Of memory of its own. Pages of the program's file come on top, which depend on how it was built: `tests/bench/idle.py` counts them.
const MOST_OWN_MIB: u64 = 20;
const MOST_THREADS: u64 = 16;
const MOST_FILES: usize = 40;

/// Long enough for what begins with a start to have ended.
const SETTLED: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_agent_without_a_model_takes_little_of_its_box() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().to_str().context("a path in UTF-8")?;
    let agent = Process::start(&binary("outpost")?, &["run", "--listen", "127.0.0.1:0", "--state", state])?;
    let client = Client::new(&folder.path().join("outpost.sock"));
    eventually("an answer", Duration::from_secs(60), || async { client.get("/outpost/status").await.is_ok() }).await?;
    tokio::time::sleep(SETTLED).await;

    let place = Path::new("/proc").join(agent.id().to_string());
    let said = std::fs::read_to_string(place.join("status"))?;
    let own_mib = field(&said, "RssAnon:")? / 1024;
    ensure!(own_mib <= MOST_OWN_MIB, "{own_mib} MiB are its own:\n{said}");
    let threads = field(&said, "Threads:")?;
    ensure!(threads <= MOST_THREADS, "{threads} threads");
    let files = std::fs::read_dir(place.join("fd"))?.count();
    ensure!(files <= MOST_FILES, "{files} open files");
    Ok(())
}

#[tokio::test]
async fn an_agent_starts_however_small_the_stack_of_its_first_thread_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = folder.path().join("outpost.sock");
    let mut command = Command::new("sh");
    // A static program is told as little of it, whatever the limit.
    command.args(["-c", r#"ulimit -s 160; exec "$0" "$@""#]).arg(binary("outpost")?);
    command.args(["run", "--listen", "127.0.0.1:0", "--state"]).arg(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _agent = Process::spawn(&mut command)?;
    let client = Client::new(&place);
    eventually("an answer", Duration::from_secs(60), || async { client.get("/outpost/status").await.is_ok() }).await
}

#[test]
fn what_this_program_computes_is_what_every_board_does() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let computed = Command::new(root.join("cross/computed.py")).arg(binary("outpost")?).current_dir(&root).output()?;
    ensure!(computed.status.success(), "{}", String::from_utf8_lossy(&computed.stderr));
    let (found, known) =
        (String::from_utf8(computed.stdout)?, std::fs::read_to_string(root.join("cross/smoke.expected"))?);
    ensure!(found == known, "computed here:\n{found}\nby every board:\n{known}");
    Ok(())
}

/// A number of a process's status.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

fn bill(program: &Path) -> Result<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cross/supply/sbom.py");
    let mut command = Command::new("python3");
    command.arg(script).args(["outpost", "--binary"]).arg(program).output().context("python3 does not start")
}

#[test]
fn a_bill_of_materials_is_of_the_program_that_it_names() -> Result<()> {
    let program = binary("outpost")?;
    let written = bill(&program)?;
    ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let written: Value = serde_json::from_slice(&written.stdout)?;
    let named = |name: &str| written["components"].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == name));
    for name in ["rustls", "candle-core", "cedar-policy", "outpost-audit", "rust-std"] {
        ensure!(named(name), "{name} is not in the bill");
    }
    // What only tests use.
    ensure!(!named("proptest"));

    // A program with one crate more than the lock file gives it.
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("outpost");
    std::fs::copy(&program, &other)?;
    let mut file = std::fs::OpenOptions::new().append(true).open(&other)?;
    file.write_all(b"/registry/slipped-in-1.2.3/src/lib.rs")?;
    drop(file);
    let refused = bill(&other)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && said.contains("slipped-in 1.2.3 is in the binary"), "{said}");
    Ok(())
}
