//! How far a device is from what it should run, and why; from what was signed for it and what it said last.

use outpost_contract::{ReasonCode, Reported};
use serde::{Deserialize, Serialize};

use super::words::{ago, clean};
use crate::db::{Row, is_wait};

/// Longest words of a device about one reason, characters.
const DETAIL_CHARACTERS: usize = 240;
const SUBJECT_CHARACTERS: usize = 128;

/// Reasons of a device that are shown.
const REASONS: usize = 16;

/// How far a device is from what it should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Drift {
    /// All that was signed for it is in force.
    InStep,
    /// It is connected and on its way.
    Pending {
        /// When what it should run was signed, seconds since 1970-01-01 UTC, if that is known.
        since_s: Option<i64>,
    },
    /// It is on its way and waits for what passes by itself: a window, a budget, a line.
    Waiting {
        /// In its own words.
        reasons: Vec<Cause>,
    },
    /// It refuses, or cannot.
    Refused {
        /// In its own words.
        reasons: Vec<Cause>,
    },
    /// It says that all is in force, and runs something else than it is assigned.
    Differs {
        /// What it is assigned.
        wanted: Option<String>,
        /// What it runs.
        runs: Option<String>,
    },
    /// It has what was never signed here: this database is older than the fleet.
    Ahead {
        /// The version that it says is in force.
        applied_version: u64,
    },
    /// It is out of reach, and was not in step when it was last heard of.
    Behind {
        /// Last heard of, seconds since 1970-01-01 UTC.
        offline_since_s: Option<i64>,
    },
    /// It enrolled, and never said a word since.
    NeverSeen,
    /// Nothing is assigned to it.
    NotAssigned,
    /// It is let in no longer.
    Revoked {
        /// Since when, seconds since 1970-01-01 UTC.
        since_s: i64,
    },
}

/// One reason, by a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// For machines.
    pub code: ReasonCode,
    /// What it is about.
    pub subject: String,
    /// For people: what is missing and the way out.
    pub detail: String,
}

/// What a device says against what it should run, fit to be shown.
pub(super) fn causes(reported: &Reported) -> Vec<Cause> {
    let cause = |reason: &outpost_contract::Reason| Cause {
        code: reason.code,
        subject: clean(&reason.subject, SUBJECT_CHARACTERS),
        detail: clean(&reason.detail, DETAIL_CHARACTERS),
    };
    reported.reasons.iter().take(REASONS).map(cause).collect()
}

impl Drift {
    /// Judges a device. Its `causes` may be left out where only the state is of interest.
    pub(crate) fn of(row: &Row, causes: &[Cause], desired_s: i64) -> Self {
        if let Some(since_s) = row.revoked_s {
            return Self::Revoked { since_s };
        }
        if !row.is_assigned {
            return Self::NotAssigned;
        }
        let Some(said) = &row.said else {
            return match (row.online, row.seen_s) {
                (true, _) => Self::Pending { since_s: row.desired_not_after_s.map(|end_s| end_s - desired_s) },
                (false, None) => Self::NeverSeen,
                (false, seen_s) => Self::Behind { offline_since_s: seen_s },
            };
        };
        if said.applied_version > row.desired_version {
            return Self::Ahead { applied_version: said.applied_version };
        }
        let reasons = |waits: bool| causes.iter().filter(|cause| is_wait(cause.code) == waits).cloned().collect();
        let is_applied = said.applied_version == row.desired_version;
        // A refusal of something older says nothing about what is wanted now.
        if said.refusals > 0 && (is_applied || said.desired_version >= row.desired_version) {
            return Self::Refused { reasons: reasons(false) };
        }
        if is_applied {
            let (wanted, runs) = (row.wanted.clone(), said.model.clone());
            return if wanted == runs { Self::InStep } else { Self::Differs { wanted, runs } };
        }
        if !row.online {
            return Self::Behind { offline_since_s: row.seen_s };
        }
        if said.waits > 0 {
            return Self::Waiting { reasons: reasons(true) };
        }
        Self::Pending { since_s: row.desired_not_after_s.map(|end_s| end_s - desired_s) }
    }

    /// Its name, as selectors and pages have it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::InStep => "in-step",
            Self::Pending { .. } => "pending",
            Self::Waiting { .. } => "waiting",
            Self::Refused { .. } => "refused",
            Self::Differs { .. } => "differs",
            Self::Ahead { .. } => "ahead",
            Self::Behind { .. } => "behind",
            Self::NeverSeen => "never-seen",
            Self::NotAssigned => "not-assigned",
            Self::Revoked { .. } => "revoked",
        }
    }

    /// True if something should be different from what it is.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        !matches!(self, Self::InStep | Self::NotAssigned | Self::Revoked { .. })
    }

    /// In one sentence.
    #[must_use]
    pub fn words(&self, now_s: i64) -> String {
        let said = |reasons: &[Cause]| reasons.iter().map(|one| one.detail.as_str()).collect::<Vec<_>>().join("; ");
        let name = |model: &Option<String>| model.clone().unwrap_or_else(|| "nothing".to_owned());
        match self {
            Self::InStep => "in step".to_owned(),
            Self::Pending { since_s: Some(since_s) } => format!("on its way for {}", ago(now_s - since_s)),
            Self::Pending { since_s: None } => "on its way".to_owned(),
            Self::Waiting { reasons } => format!("waits: {}", said(reasons)),
            Self::Refused { reasons } => said(reasons),
            Self::Differs { wanted, runs } => format!("should run {}, runs {}", name(wanted), name(runs)),
            Self::Ahead { applied_version } => {
                format!("has desired state {applied_version}, newer than any signed here")
            }
            Self::Behind { offline_since_s: Some(at_s) } => {
                format!("not in step, out of reach for {}", ago(now_s - at_s))
            }
            Self::Behind { offline_since_s: None } | Self::NeverSeen => "never heard of since it enrolled".to_owned(),
            Self::NotAssigned => "nothing is assigned".to_owned(),
            Self::Revoked { .. } => "revoked".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Said;

    fn row() -> Row {
        let said = Said { desired_version: 4, applied_version: 4, model: Some("m".into()), ..Said::default() };
        Row {
            desired_version: 4,
            is_assigned: true,
            wanted: Some("m".into()),
            online: true,
            seen_s: Some(900),
            desired_not_after_s: Some(1_000),
            said: Some(said),
            ..Row::default()
        }
    }

    fn said(change: impl FnOnce(&mut Said)) -> Row {
        let mut row = row();
        change(row.said.as_mut().unwrap());
        row
    }

    #[test]
    fn each_state_follows_from_what_was_signed_and_what_was_said() {
        let behind = |change: fn(&mut Row)| {
            let mut row = said(|said| said.applied_version = 3);
            change(&mut row);
            row
        };
        for (row, state) in [
            (row(), "in-step"),
            (Row { online: false, ..row() }, "in-step"),
            (Row { revoked_s: Some(1), ..row() }, "revoked"),
            (Row { is_assigned: false, ..row() }, "not-assigned"),
            (Row { said: None, online: false, seen_s: None, ..row() }, "never-seen"),
            (Row { said: None, online: false, ..row() }, "behind"),
            (Row { said: None, ..row() }, "pending"),
            (Row { wanted: Some("other".into()), ..row() }, "differs"),
            (Row { wanted: None, ..row() }, "differs"),
            (Row { desired_version: 3, ..row() }, "ahead"),
            (behind(|_| {}), "pending"),
            (behind(|row| row.online = false), "behind"),
            (said(|said| (said.applied_version, said.refusals) = (3, 1)), "refused"),
            // The refusal is of version 3; nothing is known of version 4 yet.
            (said(|said| (said.applied_version, said.desired_version, said.refusals) = (2, 3, 1)), "pending"),
            (said(|said| (said.applied_version, said.waits) = (3, 1)), "waiting"),
            (said(|said| said.refusals = 1), "refused"),
        ] {
            let drift = Drift::of(&row, &[], 30);
            assert_eq!(drift.state(), state, "{row:?}");
            assert!(outpost_selector::STATES.contains(&state));
            let json = serde_json::to_value(&drift).unwrap();
            assert_eq!(json["state"], state, "the API and selectors have one name for it");
        }
        assert_eq!(Drift::of(&behind(|_| {}), &[], 30), Drift::Pending { since_s: Some(970) });
    }

    #[test]
    fn the_devices_own_numbers_are_the_reason() {
        let cause = Cause {
            code: ReasonCode::DoesNotFit,
            subject: "m".into(),
            detail: "needs 2.6 GiB, 1.9 GiB available".into(),
        };
        let wait = Cause { code: ReasonCode::WindowClosed, detail: "22:00".into(), ..cause.clone() };
        let row = said(|said| (said.applied_version, said.refusals, said.waits) = (3, 1, 1));
        let drift = Drift::of(&row, &[wait, cause.clone()], 30);
        assert_eq!(drift, Drift::Refused { reasons: vec![cause] });
        assert_eq!(drift.words(0), "needs 2.6 GiB, 1.9 GiB available");
    }
}
