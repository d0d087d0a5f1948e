//! What cannot be evaluated denies: errors of every kind that validated policies can still run into, in rules of either
//! effect, for every action.
#![allow(clippy::print_stdout, reason = "figures for whoever reads the test's output")]

use std::sync::LazyLock;

use outpost_policies::{Action, Bundle, Expect, Given, Policies};
use proptest::prelude::*;

/// Conditions that pass strict validation for any action and fail when evaluated.
const ANYWHERE: [&str; 9] = [
    "context.weekday + 9223372036854775807 > 0",
    "context.weekday * 9223372036854775807 * 9 > context.minute_of_day",
    "-9223372036854775807 - context.weekday - 9 < 0",
    "principal.limits.max_tokens_per_request + 9223372036854775807 < 0 || context.weekday + 9223372036854775807 > 0",
    "context.now.offset(duration(\"106751991167d\")) > context.now",
    "(if context.weekday > 0 then context.weekday + 9223372036854775807 else 1) == 7",
    "[context.weekday + 9223372036854775807].contains(1)",
    "Model::\"nobody-listed-it\".licence == \"MIT\"",
    "User::\"nobody\".limits.max_tokens_per_request > 1",
];

/// Conditions that only inference has the attributes for.
const INFERENCE: [&str; 3] = [
    "context.max_tokens + context.weekday + 9223372036854775807 < 0",
    "context.tokens_today - 9223372036854775807 - 9 < context.max_tokens - 9223372036854775807 - 90000",
    "(context.max_tokens + context.weekday) * 9223372036854775807 * 2 > 0",
];

/// How a condition that fails can be wrapped so that it still does.
const WRAPS: [&str; 5] = ["{}", "!({})", "true && ({})", "false || ({})", "if true then ({}) else false"];

fn rule(effect: &str, action: Action, keyword: &str, condition: &str) -> String {
    format!(
        "@id(\"injected\") @title(\"t\") @reason(\"r\")\n{effect} (principal, action == Action::\"{action}\", resource)\n\
         {keyword} {{ {condition} }};"
    )
}

#[test]
fn every_injected_error_denies_and_is_named() {
    let mut injected = 0;
    for action in Action::ALL {
        let own = if action.is_inference() { &INFERENCE[..] } else { &[] };
        for condition in ANYWHERE.iter().chain(own) {
            for effect in ["permit", "forbid"] {
                for keyword in ["when", "unless"] {
                    let wrap = WRAPS[injected % WRAPS.len()];
                    deny(action, &rule(effect, action, keyword, &wrap.replace("{}", condition)));
                    injected += 1;
                }
            }
        }
    }
    assert!(injected >= 600, "{injected}");
    println!("{injected} errors were injected, all denied");
}

/// Whoever asks is denied, with the error, and with the default rules alone was not always.
fn deny(action: Action, rule: &str) {
    let mut bundle = Bundle::default_bundle();
    bundle.policies.insert("injected.cedar".to_owned(), rule.to_owned());
    // A bundle whose cases expect a permit would be refused, which is safe too; here the error has to come out.
    bundle.cases.retain(|case| case.expect == Expect::Deny && case.by.is_none());
    bundle.cases.truncate(1);
    let policies = Policies::activate(bundle).unwrap_or_else(|findings| panic!("{rule}: {findings:?}"));
    for roles in [&["admin"][..], &["operator"], &["auditor"], &["admin", "operator"], &[]] {
        let ask = Given::default().ask(roles.iter().map(|&role| role.to_owned()).collect(), action);
        let denial = policies.authorize(&ask).expect_err(rule);
        assert_eq!(denial.errors.len(), 1, "{rule}: {denial:?}");
        assert!(denial.errors[0].contains("`injected`"), "{denial:?}");
    }
}

#[test]
fn an_error_in_a_rule_for_another_role_or_action_does_not_touch_others() {
    let mut bundle = Bundle::default_bundle();
    let rule = r#"@id("injected") @title("t") @reason("r")
        forbid (principal in Role::"admin", action == Action::"drain", resource)
        when { context.weekday + 9223372036854775807 > 0 };"#;
    bundle.policies.insert("injected.cedar".to_owned(), rule.to_owned());
    bundle.cases.retain(|case| case.expect == Expect::Deny && case.by.is_none());
    let policies = Policies::activate(bundle).unwrap();
    let decide = |role: &str, action| policies.authorize(&Given::default().ask(vec![role.to_owned()], action));
    assert!(decide("admin", Action::Restart).is_ok());
    assert_eq!(decide("admin", Action::Drain).unwrap_err().errors.len(), 1);
    assert_eq!(decide("operator", Action::Drain).unwrap_err().errors.len(), 0);
}

#[test]
fn questions_beyond_all_bounds_are_denied_before_they_are_put() {
    let policies = Policies::activate(Bundle::default_bundle()).unwrap();
    let ask = || Given::default().ask(vec!["operator".to_owned()], Action::Infer);
    let mut long_name = ask();
    long_name.principal.id = "x".repeat(513);
    let mut many_roles = ask();
    many_roles.principal.roles = (0..65).map(|number| format!("role-{number}")).collect();
    let mut long_role = ask();
    long_role.principal.roles.push("x".repeat(513));
    let mut long_endpoint = ask();
    long_endpoint.context.endpoint = "/".repeat(257);
    for question in [long_name, many_roles, long_role, long_endpoint] {
        assert_eq!(policies.authorize(&question).unwrap_err().errors.len(), 1);
    }
}

proptest! {
    #[test]
    fn whatever_names_and_numbers_come_nobody_without_a_role_is_let_in(
        id in "\\PC{0,60}", role in "\\PC{0,20}", model in "\\PC{0,60}", licence in "\\PC{0,30}", now_s: i64,
        utc_offset_s: i32, offline_s: u64, policy_age_s: u64, tokens: Option<u32>, tokens_today: u64,
    ) {
        static POLICIES: LazyLock<Policies> = LazyLock::new(|| Policies::activate(Bundle::default_bundle()).unwrap());
        let policies = &*POLICIES;
        prop_assume!(!policies.roles().contains_key(&role));
        for action in Action::ALL {
            let given = Given { model: Some(model.clone()), licence: Some(licence.clone()), ..Given::default() };
            let mut ask = given.ask(vec![role.clone()], action);
            ask.principal.id = id.clone();
            let context = &mut ask.context;
            (context.now_s, context.utc_offset_s, context.offline_s) = (now_s, utc_offset_s, offline_s);
            (context.policy_age_s, context.max_tokens, context.tokens_today) = (policy_age_s, tokens, tokens_today);
            let denial = policies.authorize(&ask).unwrap_err();
            prop_assert!(denial.errors.is_empty(), "{:?}", denial.errors);
        }
    }
}
