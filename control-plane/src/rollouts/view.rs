//! A rollout as people and programs look at it.

use std::collections::BTreeMap;

use outpost_contract::DeviceId;
use outpost_rollout::{Device, End, Failure, Gate, Notice, Phase, State, Status, Stop, Wave};
use serde::Serialize;

use super::RolloutRequest;
use super::ledger::read;
use crate::db::StoredRollout;
use crate::fleet::{Fleet, FleetError};

/// Notices of a rollout that is shown alone.
const NOTICES: usize = 20;

/// Devices that failed of a rollout that is shown alone.
const FAILURES: usize = 20;

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RolloutView {
    /// Its name.
    pub name: String,
    /// Who wrote it.
    pub author: String,
    /// When it was started, seconds since 1970-01-01 UTC.
    pub created_s: i64,
    /// What changes, in words.
    pub change: String,
    /// `running`, `paused`, `rolling_back`; `completed`, `rolled_back`, `aborted` or `nobody_left` if it ended.
    pub state: String,
    /// It has not ended.
    pub is_active: bool,
    /// Why it stands still or went back.
    pub reason: Option<String>,
    /// The wave that waits for people's agreement, from 1.
    pub awaits_approval_of: Option<usize>,
    /// Goes up with every step that changed something.
    pub revision: i64,
    /// What was asked for.
    pub request: RolloutRequest,
    /// Its waves.
    pub waves: Vec<WaveView>,
    /// Devices that failed, the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<MemberView>,
    /// What happened last, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<NoticeView>,
}

/// A wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaveView {
    /// Its place, from 1.
    pub number: usize,
    /// What people call it.
    pub name: String,
    /// `waiting` for the wave before, `awaits_approval`, `open`, `soaking`, `passed`, or `failed` if the rollout stopped at it.
    pub state: &'static str,
    /// Its devices, those that left included.
    pub devices: u64,
    /// How many of them are how far, by the machine's names.
    pub counts: BTreeMap<String, u64>,
    /// How many people must agree.
    pub approvals_needed: u8,
    /// Who did.
    pub approved_by: Vec<String>,
    /// Seconds that it still has to do well.
    pub soaks_for_s: Option<u64>,
}

/// A device of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberView {
    /// The device.
    pub device: DeviceId,
    /// Its wave, from 1.
    pub wave: usize,
    /// How far it is.
    pub status: &'static str,
    /// Why it failed, or what rules it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NoticeView {
    /// Counts them within the rollout.
    pub number: i64,
    /// When, seconds since 1970-01-01 UTC.
    pub at_s: i64,
    /// What, in words.
    pub text: String,
    /// What, for machines.
    pub notice: Notice,
}

impl WaveView {
    /// How many devices are how far, in four words: done, under way, failed, waiting. Those that left are in none.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 4] {
        let count = |names: &[&str]| names.iter().filter_map(|name| self.counts.get(*name)).sum();
        [
            ("done", count(&["succeeded"])),
            ("under way", count(&["assigned", "rolling_back", "left_underway"])),
            ("failed", count(&["failed", "not_rolled_back"])),
            ("waiting", count(&["waiting", "untouched"])),
        ]
    }

    /// How many devices have what they had again.
    #[must_use]
    pub fn rolled_back(&self) -> u64 {
        self.counts.get("rolled_back").copied().unwrap_or(0)
    }
}

impl RolloutView {
    /// As it stands in a list.
    pub(super) fn short(fleet: &Fleet, row: StoredRollout) -> Result<Self, FleetError> {
        let state: State = read("rollout", &row.document)?;
        let mut counts: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
        for (wave, status, count) in fleet.inner.database.member_counts(&row.name)? {
            counts.entry(wave).or_default().insert(status, count);
        }
        let waves = (0..state.waves().len()).map(|at| wave(&state, at, counts.remove(&at).unwrap_or_default()));
        let request: RolloutRequest = read("rollout's request", &row.request)?;
        Ok(Self {
            author: state.spec().author.clone(),
            change: request.change(),
            state: row.state,
            is_active: row.is_active,
            reason: reason(&state),
            awaits_approval_of: super::awaited(&state).filter(|_| row.is_active).map(|at| at + 1),
            revision: row.revision,
            waves: waves.collect(),
            request,
            failures: Vec::new(),
            notices: Vec::new(),
            name: row.name,
            created_s: row.created_s,
        })
    }

    /// With what happened last and who failed.
    pub(super) fn whole(fleet: &Fleet, row: StoredRollout) -> Result<Self, FleetError> {
        let view = Self::short(fleet, row)?;
        let database = &fleet.inner.database;
        let mut failures = Vec::new();
        for status in ["failed", "not_rolled_back"] {
            for (device, document) in database.members_after(&view.name, Some(status), "", FAILURES)? {
                failures.push(MemberView::read(device, &document)?);
            }
        }
        let notices = database.notices(&view.name, NOTICES)?.into_iter().map(|stored| {
            let notice: Notice = read("notice", &stored.document)?;
            let text = words(&notice, &view.waves);
            Ok(NoticeView { number: stored.number, at_s: stored.at_s, text, notice })
        });
        let notices = notices.collect::<Result<_, FleetError>>()?;
        Ok(Self { failures, notices, ..view })
    }
}

impl MemberView {
    pub(super) fn read(device: DeviceId, document: &str) -> Result<Self, FleetError> {
        let of: Device = read("rollout's device", document)?;
        let reason = match &of.status {
            Status::Failed(failure) | Status::NotRolledBack(failure) => Some(why(*failure)),
            Status::Superseded { by } => Some(format!("now by {}", crate::inventory::words::clean(by, 80))),
            _ => None,
        };
        Ok(Self { device, wave: of.wave + 1, status: of.status.name(), reason })
    }
}

/// The state in one word.
pub(super) fn word(phase: &Phase) -> &'static str {
    match phase {
        Phase::Draft => "draft",
        Phase::Running => "running",
        Phase::Paused(_) => "paused",
        Phase::RollingBack(_) => "rolling_back",
        Phase::Ended(End::Completed) => "completed",
        Phase::Ended(End::NobodyLeft) => "nobody_left",
        Phase::Ended(End::Aborted) => "aborted",
        Phase::Ended(End::RolledBack(_)) => "rolled_back",
    }
}

fn wave(state: &State, at: usize, counts: BTreeMap<String, u64>) -> WaveView {
    let wave: &Wave = &state.waves()[at];
    let soaks_for_s = wave.good_since_s.filter(|_| !wave.passed && wave.opened_s.is_some());
    let soaks_for_s =
        soaks_for_s.map(|since_s| (since_s + u64::from(state.spec().soak_s)).saturating_sub(state.elapsed_s()));
    WaveView {
        number: at + 1,
        name: wave.name.clone(),
        state: match () {
            () if failed_at(state) == Some(at) => "failed",
            () if wave.passed => "passed",
            () if soaks_for_s.is_some() => "soaking",
            () if wave.opened_s.is_some() => "open",
            () if super::awaited(state) == Some(at) => "awaits_approval",
            () => "waiting",
        },
        devices: counts.values().sum(),
        counts,
        approvals_needed: wave.approval.as_ref().map_or(0, |approval| approval.people),
        approved_by: wave.approved_by.iter().cloned().collect(),
        soaks_for_s,
    }
}

/// The wave that a rollout stopped at, unless a person stopped it.
fn failed_at(state: &State) -> Option<usize> {
    match state.phase() {
        Phase::Paused(stop) | Phase::RollingBack(End::RolledBack(stop)) | Phase::Ended(End::RolledBack(stop)) => {
            match stop {
                Stop::GateFailed(at) | Stop::Errors(at) | Stop::NoEvidence(at) => Some(*at),
                Stop::Operator => None,
            }
        }
        _ => None,
    }
}

fn reason(state: &State) -> Option<String> {
    match state.phase() {
        Phase::Paused(stop) | Phase::RollingBack(End::RolledBack(stop)) | Phase::Ended(End::RolledBack(stop)) => {
            let name = |at: usize| state.waves().get(at).map_or("", |wave| wave.name.as_str()).to_owned();
            Some(halt(stop, name))
        }
        Phase::RollingBack(End::Aborted) | Phase::Ended(End::Aborted) => Some("a person ended it".to_owned()),
        Phase::Ended(End::NobodyLeft) => Some("something newer rules all of its devices".to_owned()),
        _ => None,
    }
}

fn halt(stop: &Stop, name: impl Fn(usize) -> String) -> String {
    match stop {
        Stop::Operator => "a person paused it".to_owned(),
        Stop::GateFailed(at) => format!("too few devices of wave {} (`{}`) do well", at + 1, name(*at)),
        Stop::Errors(at) => format!("too many devices of wave {} (`{}`) failed", at + 1, name(*at)),
        Stop::NoEvidence(at) => {
            format!("all devices of wave {} (`{}`) left: nothing speaks for going on", at + 1, name(*at))
        }
    }
}

/// Why a device failed, in words.
fn why(failure: Failure) -> String {
    match failure {
        Failure::Refused(code) => {
            let code = serde_json::to_value(code).ok();
            let code = code.as_ref().and_then(serde_json::Value::as_str).unwrap_or("a reason of its own").to_owned();
            format!("it refuses: {code}")
        }
        Failure::Gate(gate) => match gate {
            Gate::SelfTest => "its self-test did not pass",
            Gate::Speed => "it is too slow against before",
            Gate::Memory => "too little memory is left",
            Gate::Errors => "too many requests fail",
            Gate::Golden => "golden prompts are answered otherwise",
        }
        .to_owned(),
        Failure::TimedOut => "it did not say how it ended in time".to_owned(),
        Failure::NoWindow => "its maintenance window never opened".to_owned(),
    }
}

fn words(notice: &Notice, waves: &[WaveView]) -> String {
    let name = |at: usize| waves.get(at).map_or_else(String::new, |wave| wave.name.clone());
    match notice {
        Notice::Started => "started".to_owned(),
        Notice::ApprovalAwaited(at) => format!("wave {} (`{}`) waits for an approval", at + 1, name(*at)),
        Notice::WaveOpened(at) => format!("wave {} (`{}`) opened", at + 1, name(*at)),
        Notice::GatePassed(at) => format!("the gate of wave {} (`{}`) passed", at + 1, name(*at)),
        Notice::DeviceFailed(device, failure) => format!("{device} failed: {}", why(*failure)),
        Notice::DevicesLeft { count, first, by } => {
            let names = first.iter().map(|device| device.as_str()).collect::<Vec<_>>().join(", ");
            let more = match count.saturating_sub(first.len() as u64) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{names}{more} left: now by {}", crate::inventory::words::clean(by, 80))
        }
        Notice::Paused(stop) => format!("stands still: {}", halt(stop, name)),
        Notice::Resumed => "goes on".to_owned(),
        Notice::RollingBack(_) => "goes back".to_owned(),
        Notice::Ended(end) => format!("ended: {}", word(&Phase::Ended(end.clone())).replace('_', " ")),
    }
}
