//! From texts to rules: ids, annotations, strict validation, and one set of rules per action.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use cedar_policy::{ActionConstraint, Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};

use crate::policies::Rule;
use crate::words::Words;
use crate::{Action, Bundle, Finding, text};

/// The schema that every rule is checked against.
const SCHEMA: &str = include_str!("../schema.cedarschema");

/// Rules in one bundle.
const RULES: usize = 1000;

/// What every rule must carry, and what for.
const ANNOTATIONS: [&str; 3] = ["id", "title", "reason"];

/// The rules of a bundle, checked.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) schema: Schema,
    /// The rules that can say something about an action; the others could not change its decision.
    pub(crate) by_action: HashMap<Action, PolicySet>,
    pub(crate) rules: BTreeMap<String, Rule>,
}

/// Checks a bundle's texts and limits, all of them: its author wants every finding at once.
pub(crate) fn compile(bundle: &Bundle, words: &Words) -> Result<Compiled, Vec<Finding>> {
    let mut findings = check_limits(bundle);
    for (place, source) in &bundle.policies {
        findings.extend(text::check(place, source));
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let policies = parse(bundle, &mut findings);
    let rules = describe(&policies, bundle, words, &mut findings);
    let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).expect("the embedded schema is read by a test");
    debug_assert_eq!(warnings.count(), 0, "the embedded schema has no warnings");
    validate(&policies, &schema, &mut findings);
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(Compiled { schema, by_action: slice(&policies, words), rules })
}

fn check_limits(bundle: &Bundle) -> Vec<Finding> {
    let mut findings = Vec::new();
    if bundle.limits.is_empty() {
        findings.push(Finding::new("limits", "no role is declared: name at least one"));
    }
    for role in bundle.limits.keys().filter(|role| !is_plain_name(role)) {
        let what = format!("`{}` is no name for a role: use a-z, 0-9 and `-`, at most 64", role.escape_debug());
        findings.push(Finding::new("limits", what));
    }
    findings
}

/// Each rule with the file it stands in, under its own `@id`. Cedar numbers the rules of a text by their order; such
/// ids would change their meaning with every edit.
fn parse(bundle: &Bundle, findings: &mut Vec<Finding>) -> Vec<(String, Policy)> {
    let mut policies: Vec<(String, Policy)> = Vec::new();
    let mut places: HashMap<String, String> = HashMap::new();
    for (place, source) in &bundle.policies {
        let set = match PolicySet::from_str(source) {
            Ok(set) => set,
            Err(errors) => {
                findings.extend(errors.iter().map(|error| Finding::new(place, describe_parse_error(source, error))));
                continue;
            }
        };
        if set.templates().next().is_some() {
            findings.push(Finding::new(place, "holds a template (`?principal` or `?resource`): write the rule out"));
        }
        let mut parsed: Vec<&Policy> = set.policies().collect();
        parsed.sort_by_key(|policy| policy.id().to_string());
        for policy in parsed {
            let Some(id) = policy.annotation("id").filter(|id| is_plain_name(id)) else {
                let what = "a rule has no usable @id: give each one a name of a-z, 0-9 and `-`, at most 64";
                findings.push(Finding::new(place, what));
                continue;
            };
            if let Some(first) = places.insert(id.to_owned(), place.clone()) {
                let what =
                    format!("the @id is taken already, in `{first}`: two rules of one name cannot be told apart");
                findings.push(Finding::of_rule(place, id, what));
                continue;
            }
            policies.push((place.clone(), policy.new_id(PolicyId::new(id))));
        }
    }
    if policies.len() > RULES {
        findings.push(Finding::new("policies", format!("{} rules, more than {RULES}", policies.len())));
    }
    policies
}

fn describe_parse_error(source: &str, error: &cedar_policy::ParseError) -> String {
    use miette::Diagnostic;
    let offset = error.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset());
    let line = source.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1;
    format!("line {line}: {error}")
}

/// What people are told of each rule, and whether the rule is made for people.
fn describe(
    policies: &[(String, Policy)],
    bundle: &Bundle,
    words: &Words,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Rule> {
    let mut rules = BTreeMap::new();
    for (place, policy) in policies {
        let id = policy.id().to_string();
        for annotation in ANNOTATIONS {
            if policy.annotation(annotation).is_none_or(|text| text.trim().is_empty()) {
                let what = format!("has no @{annotation}: each rule says its id, its title and its reason");
                findings.push(Finding::of_rule(place, &id, what));
            }
        }
        for entity in policy.entity_literals().iter().filter(|entity| words.is_role(entity)) {
            let role = entity.id().unescaped();
            if !bundle.limits.contains_key(role) {
                let known = bundle.limits.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let what = format!("the role `{}` is not declared in the limits ({known})", role.escape_debug());
                findings.push(Finding::of_rule(place, &id, what));
            }
        }
        let text = |annotation: &str| policy.annotation(annotation).unwrap_or_default().to_owned();
        let rule = Rule {
            id: id.clone(),
            title: text("title"),
            reason: text("reason"),
            forbids: policy.effect() == Effect::Forbid,
            file: place.clone(),
        };
        rules.insert(id, rule);
    }
    rules
}

/// Strict, and a warning counts as an error: an impossible or confusable rule does not say what its author meant.
fn validate(policies: &[(String, Policy)], schema: &Schema, findings: &mut Vec<Finding>) {
    let set = match PolicySet::from_policies(policies.iter().map(|(_, policy)| policy.clone())) {
        Ok(set) => set,
        Err(error) => return findings.push(Finding::new("policies", error.to_string())),
    };
    let place = |id: &PolicyId| {
        policies.iter().find(|(_, policy)| policy.id() == id).map_or("policies", |(place, _)| place.as_str())
    };
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    for error in result.validation_errors() {
        let id = error.policy_id();
        findings.push(Finding::of_rule(place(id), id.to_string(), error.to_string()));
    }
    for warning in result.validation_warnings() {
        let id = warning.policy_id();
        findings.push(Finding::of_rule(place(id), id.to_string(), warning.to_string()));
    }
}

fn slice(policies: &[(String, Policy)], words: &Words) -> HashMap<Action, PolicySet> {
    let of = |action: Action| {
        let wanted = words.action(action);
        let matching = policies.iter().map(|(_, policy)| policy).filter(|policy| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(named) => named == wanted,
            // The schema has no groups of actions, so being in a list is being one of it.
            ActionConstraint::In(named) => named.contains(&wanted),
        });
        PolicySet::from_policies(matching.cloned()).expect("the ids were checked to be different")
    };
    Action::ALL.into_iter().map(|action| (action, of(action))).collect()
}

/// A name that reads the same to everybody.
fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
