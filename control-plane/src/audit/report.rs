//! The compliance report: what the mirrors of all devices and the control plane's own log say, gathered for one page.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use outpost_audit::report::fleet::{self, Act, Device, Findings, Incident, Log};
use outpost_audit::{Leaf, export, reader, verify};
use outpost_selector::Selector;

use super::completeness::DeviceLogs;
use crate::files;
use crate::fleet::{Fleet, FleetError};
use crate::inventory::Page;

/// Devices that are read from the database at once.
const DEVICES: usize = 100;

/// Acts of administrators that are listed.
const ACTS: usize = 2000;

/// Incidents that are read.
const INCIDENTS: u32 = 10_000;

/// Sentences about what is missing; more are counted.
const REMARKS: usize = 200;

/// What a report is about, and how much work it may be.
#[derive(Debug, Clone, Copy)]
pub struct ReportRequest {
    /// Records from here on, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Records before here.
    pub before_ms: Option<i64>,
    /// Whether every mirror is verified, every record.
    pub verify: bool,
    /// Records that are read at most.
    pub most_records: u64,
    /// Time after which no further device is read.
    pub patience: Duration,
}

impl ReportRequest {
    /// A report that an answer over HTTP has the time for.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            since_ms: None,
            before_ms: None,
            verify: false,
            most_records: 200_000,
            patience: Duration::from_secs(15),
        }
    }
}

impl Fleet {
    /// The compliance report on the whole fleet, one HTML page that loads nothing.
    ///
    /// # Errors
    /// If the database or the control plane's own log cannot be read. A mirror that cannot is told in the report.
    pub fn fleet_report(&self, request: &ReportRequest) -> Result<String, FleetError> {
        let mut gathering = Gathering {
            fleet: self,
            request,
            began: Instant::now(),
            left: request.most_records,
            devices: Vec::new(),
            findings: Findings::default(),
            missing: Vec::new(),
            further: 0,
        };
        let mut after = None;
        loop {
            let Page { devices, next } = self.summaries(&Selector::all(), after.as_ref(), DEVICES)?;
            for device in &devices {
                gathering.take(&self.logs_of(device)?)?;
            }
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let Gathering { devices, findings, mut missing, further, .. } = gathering;
        if further > 0 {
            missing.push(format!("{further} more such gaps are not listed"));
        }
        if findings.unreadable > 0 {
            missing.push(format!("{} records that are here cannot be read", findings.unreadable));
        }
        let (acts, acts_left_out) = self.acts_of_administrators(request)?;
        let own = self.verify_own_log()?;
        let report = fleet::Fleet {
            name: self.inner.config.tenant.to_string(),
            made_ms: self.now_s().saturating_mul(1000),
            tool: concat!("outpost-control ", env!("CARGO_PKG_VERSION")).to_owned(),
            since_ms: request.since_ms,
            before_ms: request.before_ms,
            keys: self.audit_keys(),
            devices,
            incidents: self.all_incidents()?,
            findings,
            acts,
            acts_left_out,
            own_log: (own.origin, own.records, own.problems.iter().map(ToString::to_string).collect()),
            missing,
        };
        Ok(fleet::render(&report))
    }

    /// Writes that report to a file, readable by this user only, whole or not at all.
    ///
    /// # Errors
    /// As [`fleet_report`](Self::fleet_report), or if the file cannot be written.
    pub fn write_fleet_report(&self, request: &ReportRequest, target: &Path) -> Result<(), FleetError> {
        Ok(files::write_private(target, self.fleet_report(request)?.as_bytes())?)
    }

    fn all_incidents(&self) -> Result<Vec<Incident>, FleetError> {
        let mut incidents = Vec::new();
        for (number, evidence) in self.inner.audit.evidence_after(0, INCIDENTS)? {
            let stem = evidence.origin.rfind('/').map_or("", |at| &evidence.origin[..=at]);
            let device = self.inner.database.device_of_log(stem)?.unwrap_or_else(|| evidence.origin.clone());
            let found_ms = i64::try_from(evidence.found_s).unwrap_or(i64::MAX).saturating_mul(1000);
            let (kind, origin) = (evidence.suspicion.name().to_owned(), evidence.origin);
            incidents.push(Incident { number, device, origin, kind, found_ms });
        }
        Ok(incidents)
    }

    /// The newest acts in the range, oldest first, and how many there were before them.
    fn acts_of_administrators(&self, request: &ReportRequest) -> Result<(Vec<Act>, u64), FleetError> {
        let (mut acts, mut total) = (VecDeque::new(), 0_u64);
        reader::each(self.own_log_directory(), (0, u64::MAX), false, |index, bytes| {
            let Ok(leaf) = Leaf::parse(bytes) else { return true };
            let is_act = matches!(leaf.kind(), Some("admin.act" | "auth.fail"));
            let at_ms = leaf.wall_ms().unwrap_or_default();
            let is_in = request.since_ms.is_none_or(|since| at_ms >= since)
                && request.before_ms.is_none_or(|before| at_ms < before);
            if is_act && is_in {
                total += 1;
                if acts.len() == ACTS {
                    acts.pop_front();
                }
                let text = |path: &str| leaf.text(path).unwrap_or_default().to_owned();
                acts.push_back(Act {
                    index,
                    at_ms,
                    by: text("detail.by"),
                    means: text("who.auth"),
                    act: text("act"),
                    subject: text("obj.model"),
                    effect: text("dec.effect"),
                    error: text("res.err"),
                });
            }
            true
        })?;
        let left_out = total - acts.len() as u64;
        Ok((acts.into(), left_out))
    }

    /// Writes the control plane's own log to the new folder `target`, as tiles that any C2SP tool reads.
    ///
    /// # Errors
    /// If the log is damaged, or `target` exists or cannot be written.
    pub fn export_own_log(&self, target: &Path) -> Result<export::Exported, FleetError> {
        self.inner.people.own_log.take_in()?;
        let tool = concat!("outpost-control ", env!("CARGO_PKG_VERSION")).to_owned();
        let options = export::Options { tool, ..export::Options::default() };
        Ok(export::export(self.own_log_directory(), export::Format::Tiles, target, &options)?)
    }
}

/// A report in the making.
struct Gathering<'a> {
    fleet: &'a Fleet,
    request: &'a ReportRequest,
    began: Instant,
    /// Records that may still be read.
    left: u64,
    devices: Vec<Device>,
    findings: Findings,
    missing: Vec<String>,
    further: u64,
}

impl Gathering<'_> {
    fn take(&mut self, logs: &DeviceLogs) -> Result<(), FleetError> {
        let device = &logs.device;
        let mirrors = self.fleet.inner.audit.mirrors(device)?;
        let mut told = Device { name: device.to_string(), revoked: logs.revoked_s.is_some(), logs: Vec::new() };
        if logs.logs.is_empty() {
            self.remark(format!("no record of `{device}` has arrived"));
        }
        for state in &logs.logs {
            let Some((_, directory)) = mirrors.iter().find(|(number, _)| *number == state.number) else { continue };
            if let Some(missing) = state.missing.filter(|missing| *missing > 0) {
                self.remark(format!("{missing} records of `{device}` are still on the device"));
            }
            if state.first > 0 {
                let (last, origin) = (state.first - 1, &state.origin);
                self.remark(format!("records 0 to {last} of `{origin}` are gone past their retention"));
            }
            if state.cosigned < state.mirrored {
                let behind = state.mirrored - state.cosigned;
                self.remark(format!("the newest {behind} records of `{device}` are mirrored and not cosigned yet"));
            }
            told.logs.push(Log {
                origin: state.origin.clone(),
                first: state.first,
                mirrored: state.mirrored,
                cosigned: state.cosigned,
                reported: state.reported,
                made_ms: state.made_ms,
                checked: self.check(directory),
            });
            self.read(device.as_str(), &state.origin, directory);
        }
        self.devices.push(told);
        Ok(())
    }

    fn is_late(&self) -> bool {
        self.began.elapsed() >= self.request.patience
    }

    fn check(&mut self, directory: &Path) -> Option<Vec<String>> {
        if !self.request.verify || self.is_late() {
            return None;
        }
        Some(match verify::verify(directory) {
            Ok(report) => report.problems.iter().map(ToString::to_string).collect(),
            Err(error) => vec![error.to_string()],
        })
    }

    fn read(&mut self, device: &str, origin: &str, directory: &Path) {
        if self.left == 0 || self.is_late() {
            return self.remark(format!("the records of `{origin}` were not looked at: the report had its time"));
        }
        let range = (self.request.since_ms, self.request.before_ms);
        match self.findings.read(device, directory, range, self.left) {
            Ok(0) => {
                self.left = 0;
                self.remark(format!("`{origin}` was looked at in part: the report had its number of records"));
            }
            Ok(left) => self.left = left,
            Err(error) => self.remark(format!("the records of `{origin}` cannot be read: {error}")),
        }
    }

    fn remark(&mut self, words: String) {
        if self.missing.len() < REMARKS {
            self.missing.push(words);
        } else {
            self.further += 1;
        }
    }
}
