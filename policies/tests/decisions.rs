//! Decisions: the default rules as people rely on them, and what happens when a rule cannot be evaluated.

use outpost_policies::{
    Action, Ask, Bundle, Context, InForce, ModelFacts, Network, Policies, Principal, PrincipalKind, Resource,
};

fn policies() -> Policies {
    Policies::activate(Bundle::default_bundle()).unwrap()
}

fn ask(roles: &[&str], action: Action) -> Ask {
    Ask {
        principal: Principal {
            kind: PrincipalKind::User,
            id: "ada".to_owned(),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
        },
        action,
        resource: Resource::Model(ModelFacts {
            id: "demo".to_owned(),
            licence: "Apache-2.0".to_owned(),
            ..ModelFacts::default()
        }),
        context: Context { now_s: 1_796_083_200, network: Network::Loopback, ..Context::default() },
    }
}

/// The default rules and one more.
fn with_rule(rule: &str) -> Policies {
    let mut bundle = Bundle::default_bundle();
    bundle.policies.insert("more.cedar".to_owned(), rule.to_owned());
    bundle.cases.truncate(0);
    bundle.cases.push(deny_case());
    Policies::activate(bundle).unwrap()
}

fn deny_case() -> outpost_policies::Case {
    Bundle::default_bundle().cases.into_iter().find(|case| case.title.contains("without a role")).unwrap()
}

#[test]
fn an_operator_gets_a_permit_that_names_the_rule_and_the_limit() {
    let permit = policies().authorize(&ask(&["operator"], Action::Infer)).unwrap();
    assert_eq!(permit.rules(), ["operators-use-models"]);
    assert_eq!((permit.action(), permit.max_tokens(), permit.policy_version()), (Action::Infer, 4096, 1));
    assert_eq!(permit.principal().id, "ada");
}

#[test]
fn an_auditor_is_refused_with_the_rule_and_its_reason() {
    let denial = policies().authorize(&ask(&["auditor"], Action::Infer)).unwrap_err();
    assert_eq!(denial.rules, ["auditors-do-not-ask"]);
    assert!(denial.message.contains("Auditors read the record"), "{}", denial.message);
    assert!(denial.message.contains("`auditors-do-not-ask`"), "{}", denial.message);
}

#[test]
fn a_caller_without_roles_is_told_that_no_rule_lets_it() {
    let denial = policies().authorize(&ask(&[], Action::Infer)).unwrap_err();
    assert_eq!((denial.rules.len(), denial.errors.len()), (0, 0));
    assert_eq!(denial.message, "no rule lets a caller with these roles (none) do `infer` here");
}

#[test]
fn asking_for_more_tokens_than_the_role_allows_is_denied_by_the_limit_rule() {
    let mut question = ask(&["operator"], Action::Infer);
    question.context.max_tokens = Some(4097);
    assert_eq!(policies().authorize(&question).unwrap_err().rules, ["token-limit"]);
    question.context.max_tokens = Some(100);
    assert_eq!(policies().authorize(&question).unwrap().max_tokens(), 100);
}

#[test]
fn a_forbid_that_fails_to_evaluate_denies_instead_of_being_skipped() {
    // Strict validation cannot see an overflow; Cedar alone would skip this rule and allow.
    let policies = with_rule(
        r#"@id("overflows") @title("t") @reason("r")
        forbid (principal, action == Action::"infer", resource)
        when { context.max_tokens + 9223372036854775807 < 0 };"#,
    );
    let denial = policies.authorize(&ask(&["operator"], Action::Infer)).unwrap_err();
    assert_eq!(denial.errors.len(), 1);
    assert!(denial.errors[0].contains("overflows"), "{:?}", denial.errors);
    assert!(denial.rules.is_empty());
}

#[test]
fn a_permit_that_fails_to_evaluate_denies_even_where_another_rule_permits() {
    let policies = with_rule(
        r#"@id("overflows") @title("t") @reason("r")
        permit (principal, action == Action::"infer", resource)
        when { context.max_tokens * 9223372036854775807 * 2 > 0 };"#,
    );
    assert_eq!(policies.authorize(&ask(&["operator"], Action::Infer)).unwrap_err().errors.len(), 1);
}

#[test]
fn a_resource_that_the_action_is_not_for_is_denied() {
    let mut question = ask(&["operator"], Action::Infer);
    question.resource = Resource::AuditLog;
    let denial = policies().authorize(&question).unwrap_err();
    assert_eq!(denial.errors.len(), 1, "{denial:?}");
}

#[test]
fn hostile_names_are_only_names() {
    let mut question = ask(&["operator\"", "admin\" }; permit(principal, action, resource);"], Action::Infer);
    question.principal.id = "\u{0}\"\\::Role::\"admin\"".to_owned();
    assert!(policies().authorize(&question).is_err());
    question.principal.roles.push("operator".to_owned());
    assert!(policies().authorize(&question).is_ok());
}

#[test]
fn any_clock_is_answered() {
    let policies = policies();
    for now_s in [i64::MIN, -1, 0, 2_147_483_648, 4_102_444_800, i64::MAX] {
        let mut question = ask(&["operator"], Action::Infer);
        question.context.now_s = now_s;
        question.context.offline_s = u64::MAX;
        question.context.policy_age_s = u64::MAX;
        assert!(policies.authorize(&question).is_ok(), "{now_s}");
    }
}

#[test]
fn replaced_policies_are_seen_by_every_holder() {
    let in_force = InForce::new(policies());
    let (other, held) = (in_force.clone(), in_force.now());
    let mut next = Bundle::default_bundle();
    next.version = 2;
    in_force.replace(Policies::activate(next).unwrap());
    assert_eq!((other.now().version(), held.version()), (2, 1));
}
