//! What changes from one bundle to the next, in plain words: who gains what, who loses what, which numbers and rules.
//!
//! Who gains and loses is not read off the texts but asked of both policies, for every role, every action and every
//! typical situation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::content::Direction;
use crate::situation::{Situation, typical};
use crate::{Action, CriticalRoom, FleetRules, Limits, Policies, RoleLimits, Rule, TransferRules, WhenRevoked};

/// Everything that changes, the gravest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// From which version.
    pub from: u64,
    /// To which.
    pub to: u64,
    /// What changes.
    pub changes: Vec<Change>,
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A role may do something that it might not.
    Gains {
        /// Who.
        role: String,
        /// What.
        action: Action,
        /// In which situations; in the usual one and its neighbours if none is named.
        when: Vec<String>,
    },
    /// A role may not do something any more.
    Loses {
        /// Who.
        role: String,
        /// What.
        action: Action,
        /// In which situations; in the usual one and its neighbours if none is named.
        when: Vec<String>,
    },
    /// A number, name or word beside the rules.
    Value {
        /// What it belongs to.
        of: String,
        /// Which one.
        field: String,
        /// What it was.
        from: String,
        /// What it becomes.
        to: String,
        /// Whether that lets more pass.
        widens: bool,
    },
    /// A role that there was not, or is no more.
    Role {
        /// Which one.
        role: String,
        /// Whether it is new.
        added: bool,
    },
    /// A rule that there was not, or is no more, or says something else.
    Rule {
        /// Which one.
        rule: String,
        /// What it says.
        title: String,
        /// `added`, `removed`, `changed` or `reworded`.
        what: &'static str,
        /// Whether that could let somebody do more in a situation that is not typical.
        could_widen: bool,
    },
}

impl Diff {
    /// Whether anybody may do more than before, or could in a situation that is not typical: where a permit came, a
    /// `forbid` went, or a condition is another one.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Gains { .. } => true,
            Change::Value { widens, .. } => *widens,
            Change::Rule { could_widen, .. } => *could_widen,
            _ => false,
        })
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Who is asked about that holds no role.
const NOBODY: &str = "callers without a role";

/// What changes from old policies to new ones.
#[must_use]
pub fn diff(old: &Policies, new: &Policies) -> Diff {
    let mut changes = access(old, new);
    changes.extend(approvals(old, new));
    changes.extend(audit(old, new));
    changes.extend(fleet(old, new));
    changes.extend(transfer(old, new));
    changes.extend(roles_and_limits(old, new));
    changes.extend(content(old, new));
    changes.extend(models(old, new));
    changes.extend(rules(old, new));
    changes.sort_by_key(rank);
    Diff { from: old.version(), to: new.version(), changes }
}

/// What widens comes first.
fn rank(change: &Change) -> u8 {
    match change {
        Change::Gains { .. } => 0,
        Change::Value { widens: true, .. } => 1,
        Change::Loses { .. } => 2,
        Change::Role { .. } => 3,
        Change::Value { .. } => 4,
        Change::Rule { .. } => 5,
    }
}

fn access(old: &Policies, new: &Policies) -> Vec<Change> {
    let situations = typical(&[old, new]);
    let mut changes = Vec::new();
    let roles: BTreeSet<&String> = old.roles().keys().chain(new.roles().keys()).collect();
    let callers = roles.into_iter().map(|role| (role.as_str(), vec![role.clone()]));
    for (role, held) in callers.chain(std::iter::once((NOBODY, Vec::new()))) {
        for action in Action::ALL {
            let (mut gains, mut loses) = (Vec::new(), Vec::new());
            let concerned: Vec<&Situation> = situations.iter().filter(|situation| situation.concerns(action)).collect();
            for situation in &concerned {
                let ask = situation.given.ask(held.clone(), action);
                match (old.authorize(&ask).is_ok(), new.authorize(&ask).is_ok()) {
                    (false, true) => gains.push(situation.when.clone()),
                    (true, false) => loses.push(situation.when.clone()),
                    _ => {}
                }
            }
            let role = role.to_owned();
            if let Some(when) = told(gains) {
                changes.push(Change::Gains { role: role.clone(), action, when });
            }
            if let Some(when) = told(loses) {
                changes.push(Change::Loses { role, action, when });
            }
        }
    }
    changes
}

/// The usual situation stands for its neighbours: where it changes, they are not told one by one.
fn told(when: Vec<String>) -> Option<Vec<String>> {
    match when.first() {
        None => None,
        Some(first) if first.is_empty() => Some(Vec::new()),
        Some(_) => Some(when),
    }
}

fn approvals(old: &Policies, new: &Policies) -> Option<Change> {
    let (from, to) = (old.required_approvals(), new.required_approvals());
    (from != to).then(|| value("the bundle", "required approvals", from, to, to < from))
}

/// What widens is that less is known of requests, or for less long.
fn audit(old: &Policies, new: &Policies) -> Vec<Change> {
    let (old, new) = (old.audit(), new.audit());
    let mut changes = Vec::new();
    if old.when_room_is_critical != new.when_room_is_critical {
        let word = |room| if room == CriticalRoom::Count { "count" } else { "refuse" };
        let (from, to) = (word(old.when_room_is_critical), word(new.when_room_is_critical));
        let widens = new.when_room_is_critical == CriticalRoom::Count;
        changes.push(value("the audit log", "new requests when room is critical", from, to, widens));
    }
    if old.leave_unmirrored != new.leave_unmirrored {
        let (from, to) = (old.leave_unmirrored, new.leave_unmirrored);
        changes.push(value("the audit log", "records may leave unmirrored", from, to, to));
    }
    changes
}

/// What widens is that a revoked device serves on, and that the control plane can have more done.
fn fleet(old: &Policies, new: &Policies) -> Vec<Change> {
    let (old, new) = (old.fleet(), new.fleet());
    let mut changes = Vec::new();
    if old.when_revoked != new.when_revoked {
        let word = |when| if when == WhenRevoked::Stop { "stop" } else { "serve" };
        let (was, is) = (word(old.when_revoked), word(new.when_revoked));
        let widens = new.when_revoked == WhenRevoked::Serve;
        changes.push(value("the fleet", "when the device is revoked", was, is, widens));
    }
    if old.commands != new.commands {
        let words =
            |rules: &FleetRules| rules.commands.iter().map(|command| command.word()).collect::<Vec<_>>().join(", ");
        let widens = new.commands.iter().any(|command| !old.allows(command.word()));
        changes.push(value("the fleet", "commands that are obeyed", words(old), words(new), widens));
    }
    changes
}

/// Nobody may do more because of these: they say when and how much is fetched.
fn transfer(old: &Policies, new: &Policies) -> Vec<Change> {
    let (old, new) = (old.transfer(), new.transfer());
    let mut changes = Vec::new();
    if old.hours != new.hours {
        let said = |rules: TransferRules| rules.hours.map_or_else(|| "all".to_owned(), |hours| hours.to_string());
        changes.push(value("fetching models", "hours", said(old), said(new), false));
    }
    if old.mib_per_day != new.mib_per_day {
        let said = |rules: TransferRules| {
            rules.bytes_per_day().map_or_else(|| "any".to_owned(), |_| rules.mib_per_day.to_string())
        };
        changes.push(value("fetching models", "MiB per day", said(old), said(new), false));
    }
    changes
}

fn value(of: impl Into<String>, field: &str, from: impl fmt::Display, to: impl fmt::Display, widens: bool) -> Change {
    Change::Value { of: of.into(), field: field.to_owned(), from: from.to_string(), to: to.to_string(), widens }
}

fn roles_and_limits(old: &Policies, new: &Policies) -> Vec<Change> {
    let mut changes = Vec::new();
    let gone = old.roles().keys().filter(|role| !new.roles().contains_key(*role));
    changes.extend(gone.map(|role| Change::Role { role: role.clone(), added: false }));
    for (role, limits) in new.roles() {
        match old.roles().get(role) {
            None => changes.push(Change::Role { role: role.clone(), added: true }),
            Some(before) => changes.extend(limit_changes(role, before, limits)),
        }
    }
    changes
}

fn limit_changes(role: &str, old: &RoleLimits, new: &RoleLimits) -> Vec<Change> {
    let mut changes = Vec::new();
    let of = format!("role `{role}`");
    let mut number = |field: &str, from: Option<u64>, to: Option<u64>| {
        if from != to {
            // No limit is the widest one, but for tokens in a request, where saying nothing gives nothing.
            let none = if field == "max_tokens_per_request" { 0 } else { u64::MAX };
            let widens = to.unwrap_or(none) > from.unwrap_or(none);
            let said = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
            changes.push(value(of.clone(), field, said(from), said(to), widens));
        }
    };
    let tokens = |limits: &RoleLimits| limits.max_tokens_per_request.map(u64::from);
    number("max_tokens_per_request", tokens(old), tokens(new));
    number("requests_per_minute", old.requests_per_minute.map(u64::from), new.requests_per_minute.map(u64::from));
    number("tokens_per_day", old.tokens_per_day, new.tokens_per_day);
    number("concurrent", old.concurrent.map(u64::from), new.concurrent.map(u64::from));
    number("context_tokens", old.context_tokens.map(u64::from), new.context_tokens.map(u64::from));
    let (before, after) = (Limits::of(std::iter::once(old)), Limits::of(std::iter::once(new)));
    let mut words = |field: &str, from: String, to: String, widens: bool| {
        if from != to {
            changes.push(value(of.clone(), field, from, to, widens));
        }
    };
    let models = |limits: &Limits| {
        limits
            .models
            .as_ref()
            .map_or_else(|| "all".to_owned(), |names| names.iter().cloned().collect::<Vec<_>>().join(" "))
    };
    let wider = match (&before.models, &after.models) {
        (Some(_), None) => true,
        (Some(before), Some(after)) => !after.is_subset(before),
        (None, _) => false,
    };
    words("models", models(&before), models(&after), wider);
    let hours = |limits: &Limits| {
        let said: Vec<String> = limits.hours.iter().flatten().map(ToString::to_string).collect();
        if limits.hours.is_empty() { "any".to_owned() } else { said.join(", ") }
    };
    words(
        "hours",
        hours(&before),
        hours(&after),
        minutes(&after).iter().zip(minutes(&before)).any(|(now, then)| *now && !then),
    );
    let span = |limits: &Limits| limits.max_offline.map_or_else(|| "any".to_owned(), |span| span.to_string());
    let longest = |limits: &Limits| limits.max_offline.map_or(u64::MAX, crate::Span::seconds);
    words("max_offline", span(&before), span(&after), longest(&after) > longest(&before));
    let yes = |store: bool| if store { "yes" } else { "no" }.to_owned();
    let stores = after.store_responses && !before.store_responses;
    words("store_responses", yes(before.store_responses), yes(after.store_responses), stores);
    let priority = |limits: &Limits| limits.priority.word().to_owned();
    words("priority", priority(&before), priority(&after), after.priority > before.priority);
    changes
}

/// For each minute of a week, whether the hours allow it.
fn minutes(limits: &Limits) -> Vec<bool> {
    let allowed =
        |day: u8, minute: u16| limits.hours.iter().all(|role| role.iter().any(|stretch| stretch.contain(day, minute)));
    (1..=7)
        .flat_map(|day| (0..1440).map(move |minute| (day, minute)))
        .map(|(day, minute)| allowed(day, minute))
        .collect()
}

fn content(old: &Policies, new: &Policies) -> Vec<Change> {
    let (before, after) = (&old.compiled().patterns, &new.compiled().patterns);
    let mut changes: Vec<Change> = before
        .iter()
        .filter_map(|(name, pattern)| Some((name, pattern, after.get(name)?)))
        .filter(|(_, from, to)| from != to)
        // Which of two expressions matches more is not known here.
        .map(|(name, from, to)| value(format!("pattern `{name}`"), "matches", &from.matches, &to.matches, true))
        .collect();
    let roles: BTreeSet<&String> = old.roles().keys().chain(new.roles().keys()).collect();
    for role in roles {
        for direction in Direction::ALL {
            let of = |policies: &Policies| -> BTreeMap<String, crate::content::Act> {
                let rules = policies.compiled().content.get(role);
                let rules = rules.into_iter().flat_map(|rules| rules.rules(direction).collect::<Vec<_>>());
                rules.map(|(class, act)| (class.word().to_owned(), act)).collect()
            };
            let (before, after) = (of(old), of(new));
            for class in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                let (from, to) = (before.get(class), after.get(class));
                if from != to {
                    let said = |act: Option<&crate::content::Act>| act.map_or("pass", |act| act.word());
                    let of = format!("role `{role}`, {}", direction.word());
                    changes.push(value(of, class, said(from), said(to), to < from));
                }
            }
        }
    }
    changes
}

fn models(old: &Policies, new: &Policies) -> Vec<Change> {
    let said = |policies: &Policies, name: &str| {
        let Some(model) = policies.compiled().models.get(name) else { return ("not listed".to_owned(), None) };
        let until = model.approved_until_s;
        let text = match (model.approved, until) {
            (false, _) => "not approved".to_owned(),
            (true, None) => "approved".to_owned(),
            (true, Some(until_s)) => format!("approved until {}", &crate::calendar::datetime(until_s)[..10]),
        };
        (text, model.approved.then(|| until.unwrap_or(i64::MAX)))
    };
    let names: BTreeSet<&String> = old.compiled().models.keys().chain(new.compiled().models.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        let ((from, before), (to, after)) = (said(old, name), said(new, name));
        let of = format!("model `{name}`");
        if from != to {
            changes.push(value(of.clone(), "approval", from, to, after > before));
        }
        let facts = |policies: &Policies| {
            policies.compiled().models.get(name).map(|model| {
                let class = model.class.map(|class| class.word().to_owned());
                [("licence", model.licence.clone()), ("class", class), ("family", model.family.clone())]
            })
        };
        if let (Some(from), Some(to)) = (facts(old), facts(new)) {
            for ((field, from), (_, to)) in from.into_iter().zip(to).filter(|(from, to)| from != to) {
                let said = |text: Option<String>| text.unwrap_or_else(|| "not said".to_owned());
                changes.push(value(of.clone(), field, said(from), said(to), true));
            }
        }
    }
    changes
}

fn rules(old: &Policies, new: &Policies) -> Vec<Change> {
    let conditions = |policies: &Policies| -> BTreeMap<String, cedar_policy_core::ast::Expr> {
        let conditions = policies.compiled().judge.conditions();
        conditions.map(|(id, condition)| (id.to_owned(), condition.clone())).collect()
    };
    let (before, after) = (conditions(old), conditions(new));
    let (mut changes, mut kept) = (Vec::new(), Vec::new());
    let mut add = |rule: &Rule, what, could_widen| {
        changes.push(Change::Rule { rule: rule.id.clone(), title: rule.title.clone(), what, could_widen });
    };
    for rule in old.rules() {
        if let Some(now) = new.rule(&rule.id).filter(|now| now.audit != rule.audit) {
            let (from, to) = (rule.audit.to_string(), now.audit.to_string());
            kept.push(value(format!("rule `{}`", rule.id), "what is kept", from, to, false));
        }
        match new.rule(&rule.id) {
            None => add(rule, "removed", rule.forbids),
            Some(now) if before.get(&rule.id) != after.get(&rule.id) || now.forbids != rule.forbids => {
                add(now, "changed", true);
            }
            Some(now) if (&now.title, &now.reason) != (&rule.title, &rule.reason) => add(now, "reworded", false),
            Some(_) => {}
        }
    }
    for rule in new.rules().filter(|rule| old.rule(&rule.id).is_none()) {
        add(rule, "added", !rule.forbids);
    }
    changes.extend(kept);
    changes
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let situations =
            |when: &[String]| if when.is_empty() { String::new() } else { format!(", {}", when.join("; ")) };
        match self {
            Self::Gains { role, action, when } => {
                write!(formatter, "{} gain: {}{}", plural(role), action.in_words(), situations(when))
            }
            Self::Loses { role, action, when } => {
                write!(formatter, "{} lose: {}{}", plural(role), action.in_words(), situations(when))
            }
            Self::Value { of, field, from, to, .. } => write!(formatter, "{of}: {field} from {from} to {to}"),
            Self::Role { role, added: true } => write!(formatter, "role `{role}` is new"),
            Self::Role { role, added: false } => write!(formatter, "role `{role}` is gone"),
            Self::Rule { rule, title, what, .. } => write!(formatter, "rule `{rule}` {what}: {title}"),
        }
    }
}

fn plural(role: &str) -> String {
    if role == NOBODY || role.ends_with('s') {
        return role.to_owned();
    }
    match role.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'i', 'o', 'u'])) {
        Some(stem) => format!("{stem}ies"),
        None => format!("{role}s"),
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(formatter, "nothing changes from version {} to {}", self.from, self.to);
        }
        for change in &self.changes {
            writeln!(formatter, "{change}")?;
        }
        Ok(())
    }
}
