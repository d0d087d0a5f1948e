//! `outpost audit report`: the log as one page for people.

use anyhow::{Context, Result};
use outpost_audit::cosignature::CosignerKey;
use outpost_audit::report::{Options, report};
use outpost_audit::{Kind, Record, verify};
use outpost_disk::Clock;
use serde_json::json;

use super::{Here, Outcome, line_of, log_directory, put_on_record, say, say_json, verifier_key};
use crate::args::Report;

/// Records that the log is read, and writes the page. A log that does not verify gets its page, too.
pub(super) async fn write(here: &Here, report_on: Report) -> Result<Outcome> {
    let Report { directory, out, since, before, key, witnesses, auditor_key } = report_on;
    let verifier_key = key.as_deref().map(verifier_key).transpose()?;
    let witnesses = witnesses.iter().map(|given| witness_key(given)).collect::<Result<_>>()?;
    let (directory, is_own) = log_directory(here, directory);
    if is_own {
        let mut record = Record::new(Kind::AuditRead).act("report_audit");
        record = since.into_iter().fold(record, |record, since| record.detail("since", since.to_string()));
        record = before.into_iter().fold(record, |record, before| record.detail("before", before.to_string()));
        put_on_record(here, record, auditor_key.as_deref()).await?;
    }
    let options = Options {
        since_ms: since.map(|time| time.0),
        before_ms: before.map(|time| time.0),
        verify: verify::Options { verifier_key, ..verify::Options::default() },
        witnesses,
        made_ms: Clock::system().now_ms(),
        tool: concat!("outpost ", env!("CARGO_PKG_VERSION")).into(),
    };
    let reported = report(&directory, &out, &options)
        .with_context(|| format!("cannot report on `{}` in `{}`", directory.display(), out.display()))?;
    let (records, is_good) = (reported.records, reported.is_good);
    if here.json {
        let root = &reported.verified.root_hex;
        say_json(&json!({"records": records, "verifies": is_good, "root": root, "out": out}))?;
    } else {
        let verdict = if is_good { "verifies" } else { "does NOT verify, and the page says so first" };
        say(format!("{records} records told in `{}`; the log {verdict}", out.display()))?;
    }
    Ok(if is_good { Outcome::Done } else { Outcome::ProblemFound })
}

/// A witness's key as it was given: itself, or a file that holds it.
fn witness_key(given: &str) -> Result<CosignerKey> {
    line_of(given)?.parse().with_context(|| format!("`{given}` is neither a witness's key nor a file with one"))
}
