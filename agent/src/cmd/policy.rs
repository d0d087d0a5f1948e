//! `outpost policy …`: check a bundle, run its cases, explain a decision.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use outpost_policies::{Action, Bundle, Case, Expect, Policies, Roles};
use serde_json::json;

use super::{Here, Outcome, say, say_json};
use crate::args::Policy;

/// Runs the command.
pub(super) fn run(here: &Here, command: Policy) -> Result<Outcome> {
    match command {
        // Activation validates strictly and runs the bundle's own cases: there is no weaker check to offer.
        Policy::Check { bundle } | Policy::Test { bundle } => check(here, bundle),
        Policy::Explain { role, action } => explain(here, &role, &action),
    }
}

fn read(path: Option<PathBuf>) -> Result<Bundle> {
    let Some(path) = path else { return Ok(Bundle::default_bundle()) };
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Bundle::parse(&bytes).with_context(|| format!("`{}` is not a policy bundle", path.display()))
}

fn check(here: &Here, path: Option<PathBuf>) -> Result<Outcome> {
    let bundle = read(path)?;
    let cases = bundle.cases.len();
    match Policies::activate(bundle) {
        Ok(policies) => {
            let rules = policies.rules().count();
            if here.json {
                say_json(&json!({"version": policies.version(), "rules": rules, "cases": cases, "findings": []}))?;
            } else {
                say(format!("version {}: {rules} rules are valid, {cases} cases hold", policies.version()))?;
            }
            Ok(Outcome::Done)
        }
        Err(findings) => {
            let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
            if here.json {
                say_json(&json!({"cases": cases, "findings": findings}))?;
            } else {
                for finding in &findings {
                    say(finding)?;
                }
            }
            Ok(Outcome::ProblemFound)
        }
    }
}

fn explain(here: &Here, role: &str, action: &str) -> Result<Outcome> {
    let Some(action) = Action::ALL.into_iter().find(|known| known.word() == action) else {
        let known: Vec<_> = Action::ALL.iter().map(|known| known.word()).collect();
        bail!("`{action}` is not an action; known are {}", known.join(", "));
    };
    let policies = Policies::activate(Bundle::default_bundle())
        .map_err(|findings| anyhow::anyhow!("the built-in policies do not hold: {} findings", findings.len()))?;
    if !policies.roles().contains_key(role) {
        let known: Vec<_> = policies.roles().keys().cloned().collect();
        bail!("`{role}` is not a role; known are {}", known.join(", "));
    }
    let case = Case {
        title: "a question at the command line".into(),
        who: Roles::One(role.to_owned()),
        does: action,
        expect: Expect::Allow,
        by: None,
        max_tokens: None,
        licence: None,
        offline_s: None,
        policy_age_s: None,
        auth: None,
        network: None,
    };
    let (effect, rules, message) = match policies.authorize(&case.ask()) {
        Ok(permit) => ("allow", permit.rules().to_vec(), String::new()),
        Err(denial) => ("deny", denial.rules.clone(), denial.message.clone()),
    };
    if here.json {
        say_json(&json!({"effect": effect, "rules": rules, "message": message, "policy_version": policies.version()}))?;
    } else {
        let because =
            if rules.is_empty() { "no rule allows it".to_owned() } else { format!("by {}", rules.join(", ")) };
        say(format!("{effect}: a caller with the role `{role}` and `{}`: {because}. {message}", action.word()))?;
    }
    Ok(Outcome::Done)
}
