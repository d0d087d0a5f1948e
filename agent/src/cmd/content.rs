//! `outpost audit content|erase|prune`: sealed content, read, destroyed for one subject, destroyed past its time. The running
//! agent does it, which knows who asks and whether they may; while none runs, it is done in the log itself.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use outpost_audit::pseudonym::is_pseudonym;
use outpost_audit::vault::PrunePlan;
use outpost_audit::{AuditLog, BootInfo, EndedLogs, EraseOrder, Kind, LogOptions, Record, Retention, Who};
use outpost_disk::{Clock, Secret, StateLock};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json};
use crate::args::Erase;
use crate::client::NoAgent;
use crate::config::Config;
use crate::keys;

/// Most bytes of a subject on standard input.
const SUBJECT_BYTES: u64 = 4096;

/// Shows what was sealed with one record.
pub(super) async fn show(here: &Here, index: u64, key: Option<&Path>) -> Result<Outcome> {
    let answer = match ask(here, "GET", &format!("/outpost/audit/content/{index}"), None, key).await? {
        Some(answer) => answer,
        None => alone(here, |log| {
            let content = log.content(index).with_context(|| format!("record {index} cannot be read"))?;
            let record = Record::new(Kind::AuditRead).act("read_content").detail("record", index);
            log.append(record).wait().context("the act could not be recorded, so nothing is shown")?;
            Ok(json!({ "record": index, "asked": told(content.input), "answered": told(content.output) }))
        })?,
    };
    say_json(&answer)?;
    Ok(Outcome::Done)
}

/// Destroys what was kept of one subject. Its name becomes a pseudonym here and goes nowhere else.
pub(super) async fn erase(here: &Here, order: Erase) -> Result<Outcome> {
    let Erase { subject, basis, approver, key } = order;
    let subject = if subject == "-" { read_line()? } else { subject };
    let name = subject;
    let subject = pseudonym(here, &name)?;
    ensure!(!basis.contains(&name), "the basis is recorded for good, so it must not say who the subject is");
    let approver = approver.map(|approver| pseudonym(here, &approver)).transpose()?;
    let body = json!({ "subject": subject, "basis": basis, "approver": approver });
    let answer = match ask(here, "POST", "/outpost/audit/erase", Some(&body), key.as_deref()).await? {
        Some(answer) => answer,
        None => alone(here, |log| {
            let approver = Who { kind: "local".to_owned(), id: approver.unwrap_or_default(), ..Who::default() };
            let erased = log.erase(&EraseOrder { subject, basis, approver }).context("nothing was erased for sure")?;
            Ok(json!({
                "record": erased.index,
                "keys": erased.keys.len(),
                "ciphertexts": erased.ciphertexts,
                "bytes": erased.bytes,
                "journal_truncated": erased.journal_truncated,
            }))
        })?,
    };
    let line = match answer["keys"].as_u64() {
        Some(0) => format!("nothing was kept of this subject; record {} says that it was asked for", answer["record"]),
        _ => format!(
            "{} prompts and answers of this subject, {} bytes, are destroyed with their keys; record {} says so",
            answer["ciphertexts"], answer["bytes"], answer["record"]
        ),
    };
    tell(here, &answer, line)
}

/// Destroys what is past its time, or says what that would be.
pub(super) async fn prune(here: &Here, dry_run: bool, key: Option<&Path>) -> Result<Outcome> {
    let body = json!({ "dry_run": dry_run });
    let answer = match ask(here, "POST", "/outpost/audit/prune", Some(&body), key).await? {
        Some(answer) => answer,
        None => {
            let content_days = Config::load_or_create(&here.state.config())?.audit.content_days;
            let retention = Retention { content_days };
            alone(here, |log| {
                if dry_run {
                    return Ok(pruned(&log.prune_plan(retention).context("the vault cannot be read")?, None));
                }
                let who = Who { kind: "local".to_owned(), ..Who::default() };
                let done = log.prune(retention, who).context("nothing was pruned for sure")?;
                Ok(pruned(&done.plan, done.index))
            })?
        }
    };
    let (verb, ciphertexts) = (if dry_run { "would be destroyed" } else { "are destroyed" }, &answer["ciphertexts"]);
    let line = match answer["keys"].as_u64() {
        Some(0) => "nothing is past its time".to_owned(),
        _ => format!("{ciphertexts} prompts and answers of {} {verb}", months(&answer["months"])),
    };
    tell(here, &answer, line)
}

fn months(list: &Value) -> String {
    let months: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    months.join(", ")
}

fn pruned(plan: &PrunePlan, record: Option<u64>) -> Value {
    json!({
        "months": plan.months,
        "keys": plan.keys.len(),
        "ciphertexts": plan.ciphertexts,
        "bytes": plan.bytes,
        "record": record,
    })
}

/// As it was sealed, which is JSON; what was cut is none any more, and told as text.
fn told(side: Option<Vec<u8>>) -> Value {
    let Some(bytes) = side else { return Value::Null };
    serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)))
}

fn tell(here: &Here, answer: &Value, line: String) -> Result<Outcome> {
    if here.json {
        say_json(answer)?;
    } else {
        say(line)?;
    }
    Ok(Outcome::Done)
}

/// A subject's name that is not to be in the shell's history.
fn read_line() -> Result<String> {
    use std::io::Read;
    let mut line = String::new();
    let input = std::io::stdin().lock();
    input.take(SUBJECT_BYTES).read_line(&mut line).context("cannot read standard input")?;
    Ok(line.trim().to_owned())
}

/// The pseudonym of a name as policies know it, or one that was given as it is.
fn pseudonym(here: &Here, who: &str) -> Result<String> {
    if who.starts_with("p:") {
        ensure!(
            is_pseudonym(who),
            "`{who}` is no pseudonym: it has 32 hexadecimal digits, as `outpost audit show --json` shows it"
        );
        return Ok(who.to_owned());
    }
    if who.is_empty() {
        bail!("name a subject: `ISSUER|SUBJECT` of a token, `key:ID`, `uid:NUMBER`, or a pseudonym");
    }
    Ok(keys::pseudonyms(&here.state)?.of(who))
}

/// Asks the running agent, as whoever holds the key, or as this account; nothing if none runs.
async fn ask(here: &Here, method: &str, path: &str, body: Option<&Value>, key: Option<&Path>) -> Result<Option<Value>> {
    let secret = key.map(Secret::read).transpose()?;
    let token = secret.as_ref().map(|secret| std::str::from_utf8(secret.expose())).transpose();
    let token = token.context("the key is not text")?.map(str::trim);
    match here.client().request_as(method, path, body, token).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is::<NoAgent>() => Ok(None),
        Err(error) => Err(error.context("the running agent did not do it; a key file says who asks")),
    }
}

/// The log with what is sealed beside it, while nobody else can be writing it.
fn alone<T>(here: &Here, doing: impl FnOnce(&AuditLog) -> Result<T>) -> Result<T> {
    let directory = here.state.audit();
    // A log is not made by asking for one.
    ensure!(directory.join("audit.db").is_file(), "`{}` holds no audit log yet", directory.display());
    let _lock = StateLock::acquire(here.state.root()).context("the log is in use, so nothing is done")?;
    let clock = Clock::open(here.state.ledgers())?;
    let info = BootInfo { agent: env!("CARGO_PKG_VERSION").into(), device: "command-line".into(), clock };
    let identity = keys::log_identity(&here.state)?;
    let ended = EndedLogs { logs: here.state.ended_audit(), vaults: here.state.ended_vault() };
    let options = LogOptions { vault: Some(here.state.vault()), ended: Some(ended), ..LogOptions::default() };
    let opened = AuditLog::open_with(&directory, identity, info, &options);
    let (log, _) = opened.context("the audit log cannot be opened")?;
    let done = doing(&log);
    log.shutdown("command done").context("the audit log cannot be closed")?;
    done
}
