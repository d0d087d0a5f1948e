//! `outpost-control audit …`: the mirrors of the devices' audit logs, and what is held against a log.

use anyhow::{Result, bail};
use outpost_control::{Config, MirrorSummary, OwnRecord};
use serde_json::json;

use super::{audit_desk, open, say, say_json};
use crate::args::{Audit, OwnAudit};

/// Runs the command.
pub(super) fn run(config: Config, command: Audit, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    match command {
        Audit::Ls => {
            let mirrors = fleet.audit_mirrors()?;
            if as_json {
                return say_json(&mirrors);
            }
            mirrors.iter().try_for_each(|mirror| say(line(mirror)))
        }
        Audit::Verify { device } => {
            let reports = fleet.verify_mirrors(&device.parse()?)?;
            if reports.is_empty() {
                bail!("no audit log of `{device}` is mirrored; `outpost-control audit ls` shows those that are");
            }
            let damaged = reports.iter().filter(|report| !report.is_ok()).count();
            if as_json {
                say_json(&reports)?;
            }
            for report in reports.iter().filter(|_| !as_json) {
                for problem in &report.problems {
                    say(format!("PROBLEM  {problem}"))?;
                }
                let verdict = if report.is_ok() { "verifies" } else { "does NOT verify" };
                say(format!("`{}` {verdict}: {} records, root {}", report.origin, report.records, report.root_hex))?;
            }
            if damaged > 0 { bail!("{damaged} of {} mirrors do not verify", reports.len()) } else { Ok(()) }
        }
        Audit::Search(search) => audit_desk::search(&fleet, search, as_json),
        Audit::Report(report) => audit_desk::report(&fleet, &report, as_json),
        Audit::Incidents { device, out } => audit_desk::incidents(&fleet, &device.parse()?, out.as_deref(), as_json),
        Audit::Own(OwnAudit::Export { directory }) => audit_desk::export_own(&fleet, &directory, as_json),
        Audit::Own(OwnAudit::Show { last }) => {
            let records = fleet.own_records(last)?;
            if as_json {
                return say_json(&records);
            }
            records.iter().try_for_each(|record| say(own_line(record)))
        }
        Audit::Own(OwnAudit::Verify) => {
            let report = fleet.verify_own_log()?;
            if as_json {
                say_json(&report)?;
                return if report.is_ok() { Ok(()) } else { bail!("`{}` does not verify", report.origin) };
            }
            for problem in &report.problems {
                say(format!("PROBLEM  {problem}"))?;
            }
            if !report.is_ok() {
                bail!("`{}` does not verify", report.origin);
            }
            say(format!("`{}` verifies: {} records, root {}", report.origin, report.records, report.root_hex))
        }
        Audit::Keys { policy: Some(device) } => {
            let policy = fleet.audit_policy(&device.parse()?)?;
            if as_json { say_json(&json!({"policy": policy})) } else { say(policy.trim_end()) }
        }
        Audit::Keys { policy: None } => {
            let (witness, mirror) = fleet.audit_keys();
            if as_json {
                return say_json(&json!({"witness": witness, "mirror": mirror}));
            }
            say(format!("witness {witness}\nmirror  {mirror}"))
        }
    }
}

/// One record on one line: who did what to what, and what came of it.
fn own_line(record: &OwnRecord) -> String {
    let part = |path: &str| record.leaf.pointer(path).and_then(serde_json::Value::as_str).unwrap_or("-").to_owned();
    let time = record.leaf.pointer("/t/wall_ms").and_then(serde_json::Value::as_i64);
    let time = time.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|time| format!("{time:.0}"));
    format!(
        "{:>6}  {}  {:<24} {:<16} {:<24} {:<6} {}",
        record.index,
        time.unwrap_or_default(),
        part("/detail/by"),
        part("/act"),
        part("/obj/model"),
        part("/dec/effect"),
        part("/res/err")
    )
}

/// One log on one line: how far it is mirrored, cosigned and reported, where it lies, what is held against it.
fn line(mirror: &MirrorSummary) -> String {
    let MirrorSummary { device, origin, directory, mirrored, cosigned, reported, incidents } = mirror;
    let reported = reported.map_or_else(|| "-".to_owned(), |reported| reported.to_string());
    let against = match incidents.last() {
        None => String::new(),
        Some(incident) => format!("  INCIDENTS {} (last: {}; --json has both heads)", incidents.len(), incident.kind),
    };
    format!(
        "{:<20} {origin:<40} mirrored {mirrored:>9}  cosigned {cosigned:>9}  reported {reported:>9}  {}{against}",
        device.as_str(),
        directory.display()
    )
}
