//! What the policy desk stands on: files and what is found in them, and recorded decisions put to other rules.

use std::collections::{BTreeMap, BTreeSet};

use outpost_policies::{
    Action, Ask, Blank, Bundle, BundleFiles, Context, Found, ModelFacts, Network, Policies, Principal, PrincipalKind,
    Recorded, Rejudged, Replay, Resource,
};
use proptest::prelude::*;

fn default_files() -> BundleFiles {
    BundleFiles::of(&Bundle::default_bundle()).unwrap()
}

fn found(files: &BundleFiles) -> Vec<String> {
    files.check(2).found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_bundle_written_as_files_and_read_again_is_the_same_bundle() {
    let office = [
        ("bundle.toml", include_str!("../examples/office/bundle.toml")),
        ("limits.toml", include_str!("../examples/office/limits.toml")),
        ("models.toml", include_str!("../examples/office/models.toml")),
        ("content.toml", include_str!("../examples/office/content.toml")),
        ("office.cedar", include_str!("../examples/office/office.cedar")),
        ("cases.toml", include_str!("../examples/office/cases.toml")),
    ];
    for bundle in [Bundle::default_bundle(), Bundle::from_files(1, office).unwrap()] {
        let files = bundle.to_files().unwrap();
        let again = Bundle::from_files(9, files.iter().map(|(name, text)| (name.as_str(), text.as_str()))).unwrap();
        assert_eq!(again, bundle);
        assert_eq!(again.to_bytes(), bundle.to_bytes());
    }
}

#[test]
fn the_default_bundle_is_good_and_its_cases_hold() {
    let checked = default_files().check(2);
    assert!(checked.policies.is_some() && checked.found.iter().all(|found| !found.is_error), "{:?}", checked.found);
    assert_eq!(checked.cases.len(), Bundle::default_bundle().cases.len());
}

#[test]
fn what_is_wrong_names_file_and_line_and_a_way_out() {
    let with = |file: &str, text: &str| default_files().with(file, text).unwrap();
    let only = |files: &BundleFiles| -> Found {
        let mut errors: Vec<Found> = files.check(2).found.into_iter().filter(|found| found.is_error).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0)
    };

    let toml = only(&with("limits.toml", "[operator]\nmax_tokens_per_reqest = 1\n"));
    assert_eq!((toml.file.as_str(), toml.line), ("limits.toml", Some(2)), "{toml}");
    assert!(toml.what.contains("max_tokens_per_reqest") && toml.way_out.is_some(), "{toml}");

    let cedar = only(&with("more.cedar", "// one\n// two\npermit (principal, action, resource\n"));
    assert_eq!(cedar.file, "more.cedar");
    assert!(cedar.line.is_some_and(|line| line >= 3) && cedar.way_out.is_some(), "{cedar}");

    let rule = "// one\n@id(\"new\") @title(\"t\") @reason(\"r\")\npermit (principal in Role::\"operater\", action, resource);";
    let role = only(&with("more.cedar", rule));
    assert_eq!((role.file.as_str(), role.line, role.rule.as_deref()), ("more.cedar", Some(2), Some("new")), "{role}");

    let attribute = "\n\n@id(\"new\") @title(\"t\") @reason(\"r\")\nforbid (principal, action == Action::\"infer\", resource) when \
                     { context.max_token > 1 };";
    let attribute = only(&with("more.cedar", attribute));
    assert_eq!(attribute.line, Some(3), "{attribute}");
    assert!(attribute.what.contains("max_tokens"), "what was meant is proposed: {attribute}");

    // Cases are counted over all files, in the order of their names.
    let case = "[[case]]\ntitle = \"fine\"\nwho = \"operator\"\ndoes = \"infer\"\nexpect = \"allow\"\n\n[[case]]\ntitle = \
                \"wrong\"\nwho = \"operator\"\ndoes = \"infer\"\nexpect = \"deny\"\n";
    let case = only(&with("cases/zz.toml", case));
    assert_eq!((case.file.as_str(), case.line), ("cases/zz.toml", Some(7)), "{case}");
    assert!(case.what.contains("“wrong”") && case.what.contains("operators-use-models"), "{case}");
    assert!(case.to_string().starts_with("cases/zz.toml:7: "), "{case}");

    let none = only(&with("cases.toml", ""));
    assert!(none.what.contains("no cases"), "{none}");
}

#[test]
fn of_several_files_each_mistake_is_told() {
    let files = default_files().with("limits.toml", "[").unwrap().with("content.toml", "x = 1").unwrap();
    let found = found(&files);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("content.toml:1") && found[1].starts_with("limits.toml:1"), "{found:?}");
}

#[test]
fn names_that_lead_elsewhere_are_no_files_and_lines_end_as_here() {
    for name in ["../a.cedar", "/a.cedar", "a", "a.txt", ".cedar", "x/.a.cedar", "a/b/c.toml", "a b.toml", "ä.toml", ""]
    {
        let files = BTreeMap::from([(name.to_owned(), String::new())]);
        assert!(BundleFiles::try_from(files).is_err(), "{name}");
    }
    let files = default_files().with("more.cedar", "// a\r\n// b\r\n").unwrap();
    assert_eq!(files.get("more.cedar"), Some("// a\n// b\n"));
    let read: Result<BundleFiles, _> = serde_json::from_str(r#"{"../x.cedar": ""}"#);
    assert!(read.is_err());
}

#[test]
fn a_line_diff_shows_what_is_written_otherwise() {
    let rules = default_files().get("limits.cedar").unwrap().replace("@title(", "@title( ");
    let newer = default_files().with("limits.cedar", &rules).unwrap();
    let diff = default_files().diff(&newer);
    assert_eq!(diff.iter().map(|file| file.file.as_str()).collect::<Vec<_>>(), ["limits.cedar"]);
    assert!(diff[0].to_string().contains("\n+@title( "), "{}", diff[0]);
}

fn recorded(role: &str, action: Action, allowed: bool) -> Recorded {
    let ask = Ask {
        principal: Principal { kind: PrincipalKind::User, id: "p:9c1e".to_owned(), roles: vec![role.to_owned()] },
        action,
        resource: Resource::Model(ModelFacts { id: "demo".to_owned(), ..ModelFacts::default() }),
        context: Context { now_s: 1_796_083_200, network: Network::Loopback, ..Context::default() },
    };
    let rules = if allowed { vec!["operators-use-models".to_owned()] } else { Vec::new() };
    Recorded { ask, blanks: BTreeSet::from(Blank::ALL), allowed, rules, policy_version: Some(1) }
}

fn with_rule(rule: &str) -> Policies {
    let mut bundle = Bundle::default_bundle();
    bundle.version = 2;
    bundle.cases.truncate(0);
    bundle.policies.insert("more.cedar".to_owned(), format!("@id(\"new\") @title(\"t\") @reason(\"r\") {rule}"));
    bundle.cases.extend(Bundle::default_bundle().cases.into_iter().find(|case| case.title.contains("without a role")));
    Policies::activate(bundle).unwrap_or_else(|findings| panic!("{findings:?}"))
}

fn rejudge(rule: &str, recorded: &Recorded) -> Rejudged {
    let (draft, decided) = (with_rule(rule), Policies::activate(Bundle::default_bundle()).unwrap());
    Replay::new(&draft, Some(&decided)).rejudge(recorded)
}

#[test]
fn who_would_be_refused_and_who_newly_allowed() {
    let asked = recorded("operator", Action::Infer, true);
    let harmless = r#"forbid (principal in Role::"operator", action == Action::"drain", resource);"#;
    assert_eq!(rejudge(harmless, &asked), Rejudged::Same);
    let strict = r#"forbid (principal in Role::"operator", action == Action::"infer", resource);"#;
    assert_eq!(rejudge(strict, &asked), Rejudged::Refused(vec!["new".to_owned()]));
    let denied = recorded("operator", Action::DeleteModel, false);
    let generous = r#"permit (principal in Role::"operator", action == Action::"delete_model", resource);"#;
    assert_eq!(rejudge(generous, &denied), Rejudged::Allowed(vec!["new".to_owned()]));
}

#[test]
fn what_the_record_does_not_say_is_said_and_what_it_says_is_used() {
    let mut asked = recorded("operator", Action::Infer, true);
    let streams = r#"forbid (principal, action == Action::"infer", resource) when { context.stream };"#;
    assert_eq!(rejudge(streams, &asked), Rejudged::Depends(vec![Blank::Stream]));
    asked.blanks.remove(&Blank::Stream);
    assert_eq!(rejudge(streams, &asked), Rejudged::Same);
    asked.ask.context.stream = true;
    assert_eq!(rejudge(streams, &asked), Rejudged::Refused(vec!["new".to_owned()]));
    let ada = r#"forbid (principal == User::"ada", action == Action::"infer", resource);"#;
    assert_eq!(rejudge(ada, &asked), Rejudged::Depends(vec![Blank::Caller]));
    let remote =
        r#"forbid (principal, action == Action::"infer", resource) when { context.network == Network::"remote" };"#;
    assert_eq!(rejudge(remote, &asked), Rejudged::Depends(vec![Blank::Network]));
}

#[test]
fn what_the_rules_that_decided_rule_out_does_not_count() {
    let remote =
        r#"forbid (principal, action == Action::"infer", resource) when { context.network == Network::"remote" };"#;
    let mut asked = recorded("operator", Action::Infer, true);
    asked.policy_version = Some(2);
    let (draft, decided) = (with_rule(remote), with_rule(remote));
    // It was allowed, so it did not come from another machine.
    assert_eq!(Replay::new(&draft, Some(&decided)).rejudge(&asked), Rejudged::Same);
    asked.policy_version = Some(1);
    asked.blanks.remove(&Blank::MaxTokens);
    assert_eq!(Replay::new(&draft, Some(&decided)).rejudge(&asked), Rejudged::Depends(vec![Blank::Network]));
}

#[test]
fn what_was_not_decided_by_the_rules_is_not_put_to_others() {
    let mut scoped = recorded("operator", Action::Infer, false);
    scoped.rules = vec!["api-key-scope".to_owned()];
    let nothing = r#"forbid (principal in Role::"operator", action == Action::"drain", resource);"#;
    assert_eq!(rejudge(nothing, &scoped), Rejudged::Beside);
    scoped.rules.clear();
    // The rules of that version let operators ask.
    assert_eq!(rejudge(nothing, &scoped), Rejudged::Unexplained);
}

#[test]
fn a_lower_limit_is_not_held_against_who_only_got_the_limit() {
    let (mut bundle, decided) = (Bundle::default_bundle(), Policies::activate(Bundle::default_bundle()).unwrap());
    bundle.version = 2;
    bundle.cases.truncate(0);
    bundle.cases.extend(Bundle::default_bundle().cases.into_iter().find(|case| case.title.contains("without a role")));
    bundle.limits.get_mut("operator").unwrap().max_tokens_per_request = Some(100);
    let draft = Policies::activate(bundle).unwrap();
    let mut replay = Replay::new(&draft, Some(&decided));
    let mut asked = recorded("operator", Action::Infer, true);
    asked.ask.context.max_tokens = Some(4096);
    assert_eq!(replay.rejudge(&asked), Rejudged::Depends(vec![Blank::MaxTokens]));
    asked.ask.context.max_tokens = Some(200);
    assert_eq!(replay.rejudge(&asked), Rejudged::Refused(vec!["token-limit".to_owned()]));
    asked.ask.context.max_tokens = Some(50);
    assert_eq!(replay.rejudge(&asked), Rejudged::Same);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_in_any_file_is_checked_without_panic(
        file in "(limits|models|content|bundle|cases|x)\\.(toml|cedar)", text in "[\\[\\]a-z@\"=(){};,.:\n 0-9ä]{0,200}",
    ) {
        let files = default_files().with(&file, &text).unwrap();
        let checked = files.check(2);
        prop_assert!(checked.policies.is_some() || checked.found.iter().any(|found| found.is_error));
    }
}
