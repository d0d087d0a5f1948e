//! Why: which rules spoke, and what would have to be different for another answer.

use std::fmt;

use serde::Serialize;

use crate::situation::typical;
use crate::{Ask, Policies};

/// Most ways to another answer that are named.
const WAYS: usize = 12;

/// Why a question was answered as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The rules that spoke, those that forbid first.
    pub spoke: Vec<Spoke>,
    /// Rules that could not be evaluated; any of these denies.
    pub errors: Vec<String>,
    /// Single changes that would turn the answer round, in words.
    pub otherwise: Vec<String>,
    /// Version of the bundle that decided.
    pub policy_version: u64,
}

/// A rule that spoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spoke {
    /// Its id.
    pub rule: String,
    /// Whether it forbids.
    pub forbids: bool,
    /// What it says.
    pub title: String,
    /// Why it says so.
    pub reason: String,
}

impl Policies {
    /// Why a question is answered as it is.
    #[must_use]
    pub fn explain(&self, ask: &Ask) -> Explanation {
        let allowed = self.authorize(ask).is_ok();
        let (spoke, errors) = match self.verdict(ask) {
            Ok((_, verdict)) => {
                let ids = verdict.forbids.iter().chain(&verdict.permits);
                (ids.filter_map(|id| self.spoke(id)).collect(), verdict.errors)
            }
            Err(error) => (Vec::new(), vec![error]),
        };
        let otherwise = self.otherwise(ask, allowed);
        Explanation { allowed, spoke, errors, otherwise, policy_version: self.version() }
    }

    fn spoke(&self, id: &str) -> Option<Spoke> {
        let rule = self.rule(id)?;
        Some(Spoke {
            rule: rule.id.clone(),
            forbids: rule.forbids,
            title: rule.title.clone(),
            reason: rule.reason.clone(),
        })
    }

    /// Single changes to the question that turn the answer round.
    fn otherwise(&self, ask: &Ask, allowed: bool) -> Vec<String> {
        let mut ways = Vec::new();
        let mut consider = |words: String, changed: &Ask| {
            if ways.len() < WAYS && self.authorize(changed).is_ok() != allowed {
                ways.push(words);
            }
        };
        let limit = self.holder(&ask.principal.roles).map(|holder| holder.limits.max_tokens_per_request).unwrap_or(0);
        if ask.context.max_tokens.is_some_and(|tokens| tokens > limit) {
            let mut changed = ask.clone();
            changed.context.max_tokens = Some(limit);
            consider(format!("asking for at most {limit} tokens"), &changed);
        }
        for role in self.roles().keys() {
            let mut changed = ask.clone();
            if ask.principal.roles.contains(role) {
                changed.principal.roles.retain(|held| held != role);
                consider(format!("without the role `{role}`"), &changed);
            } else {
                changed.principal.roles.push(role.clone());
                consider(format!("with the role `{role}` as well"), &changed);
            }
            if ask.principal.roles.len() > 1 || !ask.principal.roles.contains(role) {
                changed.principal.roles = vec![role.clone()];
                consider(format!("with the role `{role}` alone"), &changed);
            }
        }
        for situation in typical(&[self]).iter().filter(|situation| situation.concerns(ask.action)) {
            let other = situation.given.ask(ask.principal.roles.clone(), ask.action);
            let words: &str = if situation.when.is_empty() { "in the usual situation" } else { &situation.when };
            for (part, changed) in one_part_of(ask, other) {
                if changed != *ask && (situation.when.is_empty() == part.is_some()) {
                    consider(part.map_or_else(|| words.to_owned(), |part| format!("with the usual {part}")), &changed);
                }
            }
        }
        ways.dedup();
        ways
    }
}

/// The question with one part taken from another: by name from the usual one, and as a whole from a special one.
fn one_part_of(ask: &Ask, other: Ask) -> Vec<(Option<&'static str>, Ask)> {
    let mut list = Vec::new();
    let mut add = |part, change: &dyn Fn(&mut Ask)| {
        let mut changed = ask.clone();
        change(&mut changed);
        list.push((part, changed));
    };
    let (given, usual) = (&other.context, crate::situation::usual().ask(Vec::new(), ask.action).context);
    add(Some("network"), &|changed| changed.context.network = given.network);
    add(Some("authentication"), &|changed| changed.context.auth_method = given.auth_method);
    add(Some("time"), &|changed| changed.context.now_s = given.now_s);
    add(Some("connection to the fleet"), &|changed| changed.context.offline_s = given.offline_s);
    add(Some("age of the policy"), &|changed| changed.context.policy_age_s = given.policy_age_s);
    add(Some("kind of data"), &|changed| changed.context.data_class = given.data_class);
    add(Some("absence of tools"), &|changed| changed.context.tools = given.tools);
    add(Some("tokens of today"), &|changed| changed.context.tokens_today = given.tokens_today);
    add(Some("model"), &|changed| changed.resource = other.resource.clone());
    // What a special situation changes against the usual one is changed in the question, and nothing else.
    add(None, &|changed| {
        let context = &mut changed.context;
        macro_rules! take {
            ($($field:ident),*) => {$(if given.$field != usual.$field { context.$field.clone_from(&given.$field); })*};
        }
        take!(now_s, time_trusted, offline_s, policy_age_s, auth_method, network, endpoint, max_tokens, stream, tools);
        take!(data_class, tokens_today);
        if other.principal.kind != crate::PrincipalKind::User {
            changed.principal.kind = other.principal.kind;
        }
        if other.resource != crate::situation::usual().ask(Vec::new(), changed.action).resource {
            changed.resource = other.resource.clone();
        }
    });
    list
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", if self.allowed { "allow" } else { "deny" })?;
        for spoke in &self.spoke {
            let verb = if spoke.forbids { "forbids" } else { "permits" };
            writeln!(formatter, "  `{}` {verb}: {}. {}", spoke.rule, spoke.title, spoke.reason)?;
        }
        for error in &self.errors {
            writeln!(formatter, "  could not be evaluated, which denies: {error}")?;
        }
        if self.spoke.iter().all(|spoke| spoke.forbids) && self.errors.is_empty() {
            writeln!(formatter, "  no rule permits it")?;
        }
        let other = if self.allowed { "denied" } else { "allowed" };
        for way in &self.otherwise {
            writeln!(formatter, "  it would be {other} {way}")?;
        }
        Ok(())
    }
}
