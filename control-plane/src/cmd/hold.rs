//! `outpost-control catalogue fetch|add|held|drop`: model files on their way into a release.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outpost_contract::ModelId;
use outpost_control::{
    Clock, Config, FetchRequest, Fleet, HeldModel, HoldRequest, HubAccess, HubReference, Variant, size,
};
use serde_json::json;

use super::catalogue::{DESCRIPTION_BYTES, described};
use super::{on_record, open, say, say_json};
use crate::args::{Described, Fetch};

/// Longest time that reading one file's facts may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Fetches files of a hub, and holds them.
pub(super) async fn fetch(config: Config, asked: Fetch, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    let reference: HubReference = asked.source.parse()?;
    let directory = asked.out.unwrap_or_else(|| fleet.holding_directory(&reference));
    let request = FetchRequest {
        reference,
        patterns: asked.files,
        directory,
        most_file_bytes: u64::from(asked.most_gib) << 30,
        by: on_record::who(),
        now_s: Clock::system().now_s(),
    };
    let mut line = Line::new(as_json);
    let fetched = outpost_control::fetch(HubAccess::from_environment()?, &request, |name, done, total| {
        line.show(name, done, total)
    })
    .await?;
    line.end();
    let models = fetched.files.iter().filter(|file| file.path.extension().is_some_and(|ending| ending == "gguf"));
    let paths: Vec<PathBuf> = models.map(|file| file.path.clone()).collect();
    if !as_json {
        say(format!(
            "fetched: {} files of commit {} into {}",
            fetched.files.len(),
            fetched.commit,
            request.directory.display()
        ))?;
    }
    let held = hold(&fleet, &paths, &asked.described)?;
    if as_json {
        return say_json(&json!({"fetched": fetched, "held": held}));
    }
    tell(&held)
}

/// Holds all model files of a directory.
pub(super) fn add(config: Config, directory: &Path, asked: &Described, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    let files = outpost_control::model_files(directory)?;
    if files.is_empty() {
        bail!("no model file (`*.gguf`) lies in `{}`", directory.display());
    }
    let held = hold(&fleet, &files, asked)?;
    if as_json { say_json(&held) } else { tell(&held) }
}

/// Lists what is held.
pub(super) fn held(config: Config, as_json: bool) -> Result<()> {
    let held = open(config)?.held()?;
    if as_json { say_json(&held) } else { held.iter().try_for_each(show) }
}

/// Holds a file no longer.
pub(super) fn drop(config: Config, target: &str, as_json: bool) -> Result<()> {
    if !open(config)?.let_go(target)? {
        bail!("`{target}` is not held; `outpost-control catalogue held` lists what is");
    }
    if as_json {
        say_json(&json!({"dropped": target}))
    } else {
        say(format!("`{target}` is not held any more; the file stays"))
    }
}

fn hold(fleet: &Fleet, files: &[PathBuf], asked: &Described) -> Result<Vec<HeldModel>> {
    let model = asked.model.as_deref().map(str::parse::<ModelId>).transpose()?;
    let request = HoldRequest { model, licence: asked.licence.clone() };
    let who = on_record::who();
    let mut held = Vec::new();
    for file in files {
        let variant = describe(file, asked.inspector.as_deref())?;
        held.push(fleet.hold(variant, &request, &who)?);
    }
    Ok(held)
}

fn tell(held: &[HeldModel]) -> Result<()> {
    held.iter().try_for_each(show)?;
    match held.is_empty() {
        true => Ok(()),
        false => say("held; now: outpost-control catalogue release --keys DIR --held"),
    }
}

fn show(held: &HeldModel) -> Result<()> {
    let facts = &held.facts;
    let licence = if facts.model.licence.is_empty() { "no licence named" } else { &facts.model.licence };
    let from = facts.origin.as_ref().map_or_else(
        || held.path.display().to_string(),
        |origin| format!("{} {}", origin.source, origin.revision.chars().take(12).collect::<String>()),
    );
    say(format!("{:<40} {:>10}  {licence}  {from}", held.target.as_str(), size(facts.file_bytes)))
}

/// What `outpost model inspect FILE --json` says: as it lies beside the file (`FILE.json`), or asked now. The file is read by
/// that program alone: whoever made it may not mean well.
fn describe(file: &Path, inspector: Option<&Path>) -> Result<Variant> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".json");
    let beside = PathBuf::from(beside);
    if beside.exists() {
        let variant = described(&beside)?;
        return Ok(Variant { path: file.to_owned(), ..variant });
    }
    let program = inspector.map_or_else(next_to_us, Path::to_owned);
    let says = inspect(&program, file).with_context(|| {
        format!(
            "`{}` cannot describe `{}`; name the program with `--inspector`, or write `{}` with `outpost model inspect`",
            program.display(),
            file.display(),
            beside.display()
        )
    })?;
    let variant = super::catalogue::read_description(&says, "the description")?;
    Ok(Variant { path: file.to_owned(), ..variant })
}

/// The agent's program beside this one, or whichever the system finds.
fn next_to_us() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|us| Some(us.parent()?.join("outpost")));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("outpost"))
}

fn inspect(program: &Path, file: &Path) -> Result<Vec<u8>> {
    let file = std::path::absolute(file)?;
    let mut command = Command::new(program);
    command.arg("model").arg("inspect").arg(&file).arg("--json");
    // It needs nothing of ours: above all no token.
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (output, errors) = (child.stdout.take().context("no output")?, child.stderr.take().context("no errors")?);
    let reading = std::thread::spawn(move || take(output, DESCRIPTION_BYTES));
    let complaints = std::thread::spawn(move || take(errors, 4096));
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            bail!("it took longer than {} seconds", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let gone = |_| anyhow::anyhow!("its answer could not be read");
    let (says, complains) = (reading.join().map_err(gone)??, complaints.join().map_err(gone)??);
    if !status.success() {
        let words = outpost_control::clean(String::from_utf8_lossy(&complains).trim(), 400);
        bail!("it says: {words}");
    }
    Ok(says)
}

/// The first bytes of a stream; the rest is read and forgotten, so that whoever writes can end.
fn take(mut stream: impl Read, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.by_ref().take(most + 1).read_to_end(&mut bytes)?;
    std::io::copy(&mut stream, &mut std::io::sink())?;
    if bytes.len() as u64 > most {
        bail!("it says more than {most} bytes");
    }
    Ok(bytes)
}

/// How far a fetch is, on a terminal, in one line.
struct Line {
    is_shown: bool,
    shown: Option<Instant>,
}

impl Line {
    fn new(as_json: bool) -> Self {
        Self { is_shown: !as_json && std::io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, name: &str, done: u64, total: u64) {
        let is_due = done == total || self.shown.is_none_or(|shown| shown.elapsed() > Duration::from_millis(200));
        if self.is_shown && is_due {
            self.shown = Some(Instant::now());
            // Nothing is lost if it cannot be shown.
            let name = outpost_control::clean(name, 60);
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K{name} {} of {}", size(done), size(total));
        }
    }

    fn end(&self) {
        if self.is_shown && self.shown.is_some() {
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_says_too_much_describes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let program = |text: &str| {
            let path = dir.path().join("program");
            // Written by another process: a file that this one has open for writing, in whatever thread, cannot be started.
            let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 700 \"$2\"";
            assert!(Command::new("sh").args(["-c", write, "sh", text]).arg(&path).status().unwrap().success());
            path
        };
        let file = dir.path().join("-x.gguf");
        assert_eq!(inspect(&program("echo \"$1 $2 $4\""), &file).unwrap(), b"model inspect --json\n");
        let refusal = inspect(&program("echo no model >&2; exit 1"), &file).unwrap_err().to_string();
        assert_eq!(refusal, "it says: no model");
        let refusal = inspect(&program("yes | head -c 20000000"), &file).unwrap_err().to_string();
        assert!(refusal.contains("more than"), "{refusal}");
        let secret = inspect(&program("env | grep -c HF_TOKEN; true"), &file).unwrap();
        assert_eq!(secret, b"0\n");
        assert!(inspect(&dir.path().join("nothing"), &file).is_err());
    }
}
