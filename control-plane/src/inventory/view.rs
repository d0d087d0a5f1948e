//! One device as API, command line and pages show it: nothing in it is longer than a page bears or steers a terminal.

use std::collections::{BTreeMap, BTreeSet};

use outpost_contract::{BuildReport, DeviceId, ModelId, TargetName};
use serde::{Deserialize, Serialize};

use super::drift::{Cause, Drift, causes};
use super::words::{clean, size};
use crate::db::{Assignment, DeviceSummary, Row, is_wait};

const PLAN_LINES: usize = 24;
const LINE_CHARACTERS: usize = 240;
const NAME_CHARACTERS: usize = 100;

/// A device's clock is called fast from so many seconds on: reports travel, and clocks are never equal.
const CLOCK_TOLERANCE_S: i64 = 120;

/// One device, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// The device.
    pub device: DeviceId,
    /// The site that it is at.
    pub site: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Groups that it is in, by name or by their selectors.
    pub groups: BTreeSet<String>,
    /// When it enrolled, seconds since 1970-01-01 UTC.
    pub enrolled_s: i64,
    /// The agent's version.
    pub agent: String,
    /// Connected now. Of a device that vanishes the broker says so by its will, 30 s after the connection ended; a connection
    /// that fell silent ends one and a half keep-alives (45 s) later.
    pub online: bool,
    /// Last heard of, seconds since 1970-01-01 UTC.
    pub seen_s: Option<i64>,
    /// When the last stick from it was taken in.
    pub stick_s: Option<i64>,
    /// What it is assigned.
    pub assignment: Option<Assignment>,
    /// Version of the newest desired state signed for it; 0 if none.
    pub desired_version: u64,
    /// Version of which all is in force, as it says.
    pub applied_version: u64,
    /// Policy bundle in force, as it says.
    pub policy_version: u64,
    /// What serves on it.
    pub runs: Option<Runs>,
    /// Which build of the agent runs, and the last one that was tried and given up; `None` from an agent that tells none.
    pub build: Option<BuildReport>,
    /// How far it is from what it should run.
    pub drift: Drift,
    /// The same in a sentence.
    pub words: String,
    /// Everything that it says against what it should run.
    pub reasons: Vec<Cause>,
    /// The newest thing that went wrong.
    pub last_error: Option<String>,
    /// When or upon what it tries again, as it says.
    pub next_retry: Option<String>,
    /// What it fetches, as a line.
    pub transfer: Option<String>,
    /// Its certificate.
    pub certificate: CertificateView,
    /// Its clock against this one.
    pub clock: ClockView,
    /// What its machine can give.
    pub machine: Option<Machine>,
    /// Its plan, a line per candidate.
    pub plan: Vec<String>,
    /// Messages that wait to be stored here.
    pub backlog: u64,
    /// Messages that were given up for good.
    pub dead_letters: u64,
    /// Answers given since its agent started.
    pub answered: u64,
    /// Requests refused since its agent started.
    pub refused: u64,
    /// Records in its audit log, as it says.
    pub audit_records: u64,
    /// The key that signs its audit log.
    pub audit_key: String,
}

/// What serves on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// The model.
    pub model: ModelId,
    /// The catalogue target.
    pub target: TargetName,
    /// Context in force, tokens.
    pub context_tokens: u32,
    /// Speed of the self-test, thousandths of a token per second.
    pub tokens_per_second_milli: u64,
}

/// A device's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// How it stands.
    pub state: CertificateState,
    /// When it ends, seconds since 1970-01-01 UTC; `None` for a device that enrolled before this was kept.
    pub not_after_s: Option<i64>,
    /// Whole days until then; negative after.
    pub days_left: Option<i64>,
}

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateState {
    /// It is not known when it ends.
    Unknown,
    /// It counts, and need not be renewed yet.
    Good,
    /// A third of its life is left: the device renews it about now.
    RenewalDue,
    /// The device should have renewed it.
    RenewalOverdue,
    /// It counts no longer.
    Expired,
}

/// A device's clock against this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ClockView {
    /// Nothing that it said shows it to be wrong. A report says when the machine was measured and not when it was written,
    /// so a slow clock cannot be seen.
    NotKnown,
    /// It measured at a time that had not come when the report arrived.
    Fast {
        /// By so many seconds at the least.
        by_s: i64,
    },
}

/// What a machine can give, as it was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// When, by the device's clock, seconds since 1970-01-01 UTC.
    pub measured_at_s: i64,
    /// The processor, as it names itself.
    pub cpu: String,
    /// Cores.
    pub cores: u32,
    /// Memory.
    pub memory_bytes: u64,
    /// Memory that could be had.
    pub available_bytes: u64,
    /// Free room where models are kept.
    pub disk_bytes: u64,
    /// Sequential read bandwidth of memory.
    pub memory_bytes_per_second: u64,
}

/// How a certificate stands at `now_s`. Devices renew when a third of its life is left, an eighth of that later at the latest.
pub(super) fn certificate(row: &Row, now_s: i64) -> CertificateView {
    let (Some(issued_s), Some(not_after_s)) = (row.certificate_issued_s, row.certificate_not_after_s) else {
        return CertificateView { state: CertificateState::Unknown, not_after_s: None, days_left: None };
    };
    let third_s = (not_after_s - issued_s).max(0) / 3;
    let state = match not_after_s - now_s {
        left_s if left_s <= 0 => CertificateState::Expired,
        left_s if left_s < third_s - third_s / 4 => CertificateState::RenewalOverdue,
        left_s if left_s <= third_s => CertificateState::RenewalDue,
        _ => CertificateState::Good,
    };
    CertificateView { state, not_after_s: Some(not_after_s), days_left: Some((not_after_s - now_s).div_euclid(86_400)) }
}

fn clock(row: &Row) -> ClockView {
    let said = row.said.as_ref();
    let ahead = said.and_then(|said| said.measured_at_s.map(|at_s| at_s.saturating_sub(said.received_s)));
    match ahead {
        Some(by_s) if by_s > CLOCK_TOLERANCE_S => ClockView::Fast { by_s },
        _ => ClockView::NotKnown,
    }
}

/// Its words, fit to be shown.
fn cleaned(mut build: BuildReport) -> BuildReport {
    if let Some(given_up) = &mut build.rolled_back {
        given_up.reason = clean(&given_up.reason, LINE_CHARACTERS);
    }
    build
}

impl DeviceView {
    pub(super) fn new(row: &Row, summary: DeviceSummary, groups: BTreeSet<String>, desired_s: i64, now_s: i64) -> Self {
        let reported = summary.reported.as_ref();
        let reasons = reported.map(causes).unwrap_or_default();
        let drift = Drift::of(row, &reasons, desired_s);
        let transfer = reported.and_then(|reported| reported.transfer.as_ref());
        let machine = reported.and_then(|reported| reported.measurements.as_ref()).map(|measured| Machine {
            measured_at_s: measured.measured_at_s,
            cpu: clean(&measured.cpu, NAME_CHARACTERS),
            cores: measured.cores,
            memory_bytes: measured.memory_total_bytes,
            available_bytes: measured.memory_available_bytes,
            disk_bytes: measured.disk_free_bytes,
            memory_bytes_per_second: measured.memory_read_bytes_per_second,
        });
        let plan = reported.map_or(&[][..], |reported| reported.plan.as_slice());
        let activity = reported.map(|reported| reported.activity.clone()).unwrap_or_default();
        Self {
            site: summary.site,
            labels: row.labels.clone(),
            groups,
            enrolled_s: summary.enrolled_s,
            agent: clean(&summary.agent, NAME_CHARACTERS),
            online: summary.online && summary.revoked_s.is_none(),
            seen_s: summary.seen_s,
            stick_s: summary.stick_s,
            assignment: summary.assignment,
            desired_version: summary.desired_version,
            applied_version: reported.map_or(0, |reported| reported.applied_version),
            policy_version: reported.map_or(0, |reported| reported.policy_version),
            runs: reported.and_then(|reported| reported.model.as_ref()).map(|model| Runs {
                model: model.model.clone(),
                target: model.target.clone(),
                context_tokens: model.context_tokens,
                tokens_per_second_milli: model.self_test_tokens_per_second_milli,
            }),
            build: reported.and_then(|reported| reported.build.clone()).map(cleaned),
            words: drift.words(now_s),
            drift,
            last_error: reasons.iter().find(|cause| !is_wait(cause.code)).map(|cause| cause.detail.clone()),
            next_retry: transfer
                .and_then(|transfer| transfer.waiting_for.as_deref())
                .or_else(|| reasons.iter().find(|cause| is_wait(cause.code)).map(|cause| cause.detail.as_str()))
                .map(|words| clean(words, LINE_CHARACTERS)),
            transfer: transfer.map(|transfer| clean(&format!("{} {transfer}", transfer.target), LINE_CHARACTERS)),
            reasons,
            certificate: certificate(row, now_s),
            clock: clock(row),
            machine,
            plan: plan.iter().take(PLAN_LINES).map(|line| clean(line, LINE_CHARACTERS)).collect(),
            backlog: reported.map_or(0, |reported| reported.link.backlog),
            dead_letters: reported.map_or(0, |reported| reported.link.dead_letters),
            answered: activity.answered,
            refused: activity.refused,
            audit_records: activity.audit_records,
            audit_key: summary.audit_key,
            device: summary.device,
        }
    }

    /// The device on one line of a list: where, connected, state, what it runs, certificate, why not further.
    #[must_use]
    pub fn line(&self, now_s: i64) -> String {
        let presence = match (self.online, self.seen_s) {
            (true, _) => "online".to_owned(),
            (false, Some(seen_s)) => format!("off {}", super::words::ago(now_s - seen_s)),
            (false, None) => "never".to_owned(),
        };
        let runs = self.runs.as_ref().map_or("nothing", |runs| runs.target.as_str());
        let mut notes = if self.drift == Drift::InStep { String::new() } else { self.words.clone() };
        let mut note = |words: String| {
            let separator = if notes.is_empty() { "" } else { "; " };
            notes.push_str(separator);
            notes.push_str(&words);
        };
        if let Some(transfer) = &self.transfer {
            note(transfer.clone());
        }
        if self.certificate.state >= CertificateState::RenewalOverdue {
            let days = self.certificate.days_left.unwrap_or(0);
            note(format!("its certificate should be renewed, {days} days are left"));
        }
        if let ClockView::Fast { by_s } = self.clock {
            note(format!("its clock is fast by {}", super::words::ago(by_s)));
        }
        if self.dead_letters > 0 {
            note(format!("ALARM: {} messages were given up", self.dead_letters));
        }
        let memory = self.machine.as_ref().map_or_else(|| "-".to_owned(), |machine| size(machine.memory_bytes));
        format!(
            "{:<20} {:<12} {presence:<10} {:<12} {memory:>9}  {runs:<36} {}/{} {notes}",
            self.device.as_str(),
            self.site.as_deref().unwrap_or("-"),
            self.drift.state(),
            self.applied_version,
            self.desired_version,
        )
        .trim_end()
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Said;

    #[test]
    fn a_certificate_is_due_at_a_third_of_its_life_and_overdue_when_the_last_of_a_fleet_should_have_renewed() {
        let row = |issued_s, not_after_s| Row {
            certificate_issued_s: Some(issued_s),
            certificate_not_after_s: Some(not_after_s),
            ..Row::default()
        };
        let year = row(0, 300 * 86_400);
        for (day, state) in [
            (0, CertificateState::Good),
            (199, CertificateState::Good),
            (200, CertificateState::RenewalDue),
            (213, CertificateState::RenewalDue),
            (226, CertificateState::RenewalOverdue),
            (300, CertificateState::Expired),
        ] {
            let view = certificate(&year, day * 86_400);
            assert_eq!((view.state, view.days_left), (state, Some(300 - day)), "day {day}");
        }
        assert_eq!(certificate(&Row::default(), 0).state, CertificateState::Unknown);
    }

    #[test]
    fn a_clock_is_fast_if_it_measured_in_the_future_and_otherwise_not_known() {
        let row = |at_s| Row {
            said: Some(Said { received_s: 1_000, measured_at_s: at_s, ..Said::default() }),
            ..Row::default()
        };
        assert_eq!(clock(&row(None)), ClockView::NotKnown);
        assert_eq!(clock(&row(Some(1_100))), ClockView::NotKnown);
        assert_eq!(clock(&row(Some(5_000))), ClockView::Fast { by_s: 4_000 });
        assert_eq!(clock(&row(Some(i64::MIN))), ClockView::NotKnown);
    }
}
