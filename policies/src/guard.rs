//! Guards: what can be known of a rule's condition without asking Cedar, so that most rules need not be asked at all.
//!
//! A guard follows the condition from left to right, as Cedar evaluates it, and knows the parts that cannot fail:
//! comparisons of the schema's attributes with what is written in the rule. Where it meets anything else it says that it
//! does not know. It decides one thing only: a rule whose condition is certainly false is not asked. Cedar decides all
//! others, so no guard ever allows anything; that none hides a rule is held by a test against Cedar's authorizer and, in
//! a debug build, by every decision.

use cedar_policy_core::ast::{BinaryOp, EntityUID, Expr, ExprKind, Literal, Pattern, UnaryOp, Var};

use crate::calendar::LAST_SECOND;
use crate::situation::seconds_of;
use crate::{Ask, Limits, ModelFacts, PrincipalKind, Span};

/// What guards look at: the question before it is put into Cedar's terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) ask: &'a Ask,
    /// The model, with what the bundle says of it; none where something else is acted on.
    pub(crate) model: Option<&'a ModelFacts>,
    pub(crate) limits: &'a Limits,
}

/// What is known of a condition.
#[derive(Debug)]
pub(crate) enum Guard {
    /// Nothing.
    Unknown,
    Constant(bool),
    Not(Box<Guard>),
    And(Box<[Guard; 2]>),
    Or(Box<[Guard; 2]>),
    If(Box<[Guard; 3]>),
    Flag(Field),
    /// One of several texts or words.
    IsOneOf(Field, Vec<String>),
    Like(Field, Pattern),
    Compare(BinaryOp, Number, Number),
    /// Whether a limit, or the end of an approval, is there.
    Has(Field),
    NamesModel,
    HoldsRole(String),
    Caller(PrincipalKind, Option<String>),
    Resource(&'static str, Option<String>),
    Act(Vec<String>),
}

/// A flag, a text, a word of a closed list, or something that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Licence,
    Family,
    Quantisation,
    Class,
    Approved,
    ApprovedUntil,
    Endpoint,
    AuthMethod,
    Network,
    DataClass,
    TimeTrusted,
    Stream,
    Tools,
    WithinHours,
    Models,
    MaxOffline,
    RequestsPerMinute,
    TokensPerDay,
    Concurrent,
    ContextTokens,
}

/// A number, with what it counts: only like is compared with like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Long(i64),
    Weekday,
    Minute,
    MaxTokens,
    TokensToday,
    TokensPerRequest,
    Milliseconds(i64),
    OfflineFor,
    PolicyAge,
    MaxOffline,
    Now,
    ApprovedUntil,
}

#[derive(PartialEq, PartialOrd)]
enum Amount {
    Long(i64),
    Milliseconds(i64),
    Moment(i64),
}

impl Guard {
    /// What can be known of a condition.
    pub(crate) fn of(condition: &Expr) -> Self {
        let two = |left: &Expr, right: &Expr| Box::new([Self::of(left), Self::of(right)]);
        match condition.expr_kind() {
            ExprKind::Lit(Literal::Bool(constant)) => Self::Constant(*constant),
            ExprKind::And { left, right } => Self::And(two(left, right)),
            ExprKind::Or { left, right } => Self::Or(two(left, right)),
            ExprKind::If { test_expr, then_expr, else_expr } => {
                Self::If(Box::new([Self::of(test_expr), Self::of(then_expr), Self::of(else_expr)]))
            }
            ExprKind::UnaryApp { op: UnaryOp::Not, arg } => Self::Not(Box::new(Self::of(arg))),
            ExprKind::BinaryApp { op, arg1, arg2 } => binary(*op, arg1, arg2),
            ExprKind::GetAttr { .. } => {
                Field::of(condition).filter(|field| field.is_flag()).map_or(Self::Unknown, Self::Flag)
            }
            ExprKind::HasAttr { expr, attr } => has(expr, attr.as_str()),
            ExprKind::Like { expr, pattern } => Field::of(expr)
                .filter(|field| field.is_text())
                .map_or(Self::Unknown, |field| Self::Like(field, pattern.clone())),
            ExprKind::Is { expr, entity_type } => {
                let kind = entity_type.to_string();
                match expr.expr_kind() {
                    ExprKind::Var(Var::Principal) => caller(&kind, None),
                    ExprKind::Var(Var::Resource) => resource(&kind, None),
                    _ => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        }
    }

    /// Whether the condition is true, where that is known.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> Option<bool> {
        let ask = facts.ask;
        match self {
            Self::Unknown => None,
            Self::Constant(constant) => Some(*constant),
            Self::Not(inner) => Some(!inner.holds(facts)?),
            // What stands on the right counts only once the left is known: it could fail.
            Self::And(two) => {
                if two[0].holds(facts)? {
                    two[1].holds(facts)
                } else {
                    Some(false)
                }
            }
            Self::Or(two) => {
                if two[0].holds(facts)? {
                    Some(true)
                } else {
                    two[1].holds(facts)
                }
            }
            Self::If(three) => {
                if three[0].holds(facts)? {
                    three[1].holds(facts)
                } else {
                    three[2].holds(facts)
                }
            }
            Self::Flag(field) => field.flag(facts),
            Self::IsOneOf(field, texts) => {
                let text = field.text(facts)?;
                Some(texts.iter().any(|one| one == text))
            }
            Self::Like(field, pattern) => Some(pattern.wildcard_match(field.text(facts)?)),
            Self::Compare(op, left, right) => compare(*op, &left.amount(facts)?, &right.amount(facts)?),
            Self::Has(field) => field.is_there(facts),
            Self::NamesModel => Some(facts.limits.models.as_ref()?.contains(&facts.model?.id)),
            Self::HoldsRole(role) => Some(ask.principal.roles.contains(role)),
            Self::Caller(kind, id) => {
                Some(ask.principal.kind == *kind && id.as_ref().is_none_or(|id| *id == ask.principal.id))
            }
            Self::Resource(kind, id) => {
                Some(ask.resource.kind() == *kind && id.as_ref().is_none_or(|id| *id == ask.resource.id()))
            }
            Self::Act(words) => Some(words.iter().any(|word| word == ask.action.word())),
        }
    }
}

fn caller(kind: &str, id: Option<String>) -> Guard {
    let kind = match kind {
        "User" => PrincipalKind::User,
        "Service" => PrincipalKind::Service,
        "LocalUser" => PrincipalKind::LocalUser,
        "Device" => PrincipalKind::Device,
        _ => return Guard::Unknown,
    };
    Guard::Caller(kind, id)
}

fn resource(kind: &str, id: Option<String>) -> Guard {
    let known = ["Model", "Device", "AuditLog", "PolicyStore", "KeyStore"].into_iter().find(|known| *known == kind);
    known.map_or(Guard::Unknown, |kind| Guard::Resource(kind, id))
}

fn has(of: &Expr, attribute: &str) -> Guard {
    let field = match (of.expr_kind(), attribute) {
        (ExprKind::Var(Var::Resource), "approved_until") => Field::ApprovedUntil,
        (ExprKind::GetAttr { expr, attr }, _) if is_principal(expr) && attr.as_str() == "limits" => match attribute {
            "models" => Field::Models,
            "max_offline" => Field::MaxOffline,
            "requests_per_minute" => Field::RequestsPerMinute,
            "tokens_per_day" => Field::TokensPerDay,
            "concurrent" => Field::Concurrent,
            "context_tokens" => Field::ContextTokens,
            _ => return Guard::Unknown,
        },
        _ => return Guard::Unknown,
    };
    Guard::Has(field)
}

fn binary(op: BinaryOp, left: &Expr, right: &Expr) -> Guard {
    match op {
        BinaryOp::Less | BinaryOp::LessEq => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => Guard::Compare(op, left, right),
            _ => Guard::Unknown,
        },
        BinaryOp::Eq | BinaryOp::In => {
            if let (BinaryOp::Eq, Some(left), Some(right)) = (op, Number::of(left), Number::of(right)) {
                return Guard::Compare(op, left, right);
            }
            let Some(texts) = literals(right) else { return Guard::Unknown };
            among(op, left, texts)
        }
        BinaryOp::Contains => match (literals(left), Field::of(right)) {
            (Some(texts), Some(field)) => among_words(field, &texts),
            (None, Some(Field::Name)) if limit_of(left) == Some("models") => Guard::NamesModel,
            _ => Guard::Unknown,
        },
        _ => Guard::Unknown,
    }
}

/// A written value: a text, or an entity's kind and name.
enum Written<'a> {
    Text(&'a str),
    Entity(&'a EntityUID),
}

/// The written values of a literal or of a set of them.
fn literals(of: &Expr) -> Option<Vec<Written<'_>>> {
    match of.expr_kind() {
        ExprKind::Lit(Literal::String(text)) => Some(vec![Written::Text(text)]),
        ExprKind::Lit(Literal::EntityUID(uid)) => Some(vec![Written::Entity(uid)]),
        ExprKind::Set(elements) => {
            let mut all = Vec::new();
            for element in elements.iter() {
                match element.expr_kind() {
                    ExprKind::Lit(_) => all.extend(literals(element)?),
                    _ => return None,
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// Whether what stands on the left is one of the written values, or within one.
fn among(op: BinaryOp, left: &Expr, written: Vec<Written<'_>>) -> Guard {
    let variable = match left.expr_kind() {
        ExprKind::Var(variable) => *variable,
        _ => return Field::of(left).map_or(Guard::Unknown, |field| among_words(field, &written)),
    };
    let each = |one: &Written<'_>| {
        let Written::Entity(uid) = one else { return Guard::Unknown };
        let (kind, id) = (uid.entity_type().to_string(), uid.eid().as_ref().to_owned());
        match variable {
            Var::Principal if kind == "Role" && op == BinaryOp::In => Guard::HoldsRole(id),
            // No caller and no resource is within another one, so being within is being.
            Var::Principal => caller(&kind, Some(id)),
            Var::Resource => resource(&kind, Some(id)),
            Var::Action if kind == "Action" => Guard::Act(vec![id]),
            _ => Guard::Unknown,
        }
    };
    let any = |left, right| Guard::Or(Box::new([left, right]));
    written.iter().map(each).reduce(any).unwrap_or(Guard::Constant(false))
}

fn among_words(field: Field, written: &[Written<'_>]) -> Guard {
    let mut texts = Vec::new();
    for one in written {
        match (field.words(), one) {
            (None, Written::Text(text)) if field.is_text() => texts.push((*text).to_owned()),
            (Some(kind), Written::Entity(uid)) if uid.entity_type().to_string() == kind => {
                texts.push(uid.eid().as_ref().to_owned());
            }
            _ => return Guard::Unknown,
        }
    }
    Guard::IsOneOf(field, texts)
}

fn is_principal(of: &Expr) -> bool {
    matches!(of.expr_kind(), ExprKind::Var(Var::Principal))
}

/// The field of `principal.limits.…`.
fn limit_of(of: &Expr) -> Option<&str> {
    let ExprKind::GetAttr { expr, attr } = of.expr_kind() else { return None };
    let ExprKind::GetAttr { expr: outer, attr: limits } = expr.expr_kind() else { return None };
    (is_principal(outer) && limits.as_str() == "limits").then_some(attr.as_str())
}

impl Field {
    fn of(attribute: &Expr) -> Option<Self> {
        let ExprKind::GetAttr { expr, attr } = attribute.expr_kind() else { return None };
        let ExprKind::Var(variable) = expr.expr_kind() else { return None };
        Some(match (variable, attr.as_str()) {
            (Var::Resource, "name") => Self::Name,
            (Var::Resource, "licence") => Self::Licence,
            (Var::Resource, "family") => Self::Family,
            (Var::Resource, "quantisation") => Self::Quantisation,
            (Var::Resource, "class") => Self::Class,
            (Var::Resource, "approved") => Self::Approved,
            (Var::Context, "endpoint") => Self::Endpoint,
            (Var::Context, "auth_method") => Self::AuthMethod,
            (Var::Context, "network") => Self::Network,
            (Var::Context, "data_class") => Self::DataClass,
            (Var::Context, "time_trusted") => Self::TimeTrusted,
            (Var::Context, "stream") => Self::Stream,
            (Var::Context, "tools") => Self::Tools,
            (Var::Context, "within_hours") => Self::WithinHours,
            _ => return None,
        })
    }

    fn is_flag(self) -> bool {
        matches!(self, Self::Approved | Self::TimeTrusted | Self::Stream | Self::Tools | Self::WithinHours)
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::Licence | Self::Family | Self::Quantisation | Self::Endpoint)
    }

    /// The kind of entity that its words are, if it is a closed list.
    fn words(self) -> Option<&'static str> {
        match self {
            Self::Class => Some("ModelClass"),
            Self::AuthMethod => Some("AuthMethod"),
            Self::Network => Some("Network"),
            Self::DataClass => Some("DataClass"),
            _ => None,
        }
    }

    fn flag(self, facts: &Facts<'_>) -> Option<bool> {
        let context = &facts.ask.context;
        match self {
            Self::Approved => Some(facts.model?.approved),
            Self::TimeTrusted => Some(context.time_trusted),
            Self::Stream => facts.if_inference(context.stream),
            Self::Tools => facts.if_inference(context.tools),
            Self::WithinHours => facts.if_inference(()).map(|()| facts.limits.within_hours(context)),
            _ => None,
        }
    }

    fn text<'a>(self, facts: &Facts<'a>) -> Option<&'a str> {
        let context = &facts.ask.context;
        match self {
            Self::Name => Some(&facts.model?.id),
            Self::Licence => Some(&facts.model?.licence),
            Self::Family => Some(&facts.model?.family),
            Self::Quantisation => Some(&facts.model?.quantisation),
            Self::Class => Some(facts.model?.class.word()),
            Self::Endpoint => Some(&context.endpoint),
            Self::AuthMethod => Some(context.auth_method.word()),
            Self::Network => Some(context.network.word()),
            Self::DataClass => facts.if_inference(context.data_class.word()),
            _ => None,
        }
    }

    fn is_there(self, facts: &Facts<'_>) -> Option<bool> {
        let limits = facts.limits;
        Some(match self {
            Self::ApprovedUntil => facts.model?.approved_until_s.is_some(),
            Self::Models => limits.models.is_some(),
            Self::MaxOffline => limits.max_offline.is_some(),
            Self::RequestsPerMinute => limits.requests_per_minute.is_some(),
            Self::TokensPerDay => limits.tokens_per_day.is_some(),
            Self::Concurrent => limits.concurrent.is_some(),
            Self::ContextTokens => limits.context_tokens.is_some(),
            _ => return None,
        })
    }
}

impl Facts<'_> {
    /// What the context has only where a model works.
    fn if_inference<T>(&self, value: T) -> Option<T> {
        self.ask.action.is_inference().then_some(value)
    }
}

impl Number {
    fn of(expression: &Expr) -> Option<Self> {
        match expression.expr_kind() {
            ExprKind::Lit(Literal::Long(number)) => Some(Self::Long(*number)),
            ExprKind::ExtensionFunctionApp { fn_name, args } if fn_name.to_string() == "duration" => {
                let ExprKind::Lit(Literal::String(text)) = args.first()?.expr_kind() else { return None };
                Some(Self::Milliseconds(i64::try_from(seconds_of(text)?).ok()?.checked_mul(1000)?))
            }
            ExprKind::GetAttr { expr, attr } => match (expr.expr_kind(), attr.as_str()) {
                (ExprKind::Var(Var::Context), "weekday") => Some(Self::Weekday),
                (ExprKind::Var(Var::Context), "minute_of_day") => Some(Self::Minute),
                (ExprKind::Var(Var::Context), "max_tokens") => Some(Self::MaxTokens),
                (ExprKind::Var(Var::Context), "tokens_today") => Some(Self::TokensToday),
                (ExprKind::Var(Var::Context), "offline_for") => Some(Self::OfflineFor),
                (ExprKind::Var(Var::Context), "policy_age") => Some(Self::PolicyAge),
                (ExprKind::Var(Var::Context), "now") => Some(Self::Now),
                (ExprKind::Var(Var::Resource), "approved_until") => Some(Self::ApprovedUntil),
                _ => match limit_of(expression)? {
                    "max_tokens_per_request" => Some(Self::TokensPerRequest),
                    "max_offline" => Some(Self::MaxOffline),
                    _ => None,
                },
            },
            _ => None,
        }
    }

    fn amount(self, facts: &Facts<'_>) -> Option<Amount> {
        let context = &facts.ask.context;
        let span = |seconds: u64| {
            let seconds = i64::try_from(Span::from_seconds(seconds).seconds()).ok()?;
            Some(Amount::Milliseconds(seconds * 1000))
        };
        let moment = |at_s: i64| Amount::Moment(at_s.clamp(0, LAST_SECOND));
        let limit = facts.limits.max_tokens_per_request;
        Some(match self {
            Self::Long(number) => Amount::Long(number),
            Self::Weekday => Amount::Long(context.weekday().into()),
            Self::Minute => Amount::Long(context.minute_of_day().into()),
            Self::MaxTokens => Amount::Long(facts.if_inference(context.max_tokens.unwrap_or(limit))?.into()),
            Self::TokensToday => {
                Amount::Long(i64::try_from(facts.if_inference(context.tokens_today)?).unwrap_or(i64::MAX))
            }
            Self::TokensPerRequest => Amount::Long(limit.into()),
            Self::Milliseconds(milliseconds) => Amount::Milliseconds(milliseconds),
            Self::OfflineFor => span(context.offline_s)?,
            Self::PolicyAge => span(context.policy_age_s)?,
            Self::MaxOffline => span(facts.limits.max_offline?.seconds())?,
            Self::Now => moment(context.now_s),
            Self::ApprovedUntil => moment(facts.model?.approved_until_s?),
        })
    }
}

fn compare(op: BinaryOp, left: &Amount, right: &Amount) -> Option<bool> {
    if std::mem::discriminant(left) != std::mem::discriminant(right) {
        return None;
    }
    Some(match op {
        BinaryOp::Less => left < right,
        BinaryOp::LessEq => left <= right,
        BinaryOp::Eq => left == right,
        _ => return None,
    })
}
