//! How much: what each role may use, and what a caller with several roles may.
//!
//! Of several roles the most restrictive counts, field by field, among those that say something about the field:
//!
//! | field | of several roles |
//! |---|---|
//! | `max_tokens_per_request`, `requests_per_minute`, `tokens_per_day`, `concurrent`, `context_tokens` | the smallest |
//! | `models` | what all of them name; `*` names every model |
//! | `hours` | the minutes that all of them allow |
//! | `store_responses` | yes only if none that says something says no; no if none says anything |
//! | `priority` | the lowest: `batch` before `normal` before `interactive`; `normal` if none says anything |
//! | `max_offline` | the shortest |
//!
//! Those that a decision can see (`max_tokens_per_request`, `models`, `hours`, `max_offline`) are enforced by rules, which
//! stand in `limits.cedar`; a bundle that sets one of them without a rule that reads it is refused. The others travel in
//! the permit to whoever counts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Context, Finding, Hours, Span};

/// Longest name of a model in a limit, bytes, and most names.
const MODEL_NAME_BYTES: usize = 256;
const MODELS: usize = 256;

/// Most stretches of hours in one role.
const STRETCHES: usize = 32;

/// What one role may use, as `limits.toml` writes it. A field that is not there says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleLimits {
    /// Most tokens that one request may have generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_per_request: Option<u32>,
    /// Most requests in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Most tokens in a day, read and generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_day: Option<u64>,
    /// Most requests at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Most tokens of prompt and answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u32>,
    /// The models that may be asked, by name; `*` is every model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<BTreeSet<String>>,
    /// When models may be asked; any of these stretches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<Vec<Hours>>,
    /// Whether answers may be kept for later requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_responses: Option<bool>,
    /// Who waits for whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How long the device may have been out of the fleet's reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_offline: Option<Span>,
}

/// Who waits for whom; the lowest first in the order of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Work that can wait.
    Batch,
    /// As everybody.
    #[default]
    Normal,
    /// Somebody sits and waits for it.
    Interactive,
}

impl Priority {
    /// Every priority.
    pub const ALL: [Self; 3] = [Self::Batch, Self::Normal, Self::Interactive];

    /// The word in limits and policies.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Normal => "normal",
            Self::Interactive => "interactive",
        }
    }
}

/// What a caller may use: its roles' limits put together. `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Most tokens that one request may have generated; 0 if no role says anything.
    pub max_tokens_per_request: u32,
    /// Most requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Most tokens in a day, read and generated.
    pub tokens_per_day: Option<u64>,
    /// Most requests at the same time.
    pub concurrent: Option<u32>,
    /// Most tokens of prompt and answer together.
    pub context_tokens: Option<u32>,
    /// The models that may be asked; `None` is every model.
    pub models: Option<BTreeSet<String>>,
    /// When models may be asked: within each of these, in any stretch of it.
    pub hours: Vec<Vec<Hours>>,
    /// Whether answers may be kept for later requests.
    pub store_responses: bool,
    /// Who waits for whom.
    pub priority: Priority,
    /// How long the device may have been out of the fleet's reach.
    pub max_offline: Option<Span>,
}

impl Limits {
    /// The limits of several roles together.
    pub(crate) fn of<'a>(roles: impl Iterator<Item = &'a RoleLimits> + Clone) -> Self {
        fn least<'a, T: Ord>(
            roles: impl Iterator<Item = &'a RoleLimits>,
            field: impl Fn(&'a RoleLimits) -> Option<T>,
        ) -> Option<T> {
            roles.filter_map(field).min()
        }
        let names = roles.clone().filter_map(|role| role.models.as_ref()).filter(|names| !names.contains("*"));
        Self {
            max_tokens_per_request: least(roles.clone(), |role| role.max_tokens_per_request).unwrap_or(0),
            requests_per_minute: least(roles.clone(), |role| role.requests_per_minute),
            tokens_per_day: least(roles.clone(), |role| role.tokens_per_day),
            concurrent: least(roles.clone(), |role| role.concurrent),
            context_tokens: least(roles.clone(), |role| role.context_tokens),
            models: names.cloned().reduce(|left, right| left.intersection(&right).cloned().collect()),
            hours: roles.clone().filter_map(|role| role.hours.clone()).collect(),
            store_responses: least(roles.clone(), |role| role.store_responses).unwrap_or(false),
            priority: least(roles.clone(), |role| role.priority).unwrap_or_default(),
            max_offline: least(roles, |role| role.max_offline),
        }
    }

    /// Whether models may be asked at this moment.
    #[must_use]
    pub fn within_hours(&self, context: &Context) -> bool {
        let (weekday, minute) = (context.weekday(), context.minute_of_day());
        self.hours.iter().all(|role| role.iter().any(|stretch| stretch.contain(weekday, minute)))
    }

    /// Whether a model may be asked.
    #[must_use]
    pub fn names_model(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|names| names.contains(model))
    }
}

/// What is wrong with the limits themselves.
pub(crate) fn check(limits: &BTreeMap<String, RoleLimits>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (role, limits) in limits {
        let mut find = |what: String| findings.push(Finding::new("limits", format!("role `{role}`: {what}")));
        for (name, value) in [("requests_per_minute", limits.requests_per_minute), ("concurrent", limits.concurrent)] {
            if value == Some(0) {
                find(format!("`{name} = 0` lets nothing through: leave it out, or give the role no rule"));
            }
        }
        if let Some(models) = &limits.models {
            if models.len() > MODELS {
                find(format!("names {} models, more than {MODELS}", models.len()));
            }
            if let Some(name) = models.iter().find(|name| !is_model_name(name)) {
                let shown: String = name.chars().take(64).collect();
                find(format!("`{}` is no name of a model: use visible ASCII characters", shown.escape_debug()));
            }
            if models.contains("*") && models.len() > 1 {
                find("`*` already names every model: leave the other names out, or the `*`".to_owned());
            }
        }
        if let Some(hours) = &limits.hours {
            if hours.is_empty() || hours.iter().any(|stretch| stretch.weekdays.is_empty()) {
                find("`hours` without a day let nothing through: name at least one weekday".to_owned());
            }
            if hours.len() > STRETCHES {
                find(format!("has {} stretches of hours, more than {STRETCHES}", hours.len()));
            }
        }
    }
    findings
}

/// Whether a name of a model reads the same to everybody.
pub(crate) fn is_model_name(name: &str) -> bool {
    (1..=MODEL_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClockTime, Weekday};

    fn of(roles: &[RoleLimits]) -> Limits {
        Limits::of(roles.iter())
    }

    fn names(names: &[&str]) -> Option<BTreeSet<String>> {
        Some(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn of_several_roles_the_most_restrictive_counts_field_by_field() {
        let limits = of(&[
            RoleLimits {
                max_tokens_per_request: Some(100),
                tokens_per_day: Some(5000),
                models: names(&["a", "b"]),
                store_responses: Some(true),
                priority: Some(Priority::Interactive),
                max_offline: Span::parse("14d"),
                ..RoleLimits::default()
            },
            RoleLimits {
                max_tokens_per_request: Some(200),
                concurrent: Some(2),
                models: names(&["b", "c"]),
                priority: Some(Priority::Batch),
                max_offline: Span::parse("72h"),
                ..RoleLimits::default()
            },
            RoleLimits { models: names(&["*"]), ..RoleLimits::default() },
        ]);
        assert_eq!(
            (limits.max_tokens_per_request, limits.tokens_per_day, limits.concurrent),
            (100, Some(5000), Some(2))
        );
        assert_eq!((limits.models, limits.priority), (names(&["b"]), Priority::Batch));
        assert!(limits.store_responses, "the other roles say nothing about it");
        assert_eq!(limits.max_offline, Span::parse("3d"));
        assert_eq!(limits.requests_per_minute, None);
    }

    #[test]
    fn one_role_that_forbids_keeping_answers_is_enough() {
        let says = |store_responses| RoleLimits { store_responses, ..RoleLimits::default() };
        assert!(!of(&[says(Some(true)), says(Some(false))]).store_responses);
        assert!(!of(&[says(None)]).store_responses);
    }

    #[test]
    fn models_that_no_two_roles_share_are_none_not_all() {
        let only = |name| RoleLimits { models: names(&[name]), ..RoleLimits::default() };
        let limits = of(&[only("a"), only("b")]);
        assert_eq!(limits.models, Some(BTreeSet::new()));
        assert!(!limits.names_model("a") && of(&[]).names_model("a"));
    }

    #[test]
    fn hours_of_all_roles_must_hold() {
        let time = |text| ClockTime::parse(text).unwrap();
        let on = |day, from, to| RoleLimits {
            hours: Some(vec![Hours { weekdays: vec![day], from: time(from), to: time(to) }]),
            ..RoleLimits::default()
        };
        // 1970-01-01 was a Thursday.
        let at = |minute: i64| Context { now_s: minute * 60, ..Context::default() };
        let limits = of(&[on(Weekday::Thu, "08:00", "18:00"), on(Weekday::Thu, "12:00", "20:00")]);
        assert!(limits.within_hours(&at(720)) && !limits.within_hours(&at(600)) && !limits.within_hours(&at(1100)));
        assert!(of(&[]).within_hours(&at(0)));
    }
}
