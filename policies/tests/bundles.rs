//! Bundles: what is refused before it can decide anything, and that the refusal says why.

use outpost_policies::{AuditLevel, BUNDLE_BYTES, Bundle, BundleError, Policies, RoleLimits};
use proptest::prelude::*;

/// The findings on the default bundle with one more file of rules, as text.
fn findings_of(rule: &str) -> String {
    let mut bundle = Bundle::default_bundle();
    bundle.policies.insert("more.cedar".to_owned(), rule.to_owned());
    findings(bundle)
}

fn findings(bundle: Bundle) -> String {
    let findings = Policies::activate(bundle).expect_err("the bundle has a fault");
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

const HEAD: &str = r#"@id("new") @title("t") @reason("r")"#;

#[test]
fn the_default_bundle_activates_and_survives_a_round_trip() {
    let bundle = Bundle::default_bundle();
    let again = Bundle::parse(&bundle.to_bytes()).unwrap();
    assert_eq!(again, bundle);
    let policies = Policies::activate(again).unwrap();
    assert!(policies.rules().all(|rule| rule.title.len() > 10 && rule.reason.len() > 10));
    assert_eq!(policies.roles().keys().collect::<Vec<_>>(), ["admin", "auditor", "operator"]);
}

#[test]
fn the_clinic_example_activates() {
    let mut bundle = Bundle::default_bundle();
    let example = Bundle::from_files(
        1,
        [
            ("clinic.cedar", include_str!("../examples/clinic/clinic.cedar")),
            ("clinic.toml", include_str!("../examples/clinic/clinic.toml")),
        ],
    )
    .unwrap();
    bundle.policies.extend(example.policies);
    bundle.cases.extend(example.cases);
    Policies::activate(bundle).unwrap();
}

#[test]
fn the_office_example_activates_and_lint_has_nothing_to_say() {
    let mut bundle = Bundle::from_files(
        1,
        [
            ("bundle.toml", include_str!("../examples/office/bundle.toml")),
            ("limits.toml", include_str!("../examples/office/limits.toml")),
            ("models.toml", include_str!("../examples/office/models.toml")),
            ("content.toml", include_str!("../examples/office/content.toml")),
            ("office.cedar", include_str!("../examples/office/office.cedar")),
            ("cases.toml", include_str!("../examples/office/cases.toml")),
        ],
    )
    .unwrap();
    bundle.policies.extend(Bundle::default_bundle().policies);
    let policies = Policies::activate(bundle.clone()).unwrap_or_else(|findings| panic!("{findings:?}"));
    assert_eq!(outpost_policies::lint(&bundle, &policies), []);
    assert_eq!(policies.required_approvals(), 2);
    assert_eq!(Bundle::parse(&bundle.to_bytes()).unwrap(), bundle);
}

#[test]
fn a_rule_without_an_id_is_refused() {
    let found = findings_of("permit (principal, action, resource);");
    assert!(found.contains("more.cedar: a rule has no usable @id"), "{found}");
}

#[test]
fn two_rules_of_one_id_are_refused() {
    let found = findings_of(
        r#"@id("token-limit") @title("t") @reason("r") permit (principal, action == Action::"drain", resource);"#,
    );
    assert!(found.contains("rule `token-limit`: the @id is taken already"), "{found}");
}

#[test]
fn a_rule_that_does_not_say_its_reason_is_refused() {
    let found = findings_of(r#"@id("new") @title("t") permit (principal, action == Action::"drain", resource);"#);
    assert!(found.contains("rule `new`: has no @reason"), "{found}");
}

#[test]
fn a_misspelt_role_is_refused() {
    let found =
        findings_of(&format!(r#"{HEAD} permit (principal in Role::"operater", action == Action::"drain", resource);"#));
    assert!(found.contains("the role `operater` is not declared in the limits (admin, auditor, operator)"), "{found}");
}

#[test]
fn a_misspelt_attribute_or_action_is_refused() {
    let found = findings_of(&format!(
        r#"{HEAD} forbid (principal, action == Action::"infer", resource) when {{ context.max_token > 1 }};"#
    ));
    assert!(found.contains("max_token"), "{found}");
    let found = findings_of(&format!(r#"{HEAD} permit (principal, action == Action::"infre", resource);"#));
    assert!(found.contains("infre"), "{found}");
}

#[test]
fn a_misspelt_word_of_a_closed_list_is_refused() {
    let found = findings_of(&format!(
        r#"{HEAD} forbid (principal, action == Action::"drain", resource) when {{ context.network == Network::"remoet" }};"#
    ));
    assert!(found.contains("remoet"), "{found}");
}

#[test]
fn a_comparison_of_different_types_is_refused() {
    // Without a schema this would be an error at run time, and the forbid would be skipped.
    let found = findings_of(&format!(
        r#"{HEAD} forbid (principal, action == Action::"infer", resource) when {{ resource.licence in ["MIT"] }};"#
    ));
    assert!(found.contains("rule `new`"), "{found}");
}

#[test]
fn a_rule_that_can_never_apply_is_refused() {
    let found = findings_of(&format!(r#"{HEAD} forbid (principal, action == Action::"infer", resource is Device);"#));
    assert!(found.contains("rule `new`"), "{found}");
}

#[test]
fn confusable_and_invisible_characters_are_refused() {
    let cyrillic = findings_of(&format!(
        r#"{HEAD} forbid (principal, action == Action::"infer", resource) when {{ resource.licence == "аpache" }};"#
    ));
    assert!(cyrillic.contains("rule `new`"), "{cyrillic}");
    let hidden = findings_of(&format!(
        "// reads \u{2067} otherwise\n{HEAD} permit (principal, action == Action::\"drain\", resource);"
    ));
    assert!(hidden.contains("line 1 holds the invisible character U+2067"), "{hidden}");
}

#[test]
fn a_text_that_is_not_cedar_is_refused_with_its_line() {
    let found = findings_of("\n\npermit (principal, action resource);");
    assert!(found.contains("more.cedar: line 3"), "{found}");
}

#[test]
fn a_template_is_refused() {
    let found = findings_of(&format!("{HEAD} permit (principal == ?principal, action, resource);"));
    assert!(found.contains("template"), "{found}");
}

#[test]
fn a_rule_nested_without_end_is_refused_before_it_is_parsed() {
    for inner in ["(", "[", "!", "-", "if true then "] {
        let nested = inner.repeat(30_000 / inner.len());
        let found = findings_of(&format!("{HEAD} permit (principal, action, resource) when {{ {nested}true }};"));
        assert!(found.contains("too long or too nested to be understood"), "{found}");
    }
}

#[test]
fn a_rule_as_nested_as_the_limit_allows_fits_on_a_small_stack() {
    let run = || {
        let conditions = [
            format!("{}true{}", "(".repeat(15), ")".repeat(15)),
            format!("{}true{} == 1", "[".repeat(15), "]".repeat(15)),
            format!("{} 1", "if true then true else ".repeat(16)),
            "true && ".repeat(95) + "true",
            "true == true || ".repeat(45) + "true",
            "1 + ".repeat(190) + "1 > 0",
            format!("context{} == 1", ".a".repeat(190)),
            format!("{}1 == 1", "!".repeat(190)),
        ];
        for condition in conditions {
            let text = format!("{HEAD} permit (principal, action, resource) when {{ {condition} }};");
            let mut bundle = Bundle::default_bundle();
            bundle.policies.insert("more.cedar".to_owned(), text);
            // Whether it is refused does not matter here, only that it is answered, and not by the bound.
            if let Err(findings) = Policies::activate(bundle) {
                assert!(!findings[0].what.contains("too nested"), "{condition}: {}", findings[0]);
            }
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_bundle_without_cases_or_with_a_failing_case_is_refused() {
    let mut bundle = Bundle::default_bundle();
    bundle.cases.clear();
    assert!(findings(bundle).contains("cases: there are none"));

    let mut bundle = Bundle::default_bundle();
    bundle.policies.remove("auditor.cedar");
    let found = findings(bundle);
    assert!(
        found.contains("“an auditor reads the audit log”: read_audit: expected allow, but it was denied"),
        "{found}"
    );
}

#[test]
fn dropping_the_limit_rule_is_caught() {
    let mut bundle = Bundle::default_bundle();
    bundle.policies.remove("limits.cedar");
    let found = findings(bundle.clone());
    assert!(found.contains("limits: `max_tokens_per_request` is set, but no rule reads"), "{found}");
    let loose =
        Bundle::default_bundle().policies["limits.cedar"].replace("context.max_tokens > ", "context.max_tokens > 1 + ");
    bundle.policies.insert("limits.cedar".to_owned(), loose);
    let found = findings(bundle);
    assert!(found.contains("“an operator does not ask for more”: infer: expected deny, but it was allowed"), "{found}");
}

#[test]
fn a_role_with_a_deceptive_name_is_refused() {
    let mut bundle = Bundle::default_bundle();
    bundle.limits.insert("Οperator".to_owned(), RoleLimits::default());
    assert!(findings(bundle).contains("is no name for a role"));
}

#[test]
fn a_key_that_is_there_twice_is_refused() {
    let text = r#"{"v":1,"version":1,"policies":{"a.cedar":"","a.cedar":"x"},"limits":{},"cases":[]}"#;
    let error = Bundle::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("the key `a.cedar` is there twice"), "{error}");
}

#[test]
fn an_unknown_key_another_form_or_too_many_bytes_are_refused() {
    let parse = |text: &str| Bundle::parse(text.as_bytes()).unwrap_err();
    let unknown = parse(r#"{"v":1,"version":1,"policies":{},"limits":{},"cases":[],"extra":1}"#);
    assert!(unknown.to_string().contains("extra"), "{unknown}");
    assert!(matches!(
        parse(r#"{"v":2,"version":1,"policies":{},"limits":{},"cases":[]}"#),
        BundleError::Form { found: 2 }
    ));
    assert!(matches!(Bundle::parse(&vec![b' '; BUNDLE_BYTES + 1]).unwrap_err(), BundleError::TooLarge { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_a_bundle_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Bundle::parse(&bytes);
    }

    #[test]
    fn a_bundle_with_one_changed_byte_never_activates_with_more_than_it_should(position: prop::sample::Index, byte: u8) {
        let mut bytes = Bundle::default_bundle().to_bytes();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        // A change within a title or a number may be harmless; what counts is that its cases still hold.
        if let Ok(bundle) = Bundle::parse(&bytes)
            && let Ok(policies) = Policies::activate(bundle.clone())
        {
            for case in &bundle.cases {
                for ask in case.asks() {
                    let allowed = policies.authorize(&ask).is_ok();
                    prop_assert_eq!(allowed, case.expect == outpost_policies::Expect::Allow);
                }
            }
        }
    }
}

/// The default bundle in which operators ask by these rules.
fn with_operators(rules: &[&str]) -> Bundle {
    let mut bundle = Bundle::default_bundle();
    let ask = |(number, annotation): (usize, &&str)| {
        format!(
            r#"{annotation} @id("ask-{number}") @title("Operators ask") @reason("r")
               permit (principal in Role::"operator", action in [Action::"infer", Action::"embed"], resource);"#
        )
    };
    let rules: Vec<String> = rules.iter().enumerate().map(ask).collect();
    bundle.policies.insert("ask.cedar".to_owned(), rules.join("\n"));
    bundle
}

fn kept(bundle: Bundle) -> AuditLevel {
    use outpost_policies::{Action, Given};
    let policies = Policies::activate(bundle).unwrap_or_else(|findings| panic!("{findings:?}"));
    let ask = Given::default().ask(vec!["operator".to_owned()], Action::Infer);
    policies.authorize(&ask).unwrap().audit()
}

#[test]
fn what_is_kept_of_a_call_is_the_most_that_any_rule_which_allowed_it_asks_for() {
    assert_eq!(kept(Bundle::default_bundle()), AuditLevel::Metadata);
    for level in AuditLevel::ALL {
        let annotation = format!(r#"@audit("{level}")"#);
        assert_eq!(kept(with_operators(&[&annotation])), level);
        assert_eq!(kept(with_operators(&["", &annotation, r#"@audit("metadata")"#])), level);
    }
    let both = [r#"@audit("request_and_response")"#, r#"@audit("request")"#];
    assert_eq!(kept(with_operators(&both)), AuditLevel::RequestAndResponse);
}

#[test]
fn an_audit_level_that_cannot_be_meant_is_refused() {
    for level in ["everything", "Request", "request+response", "none", ""] {
        let found = findings(with_operators(&[&format!(r#"@audit("{level}")"#)]));
        assert!(found.contains("rule `ask-0`: @audit is"), "{level}: {found}");
        assert!(found.contains("write one of metadata, request, request_and_response"), "{found}");
    }
    let forbids = format!(r#"@audit("request") {HEAD} forbid (principal, action == Action::"infer", resource);"#);
    assert!(findings_of(&forbids).contains("has @audit, but forbids"));
    let elsewhere = format!(r#"@audit("request") {HEAD} permit (principal, action == Action::"drain", resource);"#);
    assert!(findings_of(&elsewhere).contains("lets nobody ask a model"));
}

#[test]
fn a_misspelt_annotation_is_found_and_a_change_of_what_is_kept_is_told() {
    let (old, new) = (with_operators(&[""]), with_operators(&[r#"@audit("request")"#]));
    let slip = with_operators(&[r#"@audt("request")"#]);
    let policies = |bundle: &Bundle| Policies::activate(bundle.clone()).unwrap();
    let found = outpost_policies::lint(&slip, &policies(&slip));
    assert!(found.iter().any(|finding| finding.to_string().contains("has @audt, which nothing reads")), "{found:?}");
    let told = outpost_policies::diff(&policies(&old), &policies(&new)).to_string();
    assert_eq!(told, "rule `ask-0`: what is kept from metadata to request\n");
}
