//! Limits: which rule enforces which, that a limit without a rule is refused, and what a permit carries.

use outpost_policies::{Action, Bundle, Given, ModelFacts, Permit, Policies, Priority, Resource, RoleLimits, Span};

/// The default bundle with other limits for operators.
fn policies(limits: &str) -> Policies {
    let mut bundle = Bundle::default_bundle();
    let limits: RoleLimits = toml::from_str(&format!("max_tokens_per_request = 4096\n{limits}")).unwrap();
    bundle.limits.insert("operator".to_owned(), limits);
    bundle.cases.retain(|case| case.title.contains("without a role"));
    Policies::activate(bundle).unwrap_or_else(|findings| panic!("{findings:?}"))
}

/// The rules that deny an operator, or none.
fn denied(policies: &Policies, given: &str) -> Vec<String> {
    ask(policies, given).err().map_or_else(Vec::new, |denial| {
        assert_eq!(denial.errors, [""; 0]);
        denial.rules
    })
}

fn ask(policies: &Policies, given: &str) -> Result<Permit, outpost_policies::Denial> {
    let given: Given = toml::from_str(given).unwrap();
    policies.authorize(&given.ask(vec!["operator".to_owned()], Action::Infer))
}

#[test]
fn only_the_models_that_a_role_names_answer() {
    let named = policies(r#"models = ["demo", "small"]"#);
    assert_eq!(denied(&named, r#"model = "demo""#), [""; 0]);
    assert_eq!(denied(&named, r#"model = "large""#), ["model-limit"]);
    assert_eq!(denied(&policies(r#"models = ["*"]"#), r#"model = "large""#), [""; 0]);
}

#[test]
fn models_answer_within_the_hours_of_the_role_in_local_time() {
    let office = policies(r#"hours = [{ weekdays = ["mon", "tue"], from = "08:00", to = "18:00" }]"#);
    assert_eq!(denied(&office, "weekday = \"mon\"\ntime = \"08:00\""), [""; 0]);
    assert_eq!(denied(&office, "weekday = \"mon\"\ntime = \"18:00\""), ["hours-limit"]);
    assert_eq!(denied(&office, "weekday = \"sat\"\ntime = \"10:00\""), ["hours-limit"]);
    let given: Given = toml::from_str("weekday = \"mon\"\ntime = \"18:30\"").unwrap();
    let mut question = given.ask(vec!["operator".to_owned()], Action::Infer);
    question.context.utc_offset_s = -3600;
    assert!(office.authorize(&question).is_ok(), "it is 17:30 where the device is");
}

#[test]
fn a_device_that_was_alone_for_too_long_serves_no_longer() {
    let policies = policies(r#"max_offline = "72h""#);
    assert_eq!(denied(&policies, "offline_s = 259200"), [""; 0]);
    assert_eq!(denied(&policies, "offline_s = 259201"), ["offline-limit"]);
}

#[test]
fn a_permit_carries_the_limits_of_all_roles_together() {
    let policies = policies(
        "requests_per_minute = 30\ntokens_per_day = 5000\nconcurrent = 2\ncontext_tokens = 2048\nstore_responses = true\n\
         priority = \"batch\"\nmax_offline = \"14d\"",
    );
    let permit = ask(&policies, "").unwrap();
    let limits = permit.limits();
    assert_eq!(
        (limits.max_tokens_per_request, limits.requests_per_minute, limits.tokens_per_day),
        (4096, Some(30), Some(5000))
    );
    assert_eq!(
        (limits.concurrent, limits.context_tokens, limits.max_offline),
        (Some(2), Some(2048), Span::parse("14d"))
    );
    assert!(permit.may_store());
    assert_eq!(permit.priority(), Priority::Batch);
}

#[test]
fn rules_see_every_limit_as_a_typed_attribute() {
    let mut bundle = Bundle::default_bundle();
    bundle
        .limits
        .insert("operator".to_owned(), toml::from_str("max_tokens_per_request = 4096\ntokens_per_day = 10").unwrap());
    bundle.policies.insert(
        "more.cedar".to_owned(),
        r#"@id("day") @title("t") @reason("r") forbid (principal, action == Action::"infer", resource)
           when { principal.limits has tokens_per_day && context.tokens_today >= principal.limits.tokens_per_day };
           @id("rest") @title("t") @reason("r") forbid (principal, action == Action::"infer", resource)
           when { (principal.limits has requests_per_minute && principal.limits.requests_per_minute > 9000)
             || (principal.limits has concurrent && principal.limits.concurrent > 9000)
             || (principal.limits has context_tokens && principal.limits.context_tokens > 900000)
             || (principal.limits.store_responses && principal.limits.priority == Priority::"batch") };"#
            .to_owned(),
    );
    let policies = Policies::activate(bundle).unwrap();
    assert_eq!(denied(&policies, "tokens_today = 9"), [""; 0]);
    assert_eq!(denied(&policies, "tokens_today = 10"), ["day"]);
}

#[test]
fn a_limit_that_no_rule_enforces_is_refused() {
    for (field, limits) in [
        ("models", r#"models = ["demo"]"#),
        ("hours", r#"hours = [{ weekdays = ["mon"], from = "08:00", to = "18:00" }]"#),
        ("max_offline", r#"max_offline = "3d""#),
        ("max_tokens_per_request", "max_tokens_per_request = 7"),
    ] {
        let mut bundle = Bundle::default_bundle();
        bundle.policies.remove("limits.cedar");
        bundle.limits = [("operator".to_owned(), toml::from_str(limits).unwrap())].into();
        bundle.policies.retain(|file, _| file == "operator.cedar");
        bundle.cases.retain(|case| case.title == "an operator asks a model");
        let found = Policies::activate(bundle).unwrap_err();
        assert!(found[0].to_string().contains(&format!("`{field}` is set, but no rule reads")), "{}", found[0]);
    }
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    for (limits, why) in [
        ("requests_per_minute = 0", "lets nothing through"),
        ("concurrent = 0", "lets nothing through"),
        ("hours = []", "without a day"),
        (r#"hours = [{ weekdays = [], from = "08:00", to = "18:00" }]"#, "without a day"),
        (r#"models = ["dеmo"]"#, "is no name of a model"),
        (r#"models = ["*", "demo"]"#, "already names every model"),
    ] {
        let mut bundle = Bundle::default_bundle();
        bundle.limits.insert("operator".to_owned(), toml::from_str(limits).unwrap());
        let found = Policies::activate(bundle).unwrap_err();
        assert!(found[0].to_string().contains(why), "{limits}: {}", found[0]);
    }
    for unreadable in ["max_offline = \"soon\"", "priority = \"urgent\"", "models = \"demo\"", "tokens_per_hour = 1"] {
        assert!(toml::from_str::<RoleLimits>(unreadable).is_err(), "{unreadable}");
    }
}

#[test]
fn what_the_bundle_says_of_a_model_counts_before_what_the_device_says() {
    let mut bundle = Bundle::default_bundle();
    bundle.models = toml::from_str(
        "[demo]\napproved_until = \"2026-12-31\"\n[old]\napproved_until = \"2026-11-30\"\n[bad]\napproved = false",
    )
    .unwrap();
    bundle.policies.insert(
        "approved.cedar".to_owned(),
        r#"@id("approved") @title("Approved models only") @reason("r")
           forbid (principal, action == Action::"infer", resource)
           unless { resource.approved && (if resource has approved_until then context.now <= resource.approved_until else true) };"#
            .to_owned(),
    );
    bundle.cases.retain(|case| case.title.contains("without a role"));
    let policies = Policies::activate(bundle).unwrap();
    let denied = |model: &str, says: bool| denied(&policies, &format!("model = \"{model}\"\napproved = {says}"));
    assert_eq!(denied("demo", false), [""; 0]);
    assert_eq!(denied("old", true), ["approved"], "the approval ended on the day before");
    assert_eq!(denied("bad", true), ["approved"]);
    assert_eq!((denied("else", true), denied("else", false)), (vec![], vec!["approved".to_owned()]));
    let mut asked = Given::default().ask(vec!["operator".to_owned()], Action::Infer);
    let until_s = asked.context.now_s - 1;
    let known =
        ModelFacts { id: "else".to_owned(), approved: true, approved_until_s: Some(until_s), ..ModelFacts::default() };
    asked.resource = Resource::Model(known);
    assert!(policies.authorize(&asked).is_err());
}
