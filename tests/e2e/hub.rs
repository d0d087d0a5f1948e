//! Must show: a model of a hub on a box of its own, as a person types it; broken off, killed, forged, gated, and on record.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outpost_tests::fake_hub::{COMMIT, FakeHub, HubFile, Manners};
use outpost_tests::process::{binary, demo_model, output};
use serde_json::Value;

const TOKEN: &str = "hf_nobody_may_read_this";

/// The demo model in three precisions, as a hub has them.
fn published(folder: &Path) -> Result<Vec<HubFile>> {
    let outpost = binary("outpost")?;
    let mut files = Vec::new();
    for variant in ["F16", "Q8_0", "Q4_0"] {
        let file = folder.join(format!("demo-{variant}.gguf"));
        if variant == "F16" {
            std::fs::copy(demo_model(), &file)?;
        } else {
            let (from, to) = (demo_model().display().to_string(), file.display().to_string());
            output(&outpost, &["model", "quantize", &from, &to, "--to", variant])?;
        }
        let digest = outpost_store::manifest::of_file(&file, &[])?.sha256.to_hex();
        files.push(HubFile { path: format!("demo-{variant}.gguf"), bytes: std::fs::read(&file)?, digest });
    }
    Ok(files)
}

/// A box of its own with a hub within reach.
struct Box_ {
    folder: tempfile::TempDir,
    hub: FakeHub,
}

impl Box_ {
    fn new(manners: Manners) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // The files say it as SPDX does, the card as hubs do.
        let hub = FakeHub::serving(published(folder.path())?, "apache-2.0", manners);
        Ok(Self { folder, hub })
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("outpost")?);
        command.arg("--state").arg(self.state()).args(arguments).stdin(Stdio::null());
        command.env("HF_ENDPOINT", &self.hub.address).env("HF_TOKEN", TOKEN).env_remove("HF_HUB_OFFLINE");
        Ok(command)
    }

    fn pull(&self, arguments: &[&str]) -> Result<Output> {
        self.command(&[&["model", "pull"], arguments].concat())?.output().context("it does not start")
    }

    /// Names and files of the models that are here.
    fn models(&self) -> Result<Vec<String>> {
        let listed = self.command(&["--json", "model", "ls"])?.output()?;
        let rows: Vec<Value> = serde_json::from_slice(&listed.stdout).context("the list is no JSON")?;
        Ok(rows.iter().map(|row| row["sha256"].as_str().unwrap_or_default().to_owned()).collect())
    }

    fn part(&self, name: &str) -> PathBuf {
        self.state().join("pulls/tiny--model").join(COMMIT).join(format!("{name}.part"))
    }

    fn digest(&self, name: &str) -> String {
        let seen = self.hub.seen();
        seen.files.iter().find(|file| file.path == name).map(|file| file.digest.clone()).unwrap_or_default()
    }

    /// Every file of the state directory that holds a text.
    fn files_with(&self, text: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut waiting = vec![self.state()];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.is_file() && std::fs::read(&path)?.windows(text.len()).any(|at| at == text.as_bytes()) {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_pull_that_is_killed_goes_on_where_it_stopped_and_is_checked_kept_and_on_record() -> Result<()> {
    let slow = Some((16 * 1024, Duration::from_millis(20)));
    let here = Box_::new(Manners { store: true, trickle: slow, ..Manners::default() })?;
    let arguments = ["model", "pull", "hf:tiny/model", "--file", "*Q4_0*"];
    let mut pulling = here.command(&arguments)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let (part, began) = (here.part("demo-Q4_0.gguf"), Instant::now());
    // Past the header, which is asked for first.
    let length = || std::fs::metadata(&part).map_or(0, |facts| facts.len());
    while length() < 1_500_000 {
        ensure!(began.elapsed() < Duration::from_secs(120), "nothing came: {} bytes", length());
        ensure!(pulling.try_wait()?.is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(10));
    }
    pulling.kill()?;
    pulling.wait()?;
    let kept = length();
    ensure!(here.models()?.is_empty(), "half a file is no model");

    here.hub.seen().manners.trickle = None;
    here.hub.seen().requests.clear();
    let again = here.pull(&["hf:tiny/model", "--file", "*Q4_0*"])?;
    ensure!(again.status.success(), "{}", said(&again));
    ensure!(said(&again).contains("`outpost-demo:q4_0` is here"), "{}", said(&again));
    let ranges: Vec<_> =
        here.hub.seen().requests.iter().filter(|asked| asked.of_store).map(|asked| asked.range.clone()).collect();
    ensure!(ranges == [Some(format!("bytes={kept}-"))], "it goes on at {kept}: {ranges:?}");
    ensure!(here.models()? == [here.digest("demo-Q4_0.gguf")], "{:?}", here.models()?);
    ensure!(!here.part("demo-Q4_0.gguf").exists(), "the part is in the store now");

    let shown = here.command(&["--json", "audit", "show", "--kind", "admin.act"])?.output()?;
    let record = String::from_utf8_lossy(&shown.stdout).into_owned();
    let origin = format!("{}/tiny/model", here.hub.address);
    for fact in [origin.as_str(), COMMIT, &here.digest("demo-Q4_0.gguf"), "demo-Q4_0.gguf", "Apache-2.0", "pull_model"]
    {
        ensure!(record.contains(fact), "`{fact}` is not on record: {record}");
    }
    ensure!(here.command(&["audit", "verify"])?.output()?.status.success(), "the log holds after the kill");
    let leaks = here.files_with(TOKEN)?;
    ensure!(leaks.is_empty(), "the token lies in {leaks:?}");
    let to_store: Vec<_> = here.hub.seen().requests.iter().filter(|asked| asked.of_store).cloned().collect();
    ensure!(to_store.iter().all(|asked| asked.authorization.is_none()), "the token went to the store: {to_store:?}");
    Ok(())
}

#[test]
fn without_a_file_the_plan_chooses_and_says_why_and_what_is_wrong_is_said_and_not_kept() -> Result<()> {
    let here = Box_::new(Manners { forged: true, ..Manners::default() })?;
    let forged = here.pull(&["hf:tiny/model", "--file", "*Q4_0*"])?;
    ensure!(!forged.status.success(), "{}", said(&forged));
    here.hub.seen().manners = Manners { gated: Some("GatedRepo"), ..Manners::default() };
    let gated = here.command(&["model", "pull", "hf:tiny/model"])?.env("HF_TOKEN", "hf_denied").output()?;
    ensure!(!gated.status.success() && said(&gated).contains("accept them on the model's page"), "{}", said(&gated));
    let before = here.hub.seen().requests.len();
    let offline = here.command(&["model", "pull", "hf:tiny/model"])?.env("HF_HUB_OFFLINE", "1").output()?;
    ensure!(!offline.status.success() && said(&offline).contains("`HF_HUB_OFFLINE` is set"), "{}", said(&offline));
    ensure!(here.hub.seen().requests.len() == before, "offline is offline");

    // A body that is wrong behind a header that is right.
    here.hub.seen().manners = Manners::default();
    let rotten = {
        let mut seen = here.hub.seen();
        let file = seen.files.iter_mut().find(|file| file.path == "demo-Q4_0.gguf").context("it is published")?;
        let last = file.bytes.len() - 1;
        file.bytes[last] ^= 1;
        last
    };
    let wrong = here.pull(&["hf:tiny/model", "--file", "*Q4_0*"])?;
    ensure!(!wrong.status.success() && said(&wrong).contains("is not what the commit names"), "{}", said(&wrong));
    ensure!(here.models()?.is_empty() && !here.part("demo-Q4_0.gguf").exists(), "nothing of it is kept");
    if let Some(file) = here.hub.seen().files.iter_mut().find(|file| file.path == "demo-Q4_0.gguf") {
        file.bytes[rotten] ^= 1;
    }

    here.hub.seen().manners = Manners { refusals: vec![(429, "Retry-After: 1\r\n"), (503, "")], ..Manners::default() };
    let chosen = here.pull(&["hf:tiny/model"])?;
    ensure!(chosen.status.success(), "{}", said(&chosen));
    for words in ["→ F16", "Q8_0", "Q4_0", "of memory can be used", "licence Apache-2.0", "`outpost-demo:f16` is here"]
    {
        ensure!(said(&chosen).contains(words), "the plan does not tell of `{words}`: {}", said(&chosen));
    }
    ensure!(here.models()? == [here.digest("demo-F16.gguf")], "the closest to the original fits here");

    here.hub.seen().requests.clear();
    let again = here.pull(&["hf:tiny/model", "--file", "*F16*"])?;
    ensure!(again.status.success(), "{}", said(&again));
    let bodies = here
        .hub
        .seen()
        .requests
        .iter()
        .filter(|asked| asked.range.is_none() && asked.path.contains("/resolve/"))
        .count();
    ensure!(bodies == 0, "what is in the store is not fetched again");
    let chat = ["chat", "--model", "hf:tiny/model", "How does a device enrol?", "--max-tokens", "16"];
    let answer = here.command(&chat)?.output()?;
    ensure!(answer.status.success() && !answer.stdout.trim_ascii().is_empty(), "{}", said(&answer));
    Ok(())
}
