//! What changes on a device and an operator wants to hear soon: compared with what was told before, so that each change is told
//! once, and not again after a restart.

use std::path::PathBuf;
use std::sync::Arc;

use outpost_audit::{AuditLog, CapacityMode, SpaceLevel};
use outpost_contract::{EventKind, Reason, ReasonCode};
use outpost_disk::{Clock, Ledger};
use outpost_policies::InForce;
use outpost_sync::Events;
use serde::{Deserialize, Serialize};

use crate::active::Active;

/// The ledger of what was told.
pub(crate) const LEDGER: &str = "noticed";

/// A disk has little room below a twentieth of it, and below this of a large one: a model of some size.
const LOW_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// A disk that fills and empties all day is told of no more often than this.
const DISK_EVERY_S: i64 = 6 * 3600;

/// Who sets the time by less is called a time server.
const STEP_MS: i64 = 5 * 60 * 1000;

/// Notices, and tells.
pub(crate) struct Noticing {
    pub(crate) events: Events,
    pub(crate) active: Arc<Active>,
    pub(crate) policies: InForce,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    /// Where models lie.
    pub(crate) store: PathBuf,
    pub(crate) ledger: Ledger<Told>,
    pub(crate) told: Told,
    /// The time and the time since the machine started, milliseconds, at the last look.
    pub(crate) before: Option<(i64, i64)>,
}

/// What an operator was told last.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    model: Option<String>,
    policy_version: Option<u64>,
    /// What becomes of records, in words.
    recorded: Option<String>,
    disk_low: bool,
    disk_low_at_s: Option<i64>,
    clock_in_doubt: bool,
    refused: Vec<Reason>,
}

/// A device at one moment.
#[derive(Debug, Clone)]
struct Seen<'a> {
    now_s: i64,
    /// None while nothing serves: at a start, for one.
    model: Option<String>,
    policy_version: u64,
    recorded: &'static str,
    /// Free, of how much; none if the disk cannot say.
    disk: Option<(u64, u64)>,
    /// Why the system's clock is not believed.
    doubt: Option<String>,
    /// By how much the clock was set since the last look, milliseconds.
    step_ms: i64,
    reasons: &'a [Reason],
}

impl Noticing {
    /// Compares and tells. Blocks for a few small reads, and for a small transaction where something changed.
    pub(crate) fn look(&mut self, reasons: &[Reason]) {
        let seen = self.see(reasons);
        let mut told = self.told.clone();
        for (kind, text) in told.changes(&seen) {
            if let Err(error) = self.events.say(kind, &text) {
                tracing::error!(%error, kind = kind.name(), "an event could not be queued; it is tried again");
                return;
            }
        }
        if told == self.told {
            return;
        }
        if let Err(error) = self.ledger.commit(&told) {
            tracing::warn!(%error, "what was told is not kept; the next start tells it again");
        }
        self.told = told;
    }

    fn see<'a>(&mut self, reasons: &'a [Reason]) -> Seen<'a> {
        let (now_ms, boot_ms) = (self.clock.now_ms(), self.clock.boot_us() / 1000);
        let passed = self.before.replace((now_ms, boot_ms));
        let step_ms = passed.map_or(0, |(wall, boot)| now_ms.saturating_sub(wall).saturating_sub(boot_ms - boot));
        let space = self.audit.space();
        let room = outpost_disk::space::room(&self.store);
        if let Err(error) = &room {
            tracing::debug!(%error, "the disk does not say what is free");
        }
        Seen {
            now_s: now_ms.div_euclid(1000),
            model: self.active.current().map(|loaded| {
                let card = &loaded.card;
                format!("`{}` {} ({})", card.model, card.variant, &card.sha256.to_hex()[..12])
            }),
            policy_version: self.policies.now().version(),
            recorded: recorded(space.level, space.mode),
            disk: room.ok().map(|room| (room.free_bytes, room.total_bytes)),
            doubt: doubt(&self.clock),
            step_ms,
            reasons,
        }
    }
}

impl Told {
    /// What is new, in words; afterwards it counts as told.
    fn changes(&mut self, seen: &Seen<'_>) -> Vec<(EventKind, String)> {
        let mut new = Vec::new();
        self.reasons(seen, &mut new);
        if seen.model.is_some() && seen.model != self.model {
            let now = seen.model.clone().unwrap_or_default();
            let before = self.model.as_ref().map_or_else(String::new, |before| format!("; before it {before} did"));
            new.push((EventKind::ModelSwitched, format!("{now} serves now{before}")));
            self.model.clone_from(&seen.model);
        }
        if let Some(before) = self.policy_version.replace(seen.policy_version).filter(|one| *one != seen.policy_version)
        {
            let text = format!("policy version {} is in force; before it {before} was", seen.policy_version);
            new.push((EventKind::PolicySwitched, text));
        }
        let before = self.recorded.replace(seen.recorded.to_owned());
        if before.is_some_and(|before| before != seen.recorded) {
            let text =
                format!("for want of room, or since there is room again, the audit log keeps: {}", seen.recorded);
            new.push((EventKind::AuditLevelChanged, text));
        }
        self.disk(seen, &mut new);
        self.clock(seen, &mut new);
        new
    }

    fn reasons(&mut self, seen: &Seen<'_>, new: &mut Vec<(EventKind, String)>) {
        for reason in seen.reasons.iter().filter(|reason| !self.refused.contains(reason)) {
            let kind = match reason.code {
                ReasonCode::SelfTestFailed => EventKind::SelfTestFailed,
                // They end by themselves, and reports tell of them.
                ReasonCode::Unavailable | ReasonCode::WindowClosed | ReasonCode::BudgetSpent | ReasonCode::SlowLink => {
                    continue;
                }
                _ => EventKind::Refused,
            };
            new.push((kind, format!("{}: {}", reason.subject, reason.detail)));
        }
        self.refused = seen.reasons.to_vec();
    }

    /// Low is told, and only half as much again ends it; soon after, it is not told once more unless it lasts.
    fn disk(&mut self, seen: &Seen<'_>, new: &mut Vec<(EventKind, String)>) {
        let Some((free, whole)) = seen.disk else { return };
        let low = LOW_BYTES.min(whole / 20);
        if self.disk_low {
            self.disk_low = free < low + low / 2;
            return;
        }
        // A clock that was set back is no reason to be silent for years.
        let is_soon = |at_s: i64| (at_s..at_s.saturating_add(DISK_EVERY_S)).contains(&seen.now_s);
        if free >= low || self.disk_low_at_s.is_some_and(is_soon) {
            return;
        }
        (self.disk_low, self.disk_low_at_s) = (true, Some(seen.now_s));
        let mib = |bytes: u64| bytes / (1024 * 1024);
        let text = format!(
            "{} MiB of {} MiB are free on the disk of the models: unpin a model (`outpost model ls`), set \
             `store.disk_budget_mib`, or free space",
            mib(free),
            mib(whole)
        );
        new.push((EventKind::DiskLow, text));
    }

    fn clock(&mut self, seen: &Seen<'_>, new: &mut Vec<(EventKind, String)>) {
        if seen.step_ms.abs() >= STEP_MS {
            let way = if seen.step_ms > 0 { "forward" } else { "back" };
            let minutes = seen.step_ms.unsigned_abs() / 60_000;
            let text = format!("the clock was set {way} by {} h {} min", minutes / 60, minutes % 60);
            new.push((EventKind::ClockSet, text));
        }
        match (&seen.doubt, self.clock_in_doubt) {
            (Some(doubt), false) => new.push((EventKind::ClockSet, doubt.clone())),
            (None, true) => new.push((EventKind::ClockSet, "the system's clock is believed again".to_owned())),
            (Some(_), true) | (None, false) => {}
        }
        self.clock_in_doubt = seen.doubt.is_some();
    }
}

/// Why the system's clock is not believed, in words; none if it is.
fn doubt(clock: &Clock) -> Option<String> {
    if clock.is_trusted() {
        return None;
    }
    // It is the system's word only where that is not below the floor.
    let days_ahead = clock.claimed_s().saturating_sub(clock.now_s()) / (24 * 3600);
    let how = if days_ahead > 0 {
        format!("is {days_ahead} days ahead of what can have passed")
    } else {
        "is behind what is known to have passed".to_owned()
    };
    Some(format!("the system's clock {how}: it is not believed, and time goes on as counted; set it"))
}

/// What becomes of records at this level.
fn recorded(level: SpaceLevel, mode: CapacityMode) -> &'static str {
    match (level, mode) {
        (SpaceLevel::Enough | SpaceLevel::Low, _) => "everything",
        (SpaceLevel::Scarce, _) => "records, but not what was asked and answered",
        (SpaceLevel::Critical, CapacityMode::Availability) => "counts of new requests, and all other records",
        (SpaceLevel::Critical, _) => "records, but no new requests are taken",
        (SpaceLevel::Exhausted, _) => "the ends of what began; nothing new is taken",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW_S: i64 = 1_796_126_400;
    const GIB: u64 = 1024 * 1024 * 1024;

    fn seen() -> Seen<'static> {
        Seen {
            now_s: NOW_S,
            model: None,
            policy_version: 1,
            recorded: "everything",
            disk: Some((20 * GIB, 30 * GIB)),
            doubt: None,
            step_ms: 0,
            reasons: &[],
        }
    }

    /// What is told of this, and what is known as told after a restart.
    fn tell(told: &mut Told, seen: &Seen<'_>) -> Vec<EventKind> {
        let kinds = told.changes(seen).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(told.changes(&Seen { step_ms: 0, ..seen.clone() }), [], "once");
        *told = serde_json::from_str(&serde_json::to_string(told).unwrap()).unwrap();
        kinds
    }

    #[test]
    fn a_model_a_policy_and_an_audit_level_are_told_when_they_change_and_not_after_a_restart() {
        let mut told = Told::default();
        assert_eq!(tell(&mut told, &seen()), [], "nothing has changed at a first start");
        let serving = Seen { model: Some("`a` Q4_0 (0a)".into()), ..seen() };
        assert_eq!(tell(&mut told, &serving), [EventKind::ModelSwitched]);
        assert_eq!(tell(&mut told, &seen()), [], "while it is loaded, no other serves");
        assert_eq!(tell(&mut told, &serving), []);
        let next = Seen { model: Some("`b` Q4_0 (0b)".into()), policy_version: 2, ..serving };
        let texts: Vec<_> = told.clone().changes(&next).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts,
            ["`b` Q4_0 (0b) serves now; before it `a` Q4_0 (0a) did", "policy version 2 is in force; before it 1 was"]
        );
        assert_eq!(tell(&mut told, &next), [EventKind::ModelSwitched, EventKind::PolicySwitched]);
        let scarce = Seen { recorded: recorded(SpaceLevel::Scarce, CapacityMode::Strict), ..next.clone() };
        assert_eq!(tell(&mut told, &scarce), [EventKind::AuditLevelChanged]);
        assert_eq!(tell(&mut told, &next), [EventKind::AuditLevelChanged]);
    }

    #[test]
    fn a_disk_at_the_edge_is_told_of_once_and_one_that_swings_seldom() {
        let mut told = Told::default();
        let disk = |mib: u64, now_s| Seen { disk: Some((mib * 1024 * 1024, 30 * GIB)), now_s, ..seen() };
        assert_eq!(tell(&mut told, &disk(1535, NOW_S)), [EventKind::DiskLow]);
        for mib in [1540, 2000, 1000, 2303] {
            assert_eq!(tell(&mut told, &disk(mib, NOW_S + 60)), [], "{mib}");
        }
        assert_eq!(tell(&mut told, &disk(2304, NOW_S + 120)), []);
        assert_eq!(tell(&mut told, &disk(100, NOW_S + 180)), [], "too soon");
        assert_eq!(tell(&mut told, &disk(100, NOW_S + DISK_EVERY_S)), [EventKind::DiskLow], "it lasts");
        assert_eq!(tell(&mut told, &disk(20_000, NOW_S + DISK_EVERY_S)), []);
        assert_eq!(tell(&mut told, &disk(100, NOW_S - 9_000_000)), [EventKind::DiskLow], "by a clock that went back");
    }

    #[test]
    fn what_is_refused_is_told_and_what_ends_by_itself_is_not() {
        let reason = |code, detail: &str| Reason { code, subject: "desired state".into(), detail: detail.into() };
        let mut told = Told::default();
        let all = [
            reason(ReasonCode::BadSignature, "signed by nobody"),
            reason(ReasonCode::Rollback, "4 after 5"),
            reason(ReasonCode::SelfTestFailed, "it says nothing; what served before serves again"),
            reason(ReasonCode::Unavailable, "no route"),
            reason(ReasonCode::WindowClosed, "at night"),
        ];
        let refused = Seen { reasons: &all, ..seen() };
        assert_eq!(tell(&mut told, &refused), [EventKind::Refused, EventKind::Refused, EventKind::SelfTestFailed]);
        assert_eq!(tell(&mut told, &seen()), []);
        assert_eq!(tell(&mut told, &Seen { reasons: &all[..1], ..seen() }), [EventKind::Refused], "it came again");
    }

    #[test]
    fn a_clock_that_was_set_or_is_not_believed_is_told_both_ways() {
        let clock = Clock::fixed(NOW_S);
        let mut told = Told::default();
        assert_eq!(doubt(&clock), None);
        for (step_ms, says) in [(-86_400_000, "is behind"), (86_400_000 * 3660, "days ahead of what can have passed")] {
            clock.step_ms(step_ms);
            let why = doubt(&clock).unwrap();
            assert!(why.contains(says), "{why}");
            assert_eq!(tell(&mut told, &Seen { doubt: Some(why), ..seen() }), [EventKind::ClockSet]);
            clock.step_ms(-step_ms);
            clock.advance(Duration::from_secs(1));
            assert_eq!(doubt(&clock), None);
            assert_eq!(tell(&mut told, &seen()), [EventKind::ClockSet]);
        }
        assert_eq!(tell(&mut told, &Seen { step_ms: STEP_MS - 1, ..seen() }), []);
        let text = told.changes(&Seen { step_ms: -3_660_000, ..seen() })[0].1.clone();
        assert_eq!(text, "the clock was set back by 1 h 1 min");
    }
}
