//! Lint: what is allowed in a bundle and yet hardly what its author meant. None of it keeps a bundle from being activated.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{ActionConstraint, Effect, Policy, PrincipalConstraint};

use crate::compile::ANNOTATIONS;
use crate::situation::typical;
use crate::{Action, Ask, Bundle, Case, Finding, Policies};

/// Most roles of a bundle whose pairs are tried as well.
const PAIRED_ROLES: usize = 8;

/// Looks through a bundle and the policies that it became.
#[must_use]
pub fn lint(bundle: &Bundle, policies: &Policies) -> Vec<Finding> {
    let mut findings = roles(bundle, policies);
    let spoken = Spoken::of(bundle, policies);
    findings.extend(silent_rules(policies, &spoken));
    findings.extend(shadowed_rules(policies, &spoken));
    findings.extend(open_permits(policies));
    findings.extend(unread_annotations(policies));
    findings.extend(idle_entries(bundle, policies));
    findings.extend(untried(bundle, policies));
    findings
}

/// Roles that no rule names, and what hangs on them.
fn roles(bundle: &Bundle, policies: &Policies) -> Vec<Finding> {
    let named: BTreeSet<&str> = policies.compiled().judge.named_roles().collect();
    let mut findings = Vec::new();
    for role in bundle.limits.keys().filter(|role| !named.contains(role.as_str())) {
        let what = format!("no rule names the role `{role}`: give it a rule, or take it out");
        findings.push(Finding::new("limits", what));
    }
    for role in bundle.content.role.keys().filter(|role| !named.contains(role.as_str())) {
        findings
            .push(Finding::new("content", format!("no rule names the role `{role}`, so its content rules do nothing")));
    }
    findings
}

/// In which situations each rule speaks; a situation is a number.
struct Spoken {
    by_rule: BTreeMap<String, BTreeSet<usize>>,
    /// Situations in which something is forbidden.
    forbidden: BTreeSet<usize>,
}

impl Spoken {
    /// In the typical situations, and in those that the bundle's own cases name.
    fn of(bundle: &Bundle, policies: &Policies) -> Self {
        let mut spoken = Self { by_rule: BTreeMap::new(), forbidden: BTreeSet::new() };
        let situations = typical(&[policies]);
        let mut asks: Vec<Ask> = bundle.cases.iter().flat_map(Case::asks).collect();
        for roles in callers(policies) {
            for action in Action::ALL {
                let concerned = situations.iter().filter(|situation| situation.concerns(action));
                asks.extend(concerned.map(|situation| situation.given.ask(roles.clone(), action)));
            }
        }
        for (number, ask) in asks.iter().enumerate() {
            let Ok((_, verdict)) = policies.verdict(ask) else { continue };
            if !verdict.forbids.is_empty() {
                spoken.forbidden.insert(number);
            }
            for rule in verdict.permits.into_iter().chain(verdict.forbids) {
                spoken.by_rule.entry(rule).or_default().insert(number);
            }
        }
        spoken
    }

    fn when(&self, rule: &str) -> Option<&BTreeSet<usize>> {
        self.by_rule.get(rule)
    }
}

/// Somebody without a role, with each, and with each two.
fn callers(policies: &Policies) -> Vec<Vec<String>> {
    let roles: Vec<&String> = policies.roles().keys().collect();
    let mut callers = vec![Vec::new()];
    callers.extend(roles.iter().map(|role| vec![(*role).clone()]));
    if roles.len() <= PAIRED_ROLES {
        for (place, first) in roles.iter().enumerate() {
            callers.extend(roles[place + 1..].iter().map(|second| vec![(*first).clone(), (*second).clone()]));
        }
    }
    callers
}

/// Rules that stand ready for a limit that no role has so far: nothing is to be expected of them.
fn waiting(policies: &Policies) -> BTreeSet<String> {
    let set = |is_set: fn(&crate::RoleLimits) -> bool| policies.roles().values().any(is_set);
    let limits = [
        ("models", set(|role| role.models.is_some())),
        ("within_hours", set(|role| role.hours.is_some())),
        ("max_offline", set(|role| role.max_offline.is_some())),
    ];
    let judge = &policies.compiled().judge;
    let unset = limits.into_iter().filter(|(_, is_set)| !is_set);
    unset.flat_map(|(attribute, _)| judge.readers_of(attribute).map(str::to_owned)).collect()
}

fn silent_rules(policies: &Policies, spoken: &Spoken) -> Vec<Finding> {
    let waiting = waiting(policies);
    let silent = policies.rules().filter(|rule| spoken.when(&rule.id).is_none() && !waiting.contains(&rule.id));
    silent
        .map(|rule| {
            let what = "speaks in no typical situation: try it by a case, or take it out";
            Finding::of_rule(&rule.file, &rule.id, what)
        })
        .collect()
}

fn shadowed_rules(policies: &Policies, spoken: &Spoken) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in policies.rules() {
        let Some(when) = spoken.when(&rule.id) else { continue };
        if !rule.forbids && when.is_subset(&spoken.forbidden) {
            let what = "permits only what another rule forbids: it has no effect";
            findings.push(Finding::of_rule(&rule.file, &rule.id, what));
            continue;
        }
        let covers = |other: &&crate::Rule| {
            other.id != rule.id
                && other.forbids == rule.forbids
                && spoken.when(&other.id).is_some_and(|theirs| {
                    // Of two that say the same, the second is the one too many.
                    when.is_subset(theirs) && (when.len() < theirs.len() || other.id < rule.id)
                })
        };
        if let Some(other) = policies.rules().find(covers) {
            let what = format!("says nothing in any typical situation that `{}` does not say", other.id);
            findings.push(Finding::of_rule(&rule.file, &rule.id, what));
        }
    }
    findings
}

/// A permit that asks neither for a role nor for a condition lets in everybody who can identify.
fn open_permits(policies: &Policies) -> Vec<Finding> {
    let is_open = |policy: &&Policy| {
        policy.effect() == Effect::Permit
            && matches!(policy.principal_constraint(), PrincipalConstraint::Any | PrincipalConstraint::Is(_))
            && !policy.has_non_scope_constraint()
    };
    let finding = |policy: &Policy| {
        let id = policy.id().to_string();
        let place = policies.rule(&id).map_or("policies", |rule| rule.file.as_str());
        let every = matches!(policy.action_constraint(), ActionConstraint::Any);
        let what = if every { "everything" } else { "this" };
        Finding::of_rule(place, id.clone(), format!("permits {what} to everybody who has an identity: name a role"))
    };
    policies.compiled().policies.iter().filter(is_open).map(finding).collect()
}

/// Annotations that nobody reads: a slip of the pen in `@audit` would keep less than was meant.
fn unread_annotations(policies: &Policies) -> Vec<Finding> {
    let known = |name: &str| ANNOTATIONS.contains(&name) || name == "audit";
    let mut findings = Vec::new();
    for policy in &policies.compiled().policies {
        let id = policy.id().to_string();
        let place = policies.rule(&id).map_or("policies", |rule| rule.file.as_str());
        for (name, _) in policy.annotations().filter(|(name, _)| !known(name)) {
            let what = format!("has @{name}, which nothing reads: `@audit` says how much of a call is kept");
            findings.push(Finding::of_rule(place, id.clone(), what));
        }
    }
    findings
}

/// What is written beside the rules and does nothing.
fn idle_entries(bundle: &Bundle, policies: &Policies) -> Vec<Finding> {
    let mut findings = Vec::new();
    let judge = &policies.compiled().judge;
    if !bundle.models.is_empty() && !["approved", "class", "family", "licence"].iter().any(|name| judge.reads(name)) {
        let what = "models are listed, but no rule reads what is said of them (`resource.approved` and the like)";
        findings.push(Finding::new("models", what));
    }
    for (role, limits) in &bundle.limits {
        let asks = |action: Action| !judge.permits_of(action, std::slice::from_ref(role)).is_empty();
        let says = *limits != crate::RoleLimits::default();
        if says && !asks(Action::Infer) && !asks(Action::Embed) && limits.max_tokens_per_request.is_none() {
            let what = format!("role `{role}` has limits, but no rule lets it ask a model");
            findings.push(Finding::new("limits", what));
        }
    }
    let used: BTreeSet<&str> = bundle
        .content
        .role
        .values()
        .flat_map(|role| role.input.iter().chain(&role.output))
        .map(|rule| rule.class.as_str())
        .collect();
    for name in bundle.content.pattern.keys().filter(|name| !used.contains(name.as_str())) {
        findings.push(Finding::new("content", format!("no role looks for the pattern `{name}`")));
    }
    for (rule, model) in judge.named_models().filter(|(_, model)| !bundle.models.contains_key(*model)) {
        let what = format!("names the model `{model}`, which `models.toml` does not list: a slip of the pen?");
        findings.push(Finding::of_rule(policies.rule(rule).map_or("policies", |rule| rule.file.as_str()), rule, what));
    }
    findings
}

/// What no case tries.
fn untried(bundle: &Bundle, policies: &Policies) -> Vec<Finding> {
    let mut findings = Vec::new();
    let deciding = |ask: Ask| match policies.authorize(&ask) {
        Ok(permit) => permit.rules().to_vec(),
        Err(denial) => denial.rules,
    };
    let tried: BTreeSet<String> = bundle.cases.iter().flat_map(Case::asks).flat_map(deciding).collect();
    let waiting = waiting(policies);
    for rule in policies.rules().filter(|rule| !tried.contains(&rule.id) && !waiting.contains(&rule.id)) {
        findings.push(Finding::of_rule(&rule.file, &rule.id, "decides no case: add one that it decides"));
    }
    let cast: BTreeSet<String> = bundle.cases.iter().flat_map(|case| case.who.to_vec()).collect();
    for role in bundle.limits.keys().filter(|role| !cast.contains(*role)) {
        findings.push(Finding::new("cases", format!("no case has the role `{role}`")));
    }
    let mut titles = BTreeSet::new();
    for case in bundle.cases.iter().filter(|case| !titles.insert(&case.title)) {
        findings.push(Finding::new("cases", format!("two cases have the title “{}”", case.title)));
    }
    findings
}
