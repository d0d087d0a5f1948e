//! Our way to a verdict beside Cedar's own.

use cedar_policy::{Authorizer, Decision, PolicySet};
use proptest::prelude::*;

use super::*;
use crate::holder::Holder;
use crate::{
    Ask, AuthMethod, Bundle, Context, DataClass, Expect, ModelClass, ModelFacts, Network, Policies, Principal,
    PrincipalKind, Resource,
};

/// Rules of many shapes: every attribute of the schema, scopes of every form, errors that come only at times.
const MANY: &str = r#"
@id("a") @title("t") @reason("r") permit (principal, action, resource) when { context.network == Network::"loopback" };
@id("b") @title("t") @reason("r") permit (principal is User in Role::"operator", action, resource);
@id("c") @title("t") @reason("r") permit (principal == Service::"batch", action == Action::"infer", resource is Model);
@id("d") @title("t") @reason("r") forbid (principal in Role::"auditor", action in [Action::"embed", Action::"drain"], resource)
  unless { context.time_trusted };
@id("e") @title("t") @reason("r") forbid (principal, action == Action::"infer", resource)
  when { resource has approved_until && context.now > resource.approved_until };
@id("f") @title("t") @reason("r") forbid (principal, action == Action::"infer", resource)
  when { context.tokens_today + 9223372036854775800 > 0 && context.stream };
@id("g") @title("t") @reason("r") forbid (principal, action, resource)
  when { context.offline_for > duration("72h") || context.policy_age > duration("30d") };
@id("h") @title("t") @reason("r") forbid (principal, action == Action::"embed", resource)
  when { Model::"known".approved && resource.class in [ModelClass::"large", ModelClass::"medium"] };
@id("i") @title("t") @reason("r") forbid (principal, action == Action::"infer", resource)
  when { context.data_class == DataClass::"special" && context.tools && !context.within_hours };
@id("j") @title("t") @reason("r") permit (principal in Role::"admin", action, resource)
  when { context == context && context has now && context.endpoint like "/v1/*" };
@id("k") @title("t") @reason("r") forbid (principal, action == Action::"infer", resource)
  when { principal.limits has models && !principal.limits.models.contains(resource.name) };
@id("l") @title("t") @reason("r") forbid (principal, action == Action::"restart", resource)
  when { context.weekday > 5 || context.minute_of_day < 360 || resource.limits.max_tokens_per_request > 0 };
@id("m") @title("t") @reason("r") permit (principal is Device, action == Action::"read_status", resource == Device::"till-7");
"#;

fn many() -> Policies {
    let mut bundle = Bundle::default_bundle();
    bundle.policies.insert("many.cedar".to_owned(), MANY.to_owned());
    bundle.models = toml::from_str("[known]\n[other]\napproved_until = \"2026-11-30\"").unwrap();
    let limits = "max_tokens_per_request = 100\nmodels = [\"known\"]\nmax_offline = \"90d\"\ntokens_per_day = 5\n\
                  hours = [{ weekdays = [\"tue\"], from = \"08:00\", to = \"18:00\" }]";
    bundle.limits.insert("admin".to_owned(), toml::from_str(limits).unwrap());
    bundle.cases = vec![bundle.cases.into_iter().find(|case| case.expect == Expect::Deny).unwrap()];
    bundle.cases[0].who = crate::Roles::Many(Vec::new());
    bundle.cases[0].given.network = Some(Network::Remote);
    Policies::activate(bundle).unwrap_or_else(|findings| panic!("{findings:?}"))
}

/// With what the bundle says of the model.
fn facts<'a>(ask: &'a Ask, model: Option<&'a ModelFacts>, holder: &'a Holder) -> Facts<'a> {
    Facts { ask, model, limits: &holder.limits }
}

fn model(policies: &Policies, ask: &Ask) -> Option<ModelFacts> {
    match &ask.resource {
        Resource::Model(facts) => Some(policies.with_approval(facts).into_owned()),
        _ => None,
    }
}

/// What Cedar's own authorizer says of all the rules: allowed, who decided, how many errors.
fn by_cedar(policies: &Policies, ask: &Ask) -> (bool, Vec<String>, usize) {
    let holder = policies.holder(&ask.principal.roles).unwrap();
    let all = policies.compiled().judge.open_all(holder.slice(ask.action));
    let model = model(policies, ask);
    let question = policies.question(&facts(ask, model.as_ref(), &holder), &holder, &all).unwrap();
    let set = PolicySet::from_policies(policies.compiled().policies.iter().cloned()).unwrap();
    let request = cedar_policy::Request::from(question.request);
    let entities = cedar_policy::Entities::from(question.entities);
    let response = Authorizer::new().is_authorized(&request, &set, &entities);
    let mut rules: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
    rules.sort();
    (response.decision() == Decision::Allow, rules, response.diagnostics().errors().count())
}

/// Whether a question is one that the schema knows: what rules were checked against.
fn check(question: Question) -> Result<(), String> {
    let schema = Some(crate::compile::schema());
    let request = cedar_policy::Request::from(question.request);
    let part = |part: Option<&cedar_policy::EntityUid>| part.cloned().ok_or("a part of the question is missing");
    let (principal, action, resource) =
        (part(request.principal())?, part(request.action())?, part(request.resource())?);
    let context = request.context().cloned().ok_or("the context is missing")?;
    cedar_policy::Request::new(principal, action, resource, context, schema).map_err(|error| error.to_string())?;
    let entities = question.entities.iter().map(|entity| cedar_policy::Entity::from(entity.clone()));
    cedar_policy::Entities::from_entities(entities, schema).map_err(|error| error.to_string())?;
    Ok(())
}

fn asks() -> impl Strategy<Value = Ask> {
    fn one<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> proptest::sample::Select<T> {
        proptest::sample::select(values.to_vec())
    }
    let roles = proptest::sample::subsequence(vec!["admin", "auditor", "operator", "unknown"], 0..=4);
    let who = (one(&PrincipalKind::ALL), one(&["ada", "batch", "till-7", "\"\\"]), roles);
    let model = (
        one(&["known", "other", "demo"]),
        one(&ModelClass::ALL),
        any::<bool>(),
        one(&[None, Some(0), Some(1_796_083_200), Some(i64::MAX)]),
    );
    let time = (one(&[0, 1_796_083_200, 1_796_120_000, 1_796_500_000, i64::MAX]), any::<bool>());
    let ages = (one(&[0, 60, 259_201, u64::MAX]), one(&[0, 2_592_001]));
    let from = (one(&AuthMethod::ALL), one(&Network::ALL), one(&["", "/v1/chat/completions", "/api/chat"]));
    let text = (
        one(&DataClass::ALL),
        any::<bool>(),
        any::<bool>(),
        one(&[None, Some(7), Some(u32::MAX)]),
        one(&[0, 9, u64::MAX]),
    );
    (who, one(&Action::ALL), model, time, ages, from, text).prop_map(|(who, action, model, time, ages, from, text)| {
        Ask {
            principal: Principal {
                kind: who.0,
                id: who.1.to_owned(),
                roles: who.2.into_iter().map(str::to_owned).collect(),
            },
            action,
            resource: match action.resource_kind() {
                "Model" => Resource::Model(ModelFacts {
                    id: model.0.to_owned(),
                    class: model.1,
                    approved: model.2,
                    approved_until_s: model.3,
                    ..ModelFacts::default()
                }),
                "Device" => Resource::Device { id: "till-7".to_owned() },
                "AuditLog" => Resource::AuditLog,
                "PolicyStore" => Resource::PolicyStore,
                _ => Resource::KeyStore,
            },
            context: Context {
                now_s: time.0,
                time_trusted: time.1,
                offline_s: ages.0,
                policy_age_s: ages.1,
                auth_method: from.0,
                network: from.1,
                endpoint: from.2.to_owned(),
                data_class: text.0,
                stream: text.1,
                tools: text.2,
                max_tokens: text.3,
                tokens_today: text.4,
                ..Context::default()
            },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// With every rule and everything that the schema has, and with only the rules that guards leave open and only what
    /// those look at.
    #[test]
    fn the_judge_says_what_cedars_authorizer_says(ask in asks()) {
        thread_local!(static POLICIES: Policies = many());
        POLICIES.with(|policies| {
            let (allowed, rules, errors) = by_cedar(policies, &ask);
            let holder = policies.holder(&ask.principal.roles).unwrap();
            let (judge, slice) = (&policies.compiled().judge, holder.slice(ask.action));
            let model = model(policies, &ask);
            let facts = facts(&ask, model.as_ref(), &holder);
            for open in [judge.open_all(slice), judge.open(slice, &facts)] {
                let verdict = policies.put(&facts, &holder, &open).unwrap();
                prop_assert_eq!(verdict.errors.len(), errors);
                let said = !verdict.permits.is_empty() && verdict.forbids.is_empty();
                prop_assert_eq!(said, allowed);
                let mut decided = if verdict.forbids.is_empty() { verdict.permits } else { verdict.forbids };
                decided.sort();
                prop_assert_eq!(decided, rules.clone());
            }
            prop_assert_eq!(policies.authorize(&ask).is_ok(), allowed && errors == 0);
            Ok(())
        })?;
    }

    /// What a guard knows of a condition is what Cedar finds.
    #[test]
    fn a_guard_knows_only_what_cedar_finds(ask in asks()) {
        thread_local!(static POLICIES: Policies = many());
        POLICIES.with(|policies| {
            let holder = policies.holder(&ask.principal.roles).unwrap();
            let judge = &policies.compiled().judge;
            let model = model(policies, &ask);
            let facts = facts(&ask, model.as_ref(), &holder);
            let all = judge.open_all(holder.slice(ask.action));
            let verdict = policies.put(&facts, &holder, &all).unwrap();
            for rule in &all.rules {
                let applies = verdict.permits.contains(&rule.id) || verdict.forbids.contains(&rule.id);
                if let Some(known) = rule.guard.holds(&facts) {
                    prop_assert_eq!(known, applies, "{}", rule.id);
                }
            }
            Ok(())
        })?;
    }

    /// What rules were checked against is what they are asked: every question fits the schema.
    #[test]
    fn every_question_fits_the_schema(ask in asks()) {
        thread_local!(static POLICIES: Policies = many());
        POLICIES.with(|policies| {
            let holder = policies.holder(&ask.principal.roles).unwrap();
            let all = policies.compiled().judge.open_all(holder.slice(ask.action));
            let model = model(policies, &ask);
            let question = policies.question(&facts(&ask, model.as_ref(), &holder), &holder, &all).unwrap();
            prop_assert_eq!(check(question), Ok(()));
            Ok(())
        })?;
    }
}

#[test]
fn guards_know_the_conditions_that_are_usual() {
    let policies = many();
    let ask = crate::Given::default().ask(vec!["operator".to_owned()], Action::Infer);
    let holder = policies.holder(&ask.principal.roles).unwrap();
    let model = model(&policies, &ask);
    let open = policies.compiled().judge.open(holder.slice(ask.action), &facts(&ask, model.as_ref(), &holder));
    // The permits that apply, and the one rule with arithmetic.
    let ids: Vec<&str> = open.rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "f", "operators-use-models"]);
}

#[test]
fn limits_of_every_shape_fit_the_schema() {
    let text = "max_tokens_per_request = 1\nrequests_per_minute = 2\ntokens_per_day = 9223372036854775807\nconcurrent = 4\n\
                context_tokens = 5\nmodels = [\"a\", \"b\"]\nstore_responses = true\npriority = \"interactive\"\n\
                max_offline = \"1d\"";
    let mut bundle = Bundle::default_bundle();
    bundle.limits.insert("operator".to_owned(), toml::from_str(text).unwrap());
    bundle.cases.retain(|case| case.title.contains("without a role"));
    let policies = Policies::activate(bundle).unwrap();
    let ask = crate::Given::default().ask(vec!["operator".to_owned()], Action::Infer);
    let holder = policies.holder(&ask.principal.roles).unwrap();
    let entity = cedar_policy::Entity::from(crate::words::Words::new().principal(&ask.principal, &holder, Needs::ALL));
    cedar_policy::Entities::from_entities([entity], Some(crate::compile::schema())).unwrap();
}
