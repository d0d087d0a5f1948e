//! The rules, ready to be asked: sliced by action and by role, each as one condition that Cedar's evaluator decides.
//!
//! What Cedar's own `Authorizer` does, with the same evaluator, but for three things. Rules that cannot apply are not
//! evaluated (another action, a role that the caller does not have, a guard that knows the condition to be false).
//! Conditions are made once and not per question, and without the places in the text that evaluation would carry along.
//! And an error is never skipped. A test compares both on many questions.

use std::collections::BTreeSet;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, Policy, PrincipalConstraint};
use cedar_policy_core::ast::{
    EntityUID, EntityUIDEntry, Expr, ExprKind, Literal, Policy as CedarPolicy, Request, SlotEnv, Var,
};
use cedar_policy_core::entities::{Entities, NoEntitiesSchema, TCComputation};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;

use crate::Action;
use crate::guard::{Facts, Guard};
use crate::words::Words;

/// What rules look at; nothing else needs to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Needs {
    /// The context at all.
    pub(crate) context: bool,
    /// Any attribute of a caller or of what is acted on.
    pub(crate) attributes: bool,
    /// Times, which Cedar reads from text.
    pub(crate) now: bool,
    pub(crate) offline_for: bool,
    pub(crate) policy_age: bool,
    pub(crate) approved_until: bool,
}

impl Needs {
    /// Everything: what the schema says is there.
    pub(crate) const ALL: Self =
        Self { context: true, attributes: true, now: true, offline_for: true, policy_age: true, approved_until: true };

    fn or(self, other: Self) -> Self {
        Self {
            context: self.context || other.context,
            attributes: self.attributes || other.attributes,
            now: self.now || other.now,
            offline_for: self.offline_for || other.offline_for,
            policy_age: self.policy_age || other.policy_age,
            approved_until: self.approved_until || other.approved_until,
        }
    }

    /// What a condition looks at. One that uses the context as a whole looks at everything.
    fn of(condition: &Expr) -> Self {
        let (mut needs, mut mentions, mut reads) = (Self::default(), 0_usize, 0_usize);
        for part in condition.subexpressions() {
            let (inner, attribute) = match part.expr_kind() {
                ExprKind::Var(Var::Context) => {
                    mentions += 1;
                    continue;
                }
                ExprKind::GetAttr { expr, attr } | ExprKind::HasAttr { expr, attr } => (expr, attr),
                ExprKind::ExtHasAttr { expr, attrs } => (expr, &attrs.head),
                _ => continue,
            };
            let of_context = matches!(inner.expr_kind(), ExprKind::Var(Var::Context));
            reads += usize::from(of_context);
            needs.attributes |= !of_context;
            match attribute.as_str() {
                "now" => needs.now = true,
                "offline_for" => needs.offline_for = true,
                "policy_age" => needs.policy_age = true,
                "approved_until" => needs.approved_until = true,
                _ => {}
            }
        }
        needs.context = mentions > 0;
        if mentions == reads { needs } else { Self::ALL }
    }
}

/// The rules of a bundle.
#[derive(Debug)]
pub(crate) struct Judge {
    rules: Vec<Ready>,
    /// By action, in the order of [`Action::ALL`]: the rules that can say something about it.
    by_action: Vec<Vec<usize>>,
}

/// One rule.
#[derive(Debug)]
struct Ready {
    id: String,
    forbids: bool,
    condition: Expr,
    guard: Guard,
    /// The role without which it cannot apply.
    role: Option<String>,
    needs: Needs,
    /// Models that it names: it may look at what is known of them.
    models: Vec<String>,
    /// Roles that it names, anywhere.
    roles: Vec<String>,
    /// Attributes that it reads, of anything.
    attributes: BTreeSet<String>,
}

/// The rules that can say something about an action of a caller with certain roles.
#[derive(Debug, Default)]
pub(crate) struct Slice(Vec<usize>);

/// Those of a slice that have to be asked about a question.
#[derive(Debug, Default)]
pub(crate) struct Open<'a> {
    rules: Vec<&'a Ready>,
    pub(crate) needs: Needs,
}

impl Open<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The models that these rules name.
    pub(crate) fn models(&self) -> BTreeSet<&str> {
        self.rules.iter().flat_map(|rule| rule.models.iter().map(String::as_str)).collect()
    }
}

/// What the rules say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) permits: Vec<String>,
    pub(crate) forbids: Vec<String>,
    pub(crate) errors: Vec<String>,
}

/// A question in Cedar's terms.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) entities: Entities,
}

impl Question {
    pub(crate) fn new(
        action: &Arc<EntityUID>,
        principal: cedar_policy_core::ast::Entity,
        resource: cedar_policy_core::ast::Entity,
        others: Vec<cedar_policy_core::ast::Entity>,
        context: cedar_policy_core::ast::Context,
    ) -> Result<Self, String> {
        let known = |uid: &EntityUID| EntityUIDEntry::Known { euid: Arc::new(uid.clone()), loc: None };
        let request = Request::new_unchecked(
            known(principal.uid()),
            EntityUIDEntry::Known { euid: Arc::clone(action), loc: None },
            known(resource.uid()),
            Some(context),
        );
        // A device that acts on itself is one entity, the one with its roles.
        let itself = principal.uid() == resource.uid();
        let resource = (!itself).then_some(resource);
        // Roles have no parents, so what was put together here is already closed.
        let entities = Entities::from_entities(
            std::iter::once(principal).chain(resource).chain(others),
            None::<&NoEntitiesSchema>,
            TCComputation::AssumeAlreadyComputed,
            Extensions::all_available(),
        );
        Ok(Self { request, entities: entities.map_err(|error| error.to_string())? })
    }
}

impl Judge {
    pub(crate) fn new<'a>(policies: impl Iterator<Item = &'a Policy>, words: &Words) -> Self {
        let mut rules = Vec::new();
        let mut by_action = vec![Vec::new(); Action::ALL.len()];
        for policy in policies {
            for action in Action::ALL {
                if concerns(policy, words.action(action)) {
                    by_action[action as usize].push(rules.len());
                }
            }
            rules.push(Ready::new(policy, words));
        }
        Self { rules, by_action }
    }

    /// The rules that can say something about an action of a caller with these roles.
    pub(crate) fn slice(&self, action: Action, has_role: impl Fn(&str) -> bool) -> Slice {
        let indices = self.by_action[action as usize].iter().copied();
        Slice(indices.filter(|&index| self.rules[index].role.as_deref().is_none_or(&has_role)).collect())
    }

    /// The rules of a slice that have to be asked: all but those that guards know to be false.
    pub(crate) fn open(&self, slice: &Slice, facts: &Facts<'_>) -> Open<'_> {
        self.open_where(slice, |rule| rule.guard.holds(facts) != Some(false))
    }

    /// Every rule of a slice.
    pub(crate) fn open_all(&self, slice: &Slice) -> Open<'_> {
        Open { needs: Needs::ALL, ..self.open_where(slice, |_| true) }
    }

    fn open_where(&self, slice: &Slice, is_open: impl Fn(&Ready) -> bool) -> Open<'_> {
        let mut open = Open::default();
        for rule in slice.0.iter().map(|&index| &self.rules[index]).filter(|rule| is_open(rule)) {
            open.rules.push(rule);
            open.needs = open.needs.or(rule.needs);
        }
        open
    }

    /// What rules say to a question. Every one is asked: an error in any must be seen.
    pub(crate) fn ask(open: &Open<'_>, question: Question) -> Verdict {
        let mut verdict = Verdict::default();
        let slots = SlotEnv::new();
        let evaluator = Evaluator::new(question.request, &question.entities, Extensions::all_available());
        for rule in &open.rules {
            let applies = match evaluator.interpret(&rule.condition, &slots) {
                Ok(value) => match value.value_kind() {
                    cedar_policy_core::ast::ValueKind::Lit(Literal::Bool(applies)) => *applies,
                    _ => {
                        verdict.errors.push(format!("rule `{}` is neither true nor false", rule.id));
                        continue;
                    }
                },
                Err(error) => {
                    verdict.errors.push(format!("rule `{}`: {error}", rule.id));
                    continue;
                }
            };
            if applies {
                let spoke = if rule.forbids { &mut verdict.forbids } else { &mut verdict.permits };
                spoke.push(rule.id.clone());
            }
        }
        verdict
    }

    /// Whether any rule reads an attribute of this name.
    pub(crate) fn reads(&self, attribute: &str) -> bool {
        self.readers_of(attribute).next().is_some()
    }

    /// The rules that read an attribute of this name.
    pub(crate) fn readers_of<'a>(&'a self, attribute: &'a str) -> impl Iterator<Item = &'a str> {
        self.rules.iter().filter(move |rule| rule.attributes.contains(attribute)).map(|rule| rule.id.as_str())
    }

    /// The models that each rule names, by the rule's id.
    pub(crate) fn named_models(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.iter().flat_map(|rule| rule.models.iter().map(|model| (rule.id.as_str(), model.as_str())))
    }

    /// The roles that rules name.
    pub(crate) fn named_roles(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| rule.roles.iter().map(String::as_str))
    }

    /// The rules that could permit an action to a holder of these roles.
    pub(crate) fn permits_of(&self, action: Action, roles: &[String]) -> Vec<String> {
        let slice = self.slice(action, |held| roles.iter().any(|role| role == held));
        let permits = slice.0.iter().map(|&index| &self.rules[index]).filter(|rule| !rule.forbids);
        permits.map(|rule| rule.id.clone()).collect()
    }

    /// The conditions, by the rule's id.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&str, &Expr)> {
        self.rules.iter().map(|rule| (rule.id.as_str(), &rule.condition))
    }
}

impl Ready {
    fn new(policy: &Policy, words: &Words) -> Self {
        let condition = bare_condition(policy);
        let (mut models, mut roles) = (Vec::new(), Vec::new());
        let mut attributes = BTreeSet::new();
        for part in condition.subexpressions() {
            match part.expr_kind() {
                ExprKind::Lit(Literal::EntityUID(uid)) => {
                    models.extend(words.model_name(uid).map(str::to_owned));
                    roles.extend(words.role_name(uid).map(str::to_owned));
                }
                ExprKind::GetAttr { attr, .. } | ExprKind::HasAttr { attr, .. } => {
                    attributes.insert(attr.to_string());
                }
                ExprKind::ExtHasAttr { attrs, .. } => attributes.extend(attrs.iter().map(ToString::to_string)),
                _ => {}
            }
        }
        let role = match policy.principal_constraint() {
            PrincipalConstraint::In(group) | PrincipalConstraint::IsIn(_, group) => {
                let group: &EntityUID = group.as_ref();
                words.role_name(group).map(str::to_owned)
            }
            _ => None,
        };
        Self {
            id: policy.id().to_string(),
            forbids: policy.effect() == Effect::Forbid,
            needs: Needs::of(&condition),
            guard: Guard::of(&condition),
            condition,
            role,
            models,
            roles,
            attributes,
        }
    }
}

/// The whole condition, scope included, without places in the text: each step of an evaluation would copy them.
fn bare_condition(policy: &Policy) -> Expr {
    let whole = |policy: &Policy| {
        let policy: &CedarPolicy = policy.as_ref();
        policy.condition()
    };
    let written = whole(policy);
    let bare = policy.to_json().ok().and_then(|json| Policy::from_json(Some(policy.id().clone()), json).ok());
    // The same condition, or not at all: expressions are compared without their places.
    bare.map(|bare| whole(&bare)).filter(|bare| *bare == written).unwrap_or(written)
}

pub(crate) fn concerns(policy: &Policy, action: &Arc<EntityUID>) -> bool {
    let is = |named: &cedar_policy::EntityUid| {
        let named: &EntityUID = named.as_ref();
        *named == **action
    };
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(named) => is(&named),
        // The schema has no groups of actions, so being in a list is being one of it.
        ActionConstraint::In(named) => named.iter().any(is),
    }
}

#[cfg(test)]
mod tests;
