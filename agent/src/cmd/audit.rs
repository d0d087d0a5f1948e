//! `outpost audit …`: check the log, read it, hand it to an auditor; works while the agent runs, and on a copy.

mod report;
mod when;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use outpost_audit::export::{self, Exported, Format, Options};
use outpost_audit::reader::list;
use outpost_audit::verify::{self, Report, Subject, verify_any};
use outpost_audit::witness::{Policy, Vouched};
use outpost_audit::{Entry, Filter, Kind, Record, VerifierKey};
use outpost_disk::{Clock, Secret, StateLock};
use outpost_sync::Identity;
use serde_json::{Value, json};

use super::{Here, Outcome, content, say, say_json};
use crate::args::{Audit, Show};
use crate::client::NoAgent;
use crate::{keys, site_witness};

/// What is read of a key or a checkpoint file; larger ones are neither.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Runs the command.
pub(super) async fn run(here: &Here, command: Audit) -> Result<Outcome> {
    match command {
        Audit::Verify { path, key, checkpoints, policy, record } => {
            let policy = policy.as_deref().map(self::policy).transpose()?;
            let verifier_key = match (key, &policy) {
                (Some(key), _) => Some(verifier_key(&key)?),
                (None, Some(policy)) => the_log_of(policy, path.as_deref().unwrap_or(&here.state.audit()))?,
                (None, None) => None,
            };
            let checkpoints = checkpoints.iter().map(|path| read(path)).collect::<Result<_>>()?;
            check(here, path, &verify::Options { verifier_key, checkpoints, policy, record })
        }
        Audit::Show(show) => self::show(here, show),
        Audit::Export { directory, format, out, from, to, auditor_key } => {
            write_export(here, directory, format, &out, (from, to), auditor_key.as_deref()).await
        }
        Audit::Content { index, auditor_key } => content::show(here, index, auditor_key.as_deref()).await,
        Audit::Erase(order) => content::erase(here, order).await,
        Audit::Prune { dry_run, key } => content::prune(here, dry_run, key.as_deref()).await,
        Audit::Prove { index, directory, out, auditor_key } => {
            prove(here, index, directory, &out, auditor_key.as_deref()).await
        }
        Audit::WitnessKey => {
            let identity = Identity::load(&here.state.identity())?;
            let key = site_witness::key(&here.state, &identity)?.cosigner_key().to_string();
            if here.json {
                say_json(&json!({"witness": key}))?
            } else {
                say(key)?
            }
            Ok(Outcome::Done)
        }
        Audit::When { index, directory, policy } => when::tell(here, index, directory, policy.as_deref()),
        Audit::Report(report) => report::write(here, report).await,
    }
}

fn check(here: &Here, path: Option<PathBuf>, options: &verify::Options) -> Result<Outcome> {
    let path = path.unwrap_or_else(|| here.state.audit());
    let report = verify_any(&path, options).with_context(|| format!("cannot verify `{}`", path.display()))?;
    if here.json {
        say_json(&told(&report))?;
    } else {
        for problem in &report.problems {
            say(format!("PROBLEM  {problem}"))?;
        }
        say(verdict(&report))?;
        if let Some(Vouched { size, time_s }) = report.vouched {
            say(format!("the quorum of witnesses vouches for the first {size} records, since {}", when::utc(time_s)))?;
        }
    }
    Ok(if report.is_ok() { Outcome::Done } else { Outcome::ProblemFound })
}

fn told(report: &Report) -> Value {
    let problems: Vec<_> =
        report.problems.iter().map(|problem| json!({"index": problem.index, "what": problem.what})).collect();
    json!({
        "subject": report.subject,
        "origin": report.origin,
        "verifier_key": report.verifier_key,
        "first": report.first,
        "records": report.records,
        "root": report.root_hex,
        "signed_size": report.checkpoint_size,
        "checkpoints": report.checkpoints,
        "vouched": report.vouched,
        "problems": problems,
        "further_problems": report.further_problems,
    })
}

fn verdict(report: &Report) -> String {
    let name = match report.subject {
        Subject::Log => "the log",
        Subject::Tiles => "the tiles",
        Subject::Export => "the export",
        Subject::Proof => "the proof",
    };
    let verdict = match (report.is_ok(), &report.subject) {
        (true, Subject::Tiles) => "verify",
        (true, _) => "verifies",
        (false, Subject::Tiles) => "do NOT verify",
        (false, _) => "does NOT verify",
    };
    let Report { records, first, root_hex, origin, .. } = report;
    let what = match report.subject {
        Subject::Log | Subject::Tiles => format!("{records} records"),
        Subject::Export => format!("{records} records from {first} on"),
        Subject::Proof => format!("record {first}"),
    };
    format!("{name} {verdict}: {what}, root {root_hex}, log `{origin}`")
}

/// A key as it was given: itself, or a file that holds it.
fn verifier_key(given: &str) -> Result<VerifierKey> {
    line_of(given)?.parse().with_context(|| format!("`{given}` is neither a verifier key nor a file with one"))
}

/// A policy of witnesses.
fn policy(path: &Path) -> Result<Policy> {
    Policy::parse(read(path)?.as_bytes()).with_context(|| format!("`{}` is no policy", path.display()))
}

/// The key, by a policy, of what lies at `path`; none if the policy names no log. Of several logs the key beside says which.
fn the_log_of(policy: &Policy, path: &Path) -> Result<Option<VerifierKey>> {
    let [first, others @ ..] = policy.logs() else { return Ok(None) };
    if others.is_empty() {
        return Ok(Some(first.clone()));
    }
    let folder = if path.is_file() { path.parent().unwrap_or_else(|| Path::new(".")) } else { path };
    let beside = read(&folder.join("audit.vkey")).unwrap_or_default();
    let named = policy.logs().iter().find(|log| log.to_string() == beside.trim_end());
    let logs = policy.logs().len();
    named.cloned().map(Some).with_context(|| {
        format!("the policy names {logs} logs, and the `audit.vkey` beside `{}` is of none of them", path.display())
    })
}

/// A line as it was given: itself, or in a file.
fn line_of(given: &str) -> Result<String> {
    if Path::new(given).is_file() { read(Path::new(given)) } else { Ok(given.to_owned()) }
}

fn read(path: &Path) -> Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(text)
}

fn show(here: &Here, show: Show) -> Result<Outcome> {
    let Show { directory, last, first, from, to, since, before, kinds, who, model } = show;
    let directory = directory.unwrap_or_else(|| here.state.audit());
    let (count, newest_first) = first.map_or((last, true), |first| (first, false));
    // One more than is shown says whether there is another page.
    let limit = Some(count.saturating_add(1));
    let (since_ms, before_ms) = (since.map(|time| time.0), before.map(|time| time.0));
    let filter =
        Filter { from, until: to, since_ms, before_ms, kinds, who, model, limit, newest_first, ..Filter::default() };
    let mut entries = list(&directory, &filter).with_context(|| format!("cannot read `{}`", directory.display()))?;
    let has_more = entries.len() > count;
    entries.truncate(count);
    if has_more && let Some(end) = entries.last() {
        let next = match newest_first {
            true => format!("--to {} --last {count}", end.index),
            false => format!("--from {} --first {count}", end.index + 1),
        };
        // Talk, not data: nothing is lost with it.
        let _ = writeln!(std::io::stderr(), "there are more: add `{next}`");
    }
    if newest_first {
        entries.reverse();
    }
    if here.json {
        let leaves: Vec<Value> =
            entries.iter().map(|entry| serde_json::from_slice(&entry.bytes).unwrap_or_default()).collect();
        say_json(&leaves)?;
        return Ok(Outcome::Done);
    }
    for entry in &entries {
        say(line(entry))?;
    }
    Ok(Outcome::Done)
}

/// One record on one line; the JSON has the rest.
fn line(entry: &Entry) -> String {
    match entry.leaf() {
        Ok(leaf) => leaf.to_string(),
        Err(error) => format!("{:>8}  not readable: {error}", entry.index),
    }
}

async fn write_export(
    here: &Here,
    directory: Option<PathBuf>,
    format: Format,
    out: &Path,
    (from, to): (Option<u64>, Option<u64>),
    auditor_key: Option<&Path>,
) -> Result<Outcome> {
    let (directory, is_own) = log_directory(here, directory);
    let mut record = Record::new(Kind::AuditRead).act("export_audit").detail("format", format.name());
    record = from.into_iter().fold(record, |record, from| record.detail("from", from));
    record = to.into_iter().fold(record, |record, to| record.detail("to", to));
    let key = if is_own {
        put_on_record(here, record, auditor_key).await?;
        Some(keys::log_identity(&here.state)?.key)
    } else {
        None
    };
    if key.is_none() && format != Format::Tiles {
        // Talk, not data: the manifest says so too.
        let _ = writeln!(
            std::io::stderr(),
            "this is not the agent's own log: the manifest is not signed, and `verify` says so"
        );
    }
    let options = Options { from, to, key: key.as_ref(), tool: concat!("outpost ", env!("CARGO_PKG_VERSION")).into() };
    let exported = export::export(&directory, format, out, &options)
        .with_context(|| format!("cannot export `{}`", directory.display()))?;
    tell(here, &exported, out)
}

async fn prove(
    here: &Here,
    index: u64,
    directory: Option<PathBuf>,
    out: &Path,
    auditor_key: Option<&Path>,
) -> Result<Outcome> {
    let (directory, is_own) = log_directory(here, directory);
    if is_own {
        put_on_record(here, Record::new(Kind::AuditRead).act("prove_record").detail("index", index), auditor_key)
            .await?;
    }
    let proven = export::prove(&directory, index, out)
        .with_context(|| format!("cannot prove record {index} of `{}`", directory.display()))?;
    tell(here, &proven, out)
}

fn tell(here: &Here, exported: &Exported, out: &Path) -> Result<Outcome> {
    let Exported { origin, from, to, size, root } = exported;
    let root = hex::encode(root);
    if here.json {
        say_json(&json!({"origin": origin, "from": from, "to": to, "signed_size": size, "root": root, "out": out}))?;
    } else {
        let (count, out) = (to - from, out.display());
        say(format!("{count} records from {from} on in `{out}`, of {size} signed, root {root}, log `{origin}`"))?;
    }
    Ok(Outcome::Done)
}

/// The log to read, and whether it is the one of this state directory.
fn log_directory(here: &Here, given: Option<PathBuf>) -> (PathBuf, bool) {
    let own = here.state.audit();
    let is_own = given.as_ref().is_none_or(|given| {
        let same = |path: &Path| path.canonicalize().ok();
        same(given).is_some_and(|given| Some(given) == same(&own))
    });
    (given.unwrap_or(own), is_own)
}

/// What leaves the log is recorded first, or does not leave: by the running agent, which knows who asks and whether they
/// may, or in the log itself while none runs.
async fn put_on_record(here: &Here, record: Record, auditor_key: Option<&Path>) -> Result<()> {
    let secret = auditor_key.map(Secret::read).transpose()?;
    let token = secret.as_ref().map(|secret| std::str::from_utf8(secret.expose())).transpose();
    let token = token.context("the auditor's key is not text")?.map(str::trim);
    let is_key = |token: &str| !token.is_empty() && token.chars().all(|letter| letter.is_ascii_graphic());
    anyhow::ensure!(token.is_none_or(is_key), "the auditor's key file holds something else than a key");
    match here.client().get_text("/outpost/audit/checkpoint", token).await {
        Ok(_) => Ok(()),
        Err(error) if error.is::<NoAgent>() => {
            let log = here.state.audit();
            // A log is not made by asking for one.
            anyhow::ensure!(log.join("audit.db").is_file(), "`{}` holds no audit log yet", log.display());
            let lock = StateLock::acquire(here.state.root())
                .context("the act could not be recorded, so nothing is written")?;
            here.record_alone(&lock, &Clock::open(here.state.ledgers())?, record)
        }
        Err(error) => Err(error.context(
            "the running agent did not put the act on record, so nothing is written; `--auditor-key` says who asks (`outpost key create --role auditor`)",
        )),
    }
}
