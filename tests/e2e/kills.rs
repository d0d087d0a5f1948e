//! `kill -9` of the agent at random moments under load: nothing acknowledged is lost, no restart needs a hand.
//!
//! `OUTPOST_KILLS=100 cargo e2e kills` runs the long form.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outpost_tests::process::{Process, binary, demo_model, eventually, free_port, output};
use outpost_tests::question::{ask, client};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_record_is_lost_when_the_agent_is_killed_at_random_moments() -> Result<()> {
    let kills: u32 = std::env::var("OUTPOST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let state_text = state.to_str().context("the path is UTF-8")?;
    let outpost = binary("outpost")?;
    let created =
        output(&outpost, &["--state", state_text, "--json", "key", "create", "--name", "till", "--role", "operator"])?;
    let created: Value = serde_json::from_str(&created)?;
    let key = created["key"].as_str().context("the new key is shown")?.to_owned();

    let mut acknowledged = BTreeSet::new();
    for round in 0..kills {
        let port = free_port()?;
        let listen = format!("127.0.0.1:{port}");
        let model = demo_model();
        let model = model.to_str().context("the path is UTF-8")?;
        let arguments = ["--state", state_text, "run", "--model", model, "--listen", &listen];
        let mut agent = Process::start(&outpost, &arguments)?;
        wait_until_ready(&format!("http://{listen}"), round).await?;

        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|number| tokio::spawn(keep_asking(format!("http://{listen}"), key.clone(), number, Arc::clone(&over))))
            .collect();
        let mut moment = [0];
        getrandom::fill(&mut moment).context("no randomness")?;
        tokio::time::sleep(Duration::from_millis(100 + u64::from(moment[0]) * 4)).await;
        agent.kill();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            acknowledged.extend(client.await?);
        }
    }
    ensure!(!acknowledged.is_empty(), "no answer was acknowledged between {kills} kills: the test shows nothing");

    let audit = state.join("audit");
    let verified = output(&outpost, &["--state", state_text, "--json", "audit", "verify"])?;
    let report: Value = serde_json::from_str(&verified)?;
    ensure!(report["problems"].as_array().is_some_and(Vec::is_empty), "the log does not verify: {report}");
    let ended = ended_requests(&outpost, state_text, &audit)?;
    let lost: Vec<_> = acknowledged.difference(&ended).collect();
    writeln!(std::io::stderr(), "{kills} kills, {} answers acknowledged, {} lost", acknowledged.len(), lost.len())?;
    ensure!(lost.is_empty(), "{} of {} acknowledged answers have no record: {lost:?}", lost.len(), acknowledged.len());
    Ok(())
}

async fn wait_until_ready(base: &str, round: u32) -> Result<()> {
    let http = client();
    let health = format!("{base}/health");
    let ready = || async {
        let Ok(response) = http.get(&health).send().await else { return false };
        response.status().is_success()
    };
    eventually(&format!("the agent to serve again after kill {round}"), Duration::from_secs(30), ready).await
}

/// Asks until told to stop; gives the request ids of every answer that arrived whole.
async fn keep_asking(base: String, key: String, number: usize, over: Arc<AtomicBool>) -> Vec<String> {
    let http = client();
    let questions = ["How does a device enrol?", "What may an auditor do?", "What happens when the disk is full?"];
    let mut whole = Vec::new();
    let mut turn = number;
    while !over.load(Ordering::Relaxed) {
        turn += 1;
        match ask(&http, &base, Some(&key), questions[turn % questions.len()]).await {
            Ok(reply) if reply.complete => whole.push(reply.request_id),
            // The agent was killed in the middle: this answer was never acknowledged.
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    whole
}

fn ended_requests(outpost: &Path, state: &str, audit: &Path) -> Result<BTreeSet<String>> {
    let audit = audit.to_str().context("the path is UTF-8")?;
    let arguments = ["--state", state, "--json", "audit", "show", audit, "--kind", "infer.end", "--last", "1000000"];
    let shown = output(outpost, &arguments)?;
    let records: Vec<Value> = serde_json::from_str(&shown)?;
    Ok(records.iter().filter_map(|record| record["req"].as_str()).map(str::to_owned).collect())
}
