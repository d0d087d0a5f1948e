//! From texts to rules: ids, annotations, strict validation, and what the bundle says beside them.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::sync::LazyLock;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use cedar_policy_core::ast::EntityUID;

use crate::calendar::end_of_day;
use crate::content::{self, ContentRules, Pattern};
use crate::judge::Judge;
use crate::policies::Rule;
use crate::words::Words;
use crate::{AuditLevel, Bundle, Finding, ModelClass, ModelEntry, limits, text};

/// The schema that every rule is checked against.
const SCHEMA: &str = include_str!("../schema.cedarschema");

/// Rules, files, roles, models and cases in one bundle, and bytes in a text that the bundle says of a model or a case.
const RULES: usize = 1000;
const FILES: usize = 256;
const ROLES: usize = 64;
const MODELS: usize = 4096;
const CASES: usize = 4096;
const TEXT_BYTES: usize = 256;

/// What every rule must carry, and what for.
pub(crate) const ANNOTATIONS: [&str; 3] = ["id", "title", "reason"];

/// A bundle, checked, but for its cases.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) judge: Judge,
    pub(crate) rules: BTreeMap<String, Rule>,
    pub(crate) policies: Vec<Policy>,
    pub(crate) content: BTreeMap<String, ContentRules>,
    /// The bundle's own patterns, as they are written.
    pub(crate) patterns: BTreeMap<String, Pattern>,
    pub(crate) models: BTreeMap<String, KnownModel>,
}

/// What the bundle says of a model.
#[derive(Debug, Clone)]
pub(crate) struct KnownModel {
    pub(crate) approved: bool,
    pub(crate) approved_until_s: Option<i64>,
    pub(crate) licence: Option<String>,
    pub(crate) class: Option<ModelClass>,
    pub(crate) family: Option<String>,
}

/// Checks all that a bundle says: its author wants every finding at once.
pub(crate) fn compile(bundle: &Bundle, words: &Words) -> Result<Compiled, Vec<Finding>> {
    let mut findings = check_sizes(bundle);
    findings.extend(check_roles(bundle));
    findings.extend(limits::check(&bundle.limits));
    for (place, source) in &bundle.policies {
        findings.extend(text::check(place, source));
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let models = known_models(&bundle.models, &mut findings);
    let content = content::compile(&bundle.content, |role| bundle.limits.contains_key(role)).unwrap_or_else(|found| {
        findings.extend(found);
        BTreeMap::new()
    });
    let policies = parse(bundle, &mut findings);
    let rules = describe(&policies, bundle, words, &mut findings);
    validate(&policies, schema(), &mut findings);
    if !findings.is_empty() {
        return Err(findings);
    }
    let policies: Vec<Policy> = policies.into_iter().map(|(_, policy)| policy).collect();
    let judge = Judge::new(policies.iter(), words);
    let idle = idle_limits(bundle, &judge);
    if !idle.is_empty() {
        return Err(idle);
    }
    let patterns = bundle.content.pattern.clone();
    Ok(Compiled { judge, rules, policies, content, patterns, models })
}

/// The schema, read once.
pub(crate) fn schema() -> &'static Schema {
    static READ: LazyLock<Schema> = LazyLock::new(|| {
        let (schema, warnings) = Schema::from_cedarschema_str(SCHEMA).expect("the embedded schema is read by a test");
        debug_assert_eq!(warnings.count(), 0, "the embedded schema has no warnings");
        schema
    });
    &READ
}

fn check_sizes(bundle: &Bundle) -> Vec<Finding> {
    let sizes = [
        ("policies", bundle.policies.len(), FILES),
        ("limits", bundle.limits.len(), ROLES),
        ("models", bundle.models.len(), MODELS),
        ("cases", bundle.cases.len(), CASES),
    ];
    let too_many = |(place, count, most): (&str, usize, usize)| {
        (count > most).then(|| Finding::new(place, format!("{count} entries, more than {most}")))
    };
    sizes.into_iter().filter_map(too_many).collect()
}

fn check_roles(bundle: &Bundle) -> Vec<Finding> {
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

/// What a limit says counts only through a rule that reads it: without one it would be a promise that nobody keeps.
fn idle_limits(bundle: &Bundle, judge: &Judge) -> Vec<Finding> {
    let says = |is_set: fn(&crate::RoleLimits) -> bool| bundle.limits.values().any(is_set);
    let enforced = [
        ("max_tokens_per_request", "max_tokens_per_request", says(|role| role.max_tokens_per_request.is_some())),
        ("models", "models", says(|role| role.models.is_some())),
        ("hours", "within_hours", says(|role| role.hours.is_some())),
        ("max_offline", "max_offline", says(|role| role.max_offline.is_some())),
    ];
    let idle = enforced.into_iter().filter(|(_, attribute, is_set)| *is_set && !judge.reads(attribute));
    idle.map(|(field, attribute, _)| {
        let what =
            format!("`{field}` is set, but no rule reads `{attribute}`: take the rules of the default `limits.cedar`");
        Finding::new("limits", what)
    })
    .collect()
}

fn known_models(models: &BTreeMap<String, ModelEntry>, findings: &mut Vec<Finding>) -> BTreeMap<String, KnownModel> {
    let mut known = BTreeMap::new();
    for (name, entry) in models {
        let mut find = |what: String| findings.push(Finding::new("models", what));
        if !limits::is_model_name(name) {
            let shown: String = name.chars().take(64).collect();
            find(format!("`{}` is no name of a model: use visible ASCII characters", shown.escape_debug()));
        }
        let texts = [("licence", &entry.licence), ("family", &entry.family)];
        for (field, text) in texts.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?))) {
            if text.len() > TEXT_BYTES || !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                find(format!("`{name}`: the {field} is no short text of visible ASCII characters"));
            }
        }
        let approved_until_s = match &entry.approved_until {
            None => None,
            Some(day) => {
                let end_s = end_of_day(day);
                if end_s.is_none() {
                    let shown: String = day.chars().take(32).collect();
                    find(format!("`{name}`: `{}` is no day: write `2027-06-30`", shown.escape_debug()));
                }
                end_s
            }
        };
        let model = KnownModel {
            approved: entry.approved,
            approved_until_s,
            licence: entry.licence.clone(),
            class: entry.class,
            family: entry.family.clone(),
        };
        known.insert(name.clone(), model);
    }
    known
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
    format!("line {line}: {error}{}", helped(error))
}

/// What Cedar proposes instead, if it does.
fn helped(error: &impl miette::Diagnostic) -> String {
    error.help().map(|help| format!("; {help}")).unwrap_or_default()
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
        for entity in policy.entity_literals() {
            let entity: &EntityUID = entity.as_ref();
            let Some(role) = words.role_name(entity) else { continue };
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
            audit: AuditLevel::of(place, policy, words, findings),
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
        findings.push(Finding::of_rule(place(id), id.to_string(), format!("{error}{}", helped(error))));
    }
    for warning in result.validation_warnings() {
        let id = warning.policy_id();
        findings.push(Finding::of_rule(place(id), id.to_string(), warning.to_string()));
    }
}

/// A name that reads the same to everybody.
fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
