//! Policies in use: activated as a whole, asked in microseconds.

use std::collections::BTreeMap;

use cedar_policy::{Authorizer, Decision, Entities, Entity, Request, Schema};

use crate::compile::{Compiled, compile};
use crate::words::Words;
use crate::{Ask, Bundle, Denial, Expect, Finding, Permit, RoleLimits};

/// A checked bundle, ready to decide. Nothing in it changes any more.
#[derive(Debug)]
pub struct Policies {
    version: u64,
    limits: BTreeMap<String, RoleLimits>,
    compiled: Compiled,
    words: Words,
    authorizer: Authorizer,
}

/// What people are told of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its `@id`, unique in the bundle.
    pub id: String,
    /// Its `@title`: what it says, in a sentence.
    pub title: String,
    /// Its `@reason`: why it says so, and for a `forbid` what the refused caller can do.
    pub reason: String,
    /// True if it forbids, false if it permits.
    pub forbids: bool,
    /// The file of the bundle that it stands in.
    pub file: String,
}

impl Policies {
    /// Checks a bundle and runs its cases.
    ///
    /// # Errors
    /// Everything that is wrong with it; a bundle with a finding does not come into force.
    pub fn activate(bundle: Bundle) -> Result<Self, Vec<Finding>> {
        let words = Words::new();
        let compiled = compile(&bundle, &words)?;
        let policies =
            Self { version: bundle.version, limits: bundle.limits, compiled, words, authorizer: Authorizer::new() };
        if bundle.cases.is_empty() {
            return Err(vec![Finding::new("cases", "there are none: a bundle proves what it means by its own cases")]);
        }
        let findings: Vec<Finding> = (1..)
            .zip(&bundle.cases)
            .filter_map(|(number, case)| {
                policies.run(case).err().map(|what| Finding::new(format!("case {number}, “{}”", case.title), what))
            })
            .collect();
        if findings.is_empty() { Ok(policies) } else { Err(findings) }
    }

    /// Version of the bundle.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The rules, by id.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.compiled.rules.values()
    }

    /// The roles that the bundle declares, with their limits.
    #[must_use]
    pub fn roles(&self) -> &BTreeMap<String, RoleLimits> {
        &self.limits
    }

    /// Decides. Denied is whatever no rule permits, any rule forbids, or any rule fails to be evaluated on.
    ///
    /// # Errors
    /// The denial, with its reason.
    pub fn authorize(&self, ask: &Ask) -> Result<Permit, Denial> {
        let mut roles: Vec<&str> =
            ask.principal.roles.iter().map(String::as_str).filter(|role| self.limits.contains_key(*role)).collect();
        roles.sort_unstable();
        roles.dedup();
        let limit = self.limit(&roles);
        let response = match self.request(ask, &roles, limit) {
            Ok((request, entities)) => {
                self.authorizer.is_authorized(&request, &self.compiled.by_action[&ask.action], &entities)
            }
            Err(error) => return Err(self.broken(vec![error])),
        };
        let errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        if !errors.is_empty() {
            return Err(self.broken(errors));
        }
        let mut rules: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        rules.sort();
        match response.decision() {
            Decision::Allow => Ok(Permit {
                principal: ask.principal.clone(),
                action: ask.action,
                resource: ask.resource.clone(),
                rules,
                policy_version: self.version,
                max_tokens: ask.context.max_tokens.unwrap_or(limit),
            }),
            Decision::Deny => Err(self.denial(ask, rules)),
        }
    }

    /// The smallest limit that the roles name; none of them naming one gives nothing.
    fn limit(&self, roles: &[&str]) -> u32 {
        roles.iter().filter_map(|role| self.limits.get(*role)?.max_tokens_per_request).min().unwrap_or(0)
    }

    /// The question in Cedar's terms, checked against the schema.
    fn request(&self, ask: &Ask, roles: &[&str], limit: u32) -> Result<(Request, Entities), String> {
        let schema: &Schema = &self.compiled.schema;
        let principal = self.words.principal(&ask.principal, roles, limit)?;
        let resource = self.words.resource(&ask.resource)?;
        let context = self.words.context(ask, limit)?;
        let request =
            Request::new(principal.uid(), self.words.action(ask.action), resource.uid(), context, Some(schema))
                .map_err(|error| error.to_string())?;
        let held = roles.iter().map(|role| Entity::with_uid(self.words.role(role)));
        // The values were made here from the schema's own types, so checking each entity again would only cost time.
        let entities = Entities::from_entities([principal, resource].into_iter().chain(held), None)
            .map_err(|error| error.to_string())?;
        Ok((request, entities))
    }

    fn denial(&self, ask: &Ask, rules: Vec<String>) -> Denial {
        let reasons: Vec<String> = rules
            .iter()
            .filter_map(|id| self.compiled.rules.get(id))
            .map(|rule| format!("{} (rule `{}`)", rule.reason, rule.id))
            .collect();
        let message = if reasons.is_empty() {
            let held = if ask.principal.roles.is_empty() { "none".to_owned() } else { ask.principal.roles.join(", ") };
            format!("no rule lets a caller with these roles ({held}) do `{}` here", ask.action)
        } else {
            reasons.join(" ")
        };
        Denial { rules, message, errors: Vec::new(), policy_version: self.version }
    }

    fn broken(&self, mut errors: Vec<String>) -> Denial {
        errors.sort();
        let message = "the policy could not be evaluated, which denies; the device's record names the rule".to_owned();
        Denial { rules: Vec::new(), message, errors, policy_version: self.version }
    }

    /// Whether a case comes out as written.
    fn run(&self, case: &crate::Case) -> Result<(), String> {
        let (decided, rules, why) = match self.authorize(&case.ask()) {
            Ok(permit) => (Expect::Allow, permit.rules.clone(), String::new()),
            Err(denial) => {
                let why = denial.errors.first().cloned().unwrap_or(denial.message);
                (Expect::Deny, denial.rules, why)
            }
        };
        match (case.expect, decided) {
            (Expect::Allow, Expect::Deny) => Err(format!("expected allow, but it was denied: {why}")),
            (Expect::Deny, Expect::Allow) => Err(format!("expected deny, but it was allowed by {}", rules.join(", "))),
            _ => match &case.by {
                Some(by) if !rules.contains(by) => {
                    Err(format!("expected the rule `{by}` to decide, but these did: {}", rules.join(", ")))
                }
                _ => Ok(()),
            },
        }
    }
}
