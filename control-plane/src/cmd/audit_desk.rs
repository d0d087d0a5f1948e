//! `outpost-control audit search|report|incidents` and `audit self export`: what an auditor takes home.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use outpost_audit::report;
use outpost_contract::DeviceId;
use outpost_control::{Clock, Fleet, ReportRequest, SearchRequest, clean};
use serde_json::json;

use super::{say, say_json};
use crate::args::{Report, Search};

/// Longest line of a record, characters.
const LINE: usize = 500;

/// A report is written to the end, however long that takes: a day.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs `search`.
pub(super) fn search(fleet: &Fleet, search: Search, as_json: bool) -> Result<()> {
    let device = search.device.map(|device| device.parse()).transpose()?;
    let Search { who, act, effect, since, before, limit, after, .. } = search;
    let request =
        SearchRequest { device, who, act, effect, since_ms: since, before_ms: before, limit: Some(limit), after };
    let found = fleet.search_records(&request)?;
    if as_json {
        return say_json(&found);
    }
    found
        .hits
        .iter()
        .try_for_each(|hit| say(format!("{:<20} {:>3} {}", hit.device.as_str(), hit.log, clean(&hit.line, LINE))))?;
    let mut talk = std::io::stderr().lock();
    for remark in &found.not_looked {
        writeln!(talk, "not looked at: {remark}").context("cannot write to standard error")?;
    }
    if let Some(next) = found.next {
        writeln!(talk, "go on with: --after {next}").context("cannot write to standard error")?;
    }
    Ok(())
}

/// Runs `report`.
pub(super) fn report(fleet: &Fleet, command: &Report, as_json: bool) -> Result<()> {
    let Report { device, out, since, before, verify, .. } = command;
    let Some(device) = device else {
        let (most_records, patience) = (u64::MAX, PATIENCE);
        let (since_ms, before_ms) = (*since, *before);
        let request = ReportRequest { since_ms, before_ms, verify: *verify, most_records, patience };
        fleet.write_fleet_report(&request, out)?;
        let shown = out.display();
        return if as_json {
            say_json(&json!({"out": out}))
        } else {
            say(format!("the fleet's report is in `{shown}`"))
        };
    };
    let device: DeviceId = device.parse()?;
    let mirrors = fleet.audit_mirrors()?;
    let Some(mirror) = mirrors.iter().rfind(|mirror| mirror.device == device) else {
        bail!("no audit log of `{device}` is mirrored; `outpost-control audit ls` shows those that are");
    };
    let (witness, mirror_key) = fleet.audit_keys();
    let options = report::Options {
        since_ms: *since,
        before_ms: *before,
        witnesses: [witness, mirror_key].iter().filter_map(|key| key.parse().ok()).collect(),
        made_ms: Clock::system().now_s().saturating_mul(1000),
        tool: concat!("outpost-control ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..report::Options::default()
    };
    let reported = report::report(&mirror.directory, out, &options)?;
    if as_json {
        say_json(&json!({"out": out, "records": reported.records, "verifies": reported.is_good}))?;
    } else {
        say(format!("{} records told in `{}`", reported.records, out.display()))?;
    }
    if reported.is_good { Ok(()) } else { bail!("the log of `{device}` does NOT verify, and the page says so first") }
}

/// Runs `incidents`.
pub(super) fn incidents(fleet: &Fleet, device: &DeviceId, out: Option<&Path>, as_json: bool) -> Result<()> {
    let incidents = fleet.incidents(device)?;
    if let Some(out) = out {
        for incident in &incidents {
            incident.write_into(out)?;
        }
    }
    if as_json {
        return say_json(&incidents);
    }
    incidents.iter().try_for_each(|incident| {
        let found = i64::try_from(incident.found_s).ok().and_then(|found_s| jiff::Timestamp::from_second(found_s).ok());
        let found = found.map_or_else(String::new, |found| found.to_string());
        let verdict = if incident.convicts { "the two notes alone convict the log" } else { "no proof was shown" };
        say(format!("{:>6}  {found}  {:<9} {:<40} {verdict}", incident.number, incident.kind, incident.origin))
    })
}

/// Runs `self export`.
pub(super) fn export_own(fleet: &Fleet, directory: &Path, as_json: bool) -> Result<()> {
    let exported = fleet.export_own_log(directory)?;
    let root = hex::encode(exported.root);
    if as_json {
        return say_json(&json!({"origin": exported.origin, "records": exported.size, "root": root, "out": directory}));
    }
    let (records, shown) = (exported.size, directory.display());
    say(format!("{records} records of `{}`, root {root}, are in `{shown}`", exported.origin))
}
