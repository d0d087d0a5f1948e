//! Who may administer the fleet: the control plane's own rules, strictly checked; any error denies.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context, Decision, Effect, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet,
    Request, RestrictedExpression, Schema, ValidationMode, Validator,
};

/// The schema that the rules are checked against.
const SCHEMA: &str = include_str!("../control.cedarschema");

/// The rules of a fleet whose administrators wrote none.
const DEFAULT: &str = include_str!("../control/default.cedar");

/// Largest file of rules.
pub const CONTROL_RULES_BYTES: usize = 256 * 1024;

/// The rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ControlRulesError {
    /// Too large.
    #[error("the control plane's rules have more than {CONTROL_RULES_BYTES} bytes")]
    TooLarge,
    /// Not Cedar.
    #[error("the control plane's rules cannot be read: {0}")]
    Form(String),
    /// A rule has no id or no reason, or an id stands twice.
    #[error("each rule needs an `@id` of its own and a `@reason`; look at the rule {0}")]
    Words(String),
    /// A rule does not fit the schema.
    #[error("the control plane's rules do not pass the strict validator: {0}")]
    Invalid(String),
}

/// Whose rule set speaks for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlPrincipal {
    /// A person or service of the fleet.
    Person,
    /// An API token.
    Token,
    /// An account of the control plane's machine.
    LocalUser,
}

/// What is asked: who, with which roles, does what to what.
#[derive(Debug, Clone, Copy)]
pub struct ControlAsk<'a> {
    /// Which kind of somebody.
    pub kind: ControlPrincipal,
    /// Their name.
    pub name: &'a str,
    /// The roles that they hold.
    pub roles: &'a [String],
    /// The action, as the schema spells it.
    pub action: &'a str,
    /// What it is done to.
    pub subject: &'a str,
}

/// What the rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlVerdict {
    /// Whether it may be done.
    pub allowed: bool,
    /// The rules that decided, sorted.
    pub rules: Vec<String>,
    /// Why not; empty if it may be done.
    pub reason: String,
}

/// A checked set of rules.
#[derive(Debug, Clone)]
pub struct ControlRules {
    set: PolicySet,
    words: BTreeMap<PolicyId, Words>,
}

#[derive(Debug, Clone)]
struct Words {
    id: String,
    reason: String,
    forbids: bool,
}

impl ControlRules {
    /// The rules that hold if nobody wrote others.
    ///
    /// # Errors
    /// Never, as a test holds; the caller fails closed all the same.
    pub fn embedded() -> Result<Self, ControlRulesError> {
        Self::parse(DEFAULT)
    }

    /// Reads and checks rules; a warning of the strict validator counts as an error.
    ///
    /// # Errors
    /// If a rule cannot be read, has no `@id` or `@reason`, or does not fit the schema.
    pub fn parse(text: &str) -> Result<Self, ControlRulesError> {
        if text.len() > CONTROL_RULES_BYTES {
            return Err(ControlRulesError::TooLarge);
        }
        let set: PolicySet = text.parse().map_err(|error| ControlRulesError::Form(format!("{error}")))?;
        if set.templates().next().is_some() {
            return Err(ControlRulesError::Form("templates are not used here".to_owned()));
        }
        let (mut words, mut ids) = (BTreeMap::new(), BTreeSet::new());
        for policy in set.policies() {
            let said = |key| policy.annotation(key).map(str::trim).filter(|said| !said.is_empty());
            match (said("id"), said("reason")) {
                (Some(id), Some(reason)) if ids.insert(id.to_owned()) => {
                    let forbids = policy.effect() == Effect::Forbid;
                    let said = Words { id: id.to_owned(), reason: reason.to_owned(), forbids };
                    words.insert(policy.id().clone(), said);
                }
                (id, _) => return Err(ControlRulesError::Words(id.unwrap_or("without an id").to_owned())),
            }
        }
        let result = Validator::new(schema().clone()).validate(&set, ValidationMode::Strict);
        let errors = result.validation_errors().map(ToString::to_string);
        let mut findings = errors.chain(result.validation_warnings().map(ToString::to_string));
        match findings.next() {
            Some(finding) => Err(ControlRulesError::Invalid(finding)),
            None => Ok(Self { set, words }),
        }
    }

    /// Whether it may be done. Whatever goes wrong on the way denies, and says so.
    #[must_use]
    pub fn judge(&self, ask: &ControlAsk<'_>) -> ControlVerdict {
        self.ask(ask).unwrap_or_else(|error| ControlVerdict {
            allowed: false,
            rules: Vec::new(),
            reason: format!("the rules could not be asked: {error}"),
        })
    }

    fn ask(&self, ask: &ControlAsk<'_>) -> Result<ControlVerdict, Box<dyn std::error::Error>> {
        let kind = match ask.kind {
            ControlPrincipal::Person => "Person",
            ControlPrincipal::Token => "Token",
            ControlPrincipal::LocalUser => "LocalUser",
        };
        let principal = uid(kind, ask.name)?;
        let (action, resource) = (uid("Action", ask.action)?, uid("Subject", ask.subject)?);
        let roles = ask.roles.iter().map(|role| uid("Role", role)).collect::<Result<HashSet<_>, _>>()?;
        let named = RestrictedExpression::new_string(ask.subject.to_owned());
        let mut entities: Vec<Entity> = roles.iter().map(|role| Entity::with_uid(role.clone())).collect();
        entities.push(Entity::new_no_attrs(principal.clone(), roles));
        let attributes = std::iter::once(("name".to_owned(), named)).collect();
        entities.push(Entity::new(resource.clone(), attributes, HashSet::new())?);
        let entities = Entities::from_entities(entities, Some(schema()))?;
        let request = Request::new(principal, action, resource, Context::empty(), Some(schema()))?;
        let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
        let mut spoke: Vec<&Words> = response.diagnostics().reason().filter_map(|id| self.words.get(id)).collect();
        spoke.sort_by(|one, other| one.id.cmp(&other.id));
        // Cedar skips a rule that fails, a `forbid` too: here a failure denies.
        let failed = response.diagnostics().errors().next().map(ToString::to_string);
        let allowed = response.decision() == Decision::Allow && failed.is_none();
        let forbidden = spoke.iter().find(|words| words.forbids).map(|words| words.reason.clone());
        let reason = match (allowed, failed, forbidden) {
            (true, ..) => String::new(),
            (_, Some(failed), _) => format!("a rule failed: {failed}"),
            (_, _, Some(reason)) => reason,
            _ => format!("no rule permits `{}` to the roles [{}]", ask.action, ask.roles.join(", ")),
        };
        Ok(ControlVerdict { allowed, rules: spoke.into_iter().map(|words| words.id.clone()).collect(), reason })
    }
}

fn uid(kind: &str, name: &str) -> Result<EntityUid, Box<dyn std::error::Error>> {
    Ok(EntityUid::from_type_name_and_id(kind.parse::<EntityTypeName>()?, EntityId::new(name)))
}

fn schema() -> &'static Schema {
    static READ: LazyLock<Schema> =
        LazyLock::new(|| Schema::from_cedarschema_str(SCHEMA).expect("the embedded schema is read by a test").0);
    &READ
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(rules: &ControlRules, role: &str, action: &str) -> bool {
        let (kind, roles) = (ControlPrincipal::Person, [role.to_owned()]);
        rules.judge(&ControlAsk { kind, name: "ada", roles: &roles, action, subject: "till-7" }).allowed
    }

    #[test]
    fn each_role_may_do_its_own_work_and_no_more() {
        let rules = ControlRules::embedded().unwrap();
        for (role, may_do, may_not_do) in [
            ("viewer", "see", "enrol"),
            ("operator", "assign", "administer"),
            ("operator", "rollout", "approve_rollout"),
            ("approver", "approve_rollout", "rollout"),
            ("auditor", "read_records", "command"),
            ("administrator", "administer", "unheard_of"),
        ] {
            assert!(may(&rules, role, may_do), "{role} {may_do}");
            assert!(!may(&rules, role, may_not_do), "{role} {may_not_do}");
        }
        assert!(!may(&rules, "stranger", "see"));
    }

    #[test]
    fn a_forbid_wins_and_gives_its_reason() {
        let rules = r#"
            @id("all") @reason("All.") permit (principal, action, resource);
            @id("vault") @reason("The vault stays as it is.")
            forbid (principal, action == Action::"revoke", resource) when { resource.name == "vault-1" };"#;
        let rules = ControlRules::parse(rules).unwrap();
        let ask = |subject| {
            let (kind, name, roles) = (ControlPrincipal::LocalUser, "root", &[][..]);
            rules.judge(&ControlAsk { kind, name, roles, action: "revoke", subject })
        };
        assert!(ask("till-7").allowed);
        let verdict = ask("vault-1");
        assert_eq!((verdict.allowed, verdict.reason.as_str()), (false, "The vault stays as it is."));
        assert_eq!(verdict.rules, ["vault"]);
    }

    #[test]
    fn rules_that_do_not_fit_are_refused() {
        for text in [
            "permit (principal, action, resource);",
            r#"@id("a") permit (principal, action, resource);"#,
            r#"@id("a") @reason("x") permit (principal, action == Action::"fly", resource);"#,
            r#"@id("a") @reason("x") permit (principal, action, resource) when { resource.colour == "red" };"#,
            r#"@id("a") @reason("x") permit (principal, action, resource); @id("a") @reason("y") permit (principal, action, resource);"#,
            "permit",
        ] {
            assert!(ControlRules::parse(text).is_err(), "{text}");
        }
    }
}
