//! Policies in use: activated as a whole, asked in microseconds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::compile::{Compiled, compile};
use crate::guard::Facts;
use crate::holder::{Holder, Holders, Parts};
use crate::judge::{Judge, Open, Question, Verdict};
use crate::words::Words;
use crate::{
    Ask, AuditLevel, AuditRules, Bundle, Case, Denial, Expect, Finding, FleetRules, ModelFacts, Permit, Resource,
    RoleLimits, TransferRules,
};

/// A checked bundle, ready to decide. What it answers does not change any more.
#[derive(Debug)]
pub struct Policies {
    version: u64,
    required_approvals: u8,
    audit: AuditRules,
    fleet: FleetRules,
    transfer: TransferRules,
    limits: BTreeMap<String, RoleLimits>,
    compiled: Compiled,
    words: Words,
    holders: Holders,
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
    /// How much of a call that it permits is kept.
    pub audit: AuditLevel,
}

/// How a case came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TriedCase {
    /// The case in words.
    pub title: String,
    /// What came of it instead of what was expected.
    pub problem: Option<String>,
}

impl Policies {
    /// Checks a bundle and runs its cases.
    ///
    /// # Errors
    /// Everything that is wrong with it; a bundle with a finding does not come into force.
    pub fn activate(bundle: Bundle) -> Result<Self, Vec<Finding>> {
        let policies = Self::check(&bundle)?;
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

    /// Runs a bundle's cases and says of each how it came out; the bundle is not activated.
    ///
    /// # Errors
    /// What is wrong with the bundle apart from its cases.
    pub fn try_cases(bundle: &Bundle) -> Result<Vec<TriedCase>, Vec<Finding>> {
        let policies = Self::check(bundle)?;
        let tried = |case: &Case| TriedCase { title: case.title.clone(), problem: policies.run(case).err() };
        Ok(bundle.cases.iter().map(tried).collect())
    }

    /// Everything but the cases.
    fn check(bundle: &Bundle) -> Result<Self, Vec<Finding>> {
        let words = Words::new();
        let compiled = compile(bundle, &words)?;
        Ok(Self {
            version: bundle.version,
            required_approvals: bundle.required_approvals,
            audit: bundle.audit,
            fleet: bundle.fleet.clone(),
            transfer: bundle.transfer,
            limits: bundle.limits.clone(),
            compiled,
            words,
            holders: Holders::default(),
        })
    }

    /// Version of the bundle.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many different people must have signed the bundle that follows this one; 0 and 1 ask for no second.
    #[must_use]
    pub fn required_approvals(&self) -> u8 {
        self.required_approvals
    }

    /// What the bundle says of the audit log itself.
    #[must_use]
    pub fn audit(&self) -> AuditRules {
        self.audit
    }

    /// What the bundle says of the fleet.
    #[must_use]
    pub fn fleet(&self) -> &FleetRules {
        &self.fleet
    }

    /// What the bundle says of fetching models.
    #[must_use]
    pub fn transfer(&self) -> TransferRules {
        self.transfer
    }

    /// The rules, by id.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.compiled.rules.values()
    }

    /// The rule of this id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.compiled.rules.get(id)
    }

    /// The roles that the bundle declares, with their limits.
    #[must_use]
    pub fn roles(&self) -> &BTreeMap<String, RoleLimits> {
        &self.limits
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Decides. Denied is whatever no rule permits, any rule forbids, or any rule fails to be evaluated on.
    ///
    /// # Errors
    /// The denial, with its reason.
    pub fn authorize(&self, ask: &Ask) -> Result<Permit, Denial> {
        let (holder, mut verdict) = self.verdict(ask).map_err(|error| self.broken(vec![error]))?;
        if !verdict.errors.is_empty() {
            return Err(self.broken(verdict.errors));
        }
        if !verdict.forbids.is_empty() || verdict.permits.is_empty() {
            verdict.forbids.sort();
            return Err(self.denial(ask, verdict.forbids));
        }
        verdict.permits.sort();
        // What one rule asks to be kept, no other that happens to permit the same takes away: a second role is no way around
        // the record.
        let kept = verdict.permits.iter().filter_map(|id| self.rule(id)).map(|rule| rule.audit).max();
        Ok(Permit {
            principal: ask.principal.clone(),
            action: ask.action,
            resource: ask.resource.clone(),
            rules: verdict.permits,
            policy_version: self.version,
            max_tokens: ask.context.max_tokens.unwrap_or(holder.limits.max_tokens_per_request),
            limits: Arc::clone(&holder.limits),
            content: holder.content.clone(),
            audit: kept.unwrap_or_default(),
            broken_glass: None,
        })
    }

    /// What the rules say, every one of them that could say something.
    pub(crate) fn verdict(&self, ask: &Ask) -> Result<(Arc<Holder>, Verdict), String> {
        if let Some(excess) = ask.excess() {
            return Err(excess);
        }
        if ask.resource.kind() != ask.action.resource_kind() {
            return Err(format!("`{}` is not done to a {}", ask.action, ask.resource.kind()));
        }
        let holder = self.holder(&ask.principal.roles)?;
        let model = match &ask.resource {
            Resource::Model(facts) => Some(self.with_approval(facts)),
            _ => None,
        };
        let facts = Facts { ask, model: model.as_deref(), limits: &holder.limits };
        let slice = holder.slice(ask.action);
        let verdict = self.put(&facts, &holder, &self.compiled.judge.open(slice, &facts))?;
        if cfg!(debug_assertions) {
            let all = self.compiled.judge.open_all(slice);
            debug_assert_eq!(self.put(&facts, &holder, &all)?, verdict, "a guard or a need hid something from {ask:?}");
        }
        Ok((holder, verdict))
    }

    /// Puts a question to rules; without any there is nothing to put.
    pub(crate) fn put(&self, facts: &Facts<'_>, holder: &Holder, open: &Open<'_>) -> Result<Verdict, String> {
        if open.is_empty() {
            return Ok(Verdict::default());
        }
        Ok(Judge::ask(open, self.question(facts, holder, open)?))
    }

    pub(crate) fn holder(&self, roles: &[String]) -> Result<Arc<Holder>, String> {
        let parts = Parts {
            limits: &self.limits,
            content: &self.compiled.content,
            words: &self.words,
            judge: &self.compiled.judge,
        };
        self.holders.of(roles, &parts)
    }

    /// The question in Cedar's terms, with what those rules look at.
    pub(crate) fn question(&self, facts: &Facts<'_>, holder: &Holder, open: &Open<'_>) -> Result<Question, String> {
        let (words, ask, needs) = (&self.words, facts.ask, open.needs);
        let principal = words.principal(&ask.principal, holder, needs);
        let resource = match facts.model {
            Some(model) => words.model(model, needs)?,
            None => words.resource(&ask.resource)?,
        };
        // What else a rule may look at: models that it names.
        let named = open.models().into_iter().filter(|name| *name != ask.resource.id());
        let others = named
            .filter(|name| self.compiled.models.contains_key(*name))
            .map(|name| {
                let facts = ModelFacts { id: name.to_owned(), ..ModelFacts::default() };
                words.model(&self.with_approval(&facts), needs)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let context = words.context(ask, &holder.limits, needs)?;
        Question::new(words.action(ask.action), principal, resource, others, context)
    }

    /// A model with what the bundle says of it.
    pub(crate) fn with_approval<'a>(&self, facts: &'a ModelFacts) -> Cow<'a, ModelFacts> {
        let Some(known) = self.compiled.models.get(&facts.id) else { return Cow::Borrowed(facts) };
        Cow::Owned(ModelFacts {
            id: facts.id.clone(),
            licence: known.licence.clone().unwrap_or_else(|| facts.licence.clone()),
            class: known.class.unwrap_or(facts.class),
            family: known.family.clone().unwrap_or_else(|| facts.family.clone()),
            quantisation: facts.quantisation.clone(),
            approved: known.approved,
            approved_until_s: known.approved_until_s,
        })
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

    /// Whether a case comes out as written, for each of its acts.
    fn run(&self, case: &Case) -> Result<(), String> {
        if case.does.as_slice().is_empty() {
            return Err("it does nothing: name an act".to_owned());
        }
        case.asks().try_for_each(|ask| self.run_one(case, &ask).map_err(|problem| format!("{}: {problem}", ask.action)))
    }

    fn run_one(&self, case: &Case, ask: &Ask) -> Result<(), String> {
        let (decided, rules, why) = match self.authorize(ask) {
            Ok(permit) => (Expect::Allow, permit.rules, String::new()),
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
