//! The life of a policy: lint, difference, review, explanation, as their readers see them.

use outpost_policies::{
    Action, Bundle, BundleError, Case, Given, Policies, SCHEMA_VERSION, WhenRevoked, diff, lint, review,
};

fn activate(bundle: &Bundle) -> Policies {
    Policies::activate(bundle.clone()).unwrap_or_else(|findings| panic!("{findings:?}"))
}

/// The default bundle with a change, and without the cases that speak of it.
fn changed(change: impl FnOnce(&mut Bundle)) -> Bundle {
    let mut bundle = Bundle::default_bundle();
    bundle.version = 2;
    bundle.cases.retain(|case| case.title.contains("without a role"));
    change(&mut bundle);
    bundle
}

fn difference(change: impl FnOnce(&mut Bundle)) -> String {
    diff(&activate(&changed(|_| {})), &activate(&changed(change))).to_string()
}

#[test]
fn the_default_bundle_has_nothing_for_lint_to_say() {
    let bundle = Bundle::default_bundle();
    assert_eq!(lint(&bundle, &activate(&bundle)), []);
}

#[test]
fn lint_names_what_is_hardly_meant() {
    let mut bundle = Bundle::default_bundle();
    bundle.limits.insert("janitor".to_owned(), Default::default());
    bundle.content = toml::from_str("[pattern.own]\nmatches = 'xxx'\n[role.janitor]\n").unwrap();
    bundle.models = toml::from_str("[demo]\n").unwrap();
    bundle.policies.insert(
        "more.cedar".to_owned(),
        r#"@id("everybody") @title("t") @reason("r")
           permit (principal, action == Action::"list_models", resource);
           @id("again") @title("t") @reason("r")
           permit (principal in Role::"operator", action == Action::"infer", resource) when { context.stream };
           @id("in-vain") @title("t") @reason("r")
           permit (principal in Role::"auditor", action == Action::"infer", resource);
           @id("silent") @title("t") @reason("r")
           forbid (principal == User::"eve", action == Action::"drain", resource);
           @id("slip") @title("t") @reason("r")
           forbid (principal, action == Action::"infer", resource == Model::"dmeo");"#
            .to_owned(),
    );
    bundle.cases.retain(|case| !case.title.contains("nothing"));
    let found: Vec<String> = lint(&bundle, &activate(&bundle)).iter().map(ToString::to_string).collect();
    for expected in [
        "limits: no rule names the role `janitor`: give it a rule, or take it out",
        "content: no rule names the role `janitor`, so its content rules do nothing",
        "content: no role looks for the pattern `own`",
        "more.cedar: rule `everybody`: permits this to everybody who has an identity: name a role",
        "more.cedar: rule `again`: says nothing in any typical situation that `operators-use-models` does not say",
        "more.cedar: rule `in-vain`: permits only what another rule forbids: it has no effect",
        "more.cedar: rule `silent`: speaks in no typical situation: try it by a case, or take it out",
        "more.cedar: rule `silent`: decides no case: add one that it decides",
        "more.cedar: rule `slip`: names the model `dmeo`, which `models.toml` does not list: a slip of the pen?",
        "models: models are listed, but no rule reads what is said of them (`resource.approved` and the like)",
        "cases: no case has the role `janitor`",
    ] {
        assert!(found.iter().any(|found| found == expected), "{expected}\nis not in\n{}", found.join("\n"));
    }
}

#[test]
fn a_difference_says_who_gains_and_who_loses() {
    let said = difference(|bundle| {
        let more = r#"@id("operators-delete") @title("Operators delete models") @reason("r")
            permit (principal in Role::"operator", action == Action::"delete_model", resource);"#;
        bundle.policies.insert("more.cedar".to_owned(), more.to_owned());
        let auditors = bundle.policies["auditor.cedar"].replace(", Action::\"export_audit\"", "");
        bundle.policies.insert("auditor.cedar".to_owned(), auditors);
        bundle.limits.insert(
            "admin".to_owned(),
            toml::from_str("max_tokens_per_request = 16384\nstore_responses = true").unwrap(),
        );
    });
    assert_eq!(
        said,
        "admins gain: ask models, asking for more than 8192 tokens\n\
         admins gain: have texts embedded, asking for more than 8192 tokens\n\
         operators gain: delete models\n\
         role `admin`: max_tokens_per_request from 8192 to 16384\n\
         auditors lose: export the audit log\n\
         rule `auditors-read-the-record` changed: Auditors read and export the audit log\n\
         rule `operators-delete` added: Operators delete models\n"
    );
}

#[test]
fn a_condition_is_told_by_its_situation() {
    let said = difference(|bundle| {
        let more = r#"@id("licences") @title("Listed licences only") @reason("r")
            forbid (principal, action == Action::"infer", resource) unless { resource.licence == "Apache-2.0" };
            @id("three-days") @title("Nothing is deleted from afar") @reason("r")
            forbid (principal, action == Action::"delete_model", resource)
            when { context.offline_for > duration("72h") && context.network == Network::"loopback" };"#;
        bundle.policies.insert("more.cedar".to_owned(), more.to_owned());
    });
    assert!(said.contains("operators lose: ask models, with a model without a licence"), "{said}");
    assert!(said.contains("admins lose: delete models, more than 3d offline"), "{said}");
    assert!(!said.contains("gain"), "{said}");
}

#[test]
fn nothing_changes_is_said_too_and_narrowing_is_not_widening() {
    assert_eq!(difference(|_| {}), "nothing changes from version 2 to 2\n");
    let narrower = changed(|bundle| {
        bundle.policies.remove("operator.cedar");
    });
    let diff = diff(&activate(&changed(|_| {})), &activate(&narrower));
    assert!(!diff.widens() && !diff.is_empty());
}

#[test]
fn each_value_beside_the_rules_is_told_with_what_it_was() {
    let said = difference(|bundle| {
        bundle.required_approvals = 2;
        bundle.fleet.when_revoked = WhenRevoked::Stop;
        bundle.models = toml::from_str("[demo]\napproved_until = \"2027-01-31\"").unwrap();
        bundle.content = toml::from_str("[role.operator]\noutput = [{ class = \"email\", act = \"redact\" }]").unwrap();
        let limits = "max_tokens_per_request = 4096\nmodels = [\"demo\"]\nmax_offline = \"14d\"\npriority = \"batch\"\n\
                      hours = [{ weekdays = [\"mon\"], from = \"08:00\", to = \"18:00\" }]";
        bundle.limits.insert("operator".to_owned(), toml::from_str(limits).unwrap());
        bundle.limits.insert("janitor".to_owned(), Default::default());
    });
    for expected in [
        "the bundle: required approvals from 0 to 2",
        "the fleet: when the device is revoked from serve to stop",
        "model `demo`: approval from not listed to approved until 2027-01-31",
        "role `operator`, output: email from pass to redact",
        "role `operator`: models from all to demo",
        "role `operator`: max_offline from any to 14d",
        "role `operator`: priority from normal to batch",
        "role `operator`: store_responses from yes to no",
        "role `operator`: hours from any to mon 08:00–18:00",
        "role `janitor` is new",
        "operators lose: ask models",
    ] {
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
}

#[test]
fn a_change_that_no_typical_situation_shows_still_counts_as_one_that_could_widen() {
    let eve = |effect: &str| {
        let rule = format!(
            r#"@id("eve") @title("About Eve") @reason("r") {effect} (principal == User::"eve", action == Action::"drain", resource);"#
        );
        changed(|bundle| {
            bundle.policies.insert("eve.cedar".to_owned(), rule);
        })
    };
    let (none, permitted, forbidden) = (activate(&changed(|_| {})), activate(&eve("permit")), activate(&eve("forbid")));
    assert!(diff(&none, &permitted).widens() && diff(&forbidden, &none).widens());
    assert!(!diff(&none, &forbidden).widens() && !diff(&permitted, &none).widens());
    assert!(diff(&forbidden, &permitted).to_string().contains("rule `eve` changed: About Eve"));
}

#[test]
fn a_pattern_or_a_fact_that_is_another_one_is_told() {
    let with = |matches: &str, licence: &str| {
        changed(|bundle| {
            bundle.content = toml::from_str(&format!("[pattern.own]\nmatches = '{matches}'")).unwrap();
            bundle.models = toml::from_str(&format!("[demo]\nlicence = '{licence}'")).unwrap();
        })
    };
    let diff = diff(&activate(&with("AB[0-9]{4}", "MIT")), &activate(&with("AB[0-9]{5}", "GPL-3.0")));
    let expected = "model `demo`: licence from MIT to GPL-3.0\npattern `own`: matches from AB[0-9]{4} to AB[0-9]{5}\n";
    let mut lines: Vec<String> = diff.changes.iter().map(ToString::to_string).collect();
    lines.sort();
    assert_eq!(format!("{}\n", lines.join("\n")), expected);
}

#[test]
fn a_review_says_who_can_do_what_and_when_not() {
    let review = review(&activate(&Bundle::default_bundle()), &[]);
    let rows: Vec<&str> = review.rows.iter().map(|row| row.who.as_str()).collect();
    assert_eq!(rows, ["role `admin`", "role `auditor`", "role `operator`", "without a role"]);
    let said = review.to_string();
    assert!(said.contains("  infer           yes  operators-use-models\n"), "{said}");
    assert!(said.contains("not asking for more than 4096 tokens (token-limit)"), "{said}");
    assert!(said.ends_with("without a role\n  nothing\n"), "{said}");
    assert!(review.rows.iter().all(|row| row.cells.len() == Action::ALL.len()));
}

#[test]
fn a_review_does_not_hide_what_takes_several_conditions() {
    let bundle = changed(|bundle| {
        let rule = r#"@id("batch") @title("t") @reason("r")
            permit (principal is Service in Role::"auditor", action == Action::"drain", resource)
            when { context.weekday == 7 && context.auth_method == AuthMethod::"certificate" };"#;
        bundle.policies.insert("more.cedar".to_owned(), rule.to_owned());
    });
    let said = review(&activate(&bundle), &[("ada".to_owned(), vec!["auditor".to_owned()])]).to_string();
    assert!(said.contains("  drain           perhaps, where several conditions meet (batch)\n"), "{said}");
}

#[test]
fn an_explanation_names_the_rules_and_the_way_out() {
    let policies = activate(&Bundle::default_bundle());
    let explain = |roles: &[&str], action, given: Given| {
        policies.explain(&given.ask(roles.iter().map(|&role| role.to_owned()).collect(), action)).to_string()
    };
    let auditor = explain(&["auditor"], Action::Infer, Given::default());
    assert!(auditor.starts_with("deny\n  `auditors-do-not-ask` forbids: Auditors do not ask the models"), "{auditor}");
    assert!(auditor.contains("it would be allowed with the role `operator` alone"), "{auditor}");
    let tokens = explain(&["operator"], Action::Infer, Given { max_tokens: Some(9000), ..Given::default() });
    assert!(
        tokens.contains("`token-limit` forbids") && tokens.contains("allowed asking for at most 4096 tokens"),
        "{tokens}"
    );
    let delete = explain(&["operator"], Action::DeleteModel, Given::default());
    assert!(
        delete.contains("no rule permits it") && delete.contains("allowed with the role `admin` as well"),
        "{delete}"
    );
    let allowed = explain(&["operator"], Action::Infer, Given::default());
    assert!(allowed.starts_with("allow\n  `operators-use-models` permits"), "{allowed}");
    assert!(allowed.contains("it would be denied asking for more than 4096 tokens"), "{allowed}");
}

#[test]
fn cases_can_be_tried_without_activating() {
    let mut bundle = Bundle::default_bundle();
    bundle.policies.remove("auditor.cedar");
    let tried = Policies::try_cases(&bundle).unwrap();
    assert_eq!(tried.len(), bundle.cases.len());
    let failed = tried.iter().find(|case| case.title == "an auditor reads the audit log").unwrap();
    assert!(failed.problem.as_ref().unwrap().starts_with("read_audit: expected allow"), "{failed:?}");
}

#[test]
fn a_bundle_says_its_schema_and_how_many_must_approve_the_next() {
    let files = |head: &'static str| Bundle::from_files(1, [("bundle.toml", head), ("limits.toml", "[operator]")]);
    let bundle = files("version = 7\nrequired_approvals = 2").unwrap();
    assert_eq!((bundle.version, bundle.schema, bundle.required_approvals), (7, SCHEMA_VERSION, 2));
    assert!(matches!(files("schema = 99"), Err(BundleError::Schema { found: 99 })));
    assert!(matches!(files("approvals = 2"), Err(BundleError::Toml { .. })));
    let mut approved = Bundle::default_bundle();
    approved.required_approvals = 2;
    assert_eq!(activate(&Bundle::parse(&approved.to_bytes()).unwrap()).required_approvals(), 2);
    let unknown = Bundle::from_files(1, [("notes.txt", "")]).unwrap_err();
    assert!(unknown.to_string().contains("`notes.txt` is no part of a policy bundle"), "{unknown}");
}

#[test]
fn a_bundle_says_whether_a_revoked_device_goes_on_and_an_older_one_says_that_it_does() {
    let files = |head: &'static str| Bundle::from_files(1, [("bundle.toml", head), ("limits.toml", "[operator]")]);
    assert_eq!(files("version = 7").unwrap().fleet.when_revoked, WhenRevoked::Serve);
    assert_eq!(files("[fleet]\nwhen_revoked = \"stop\"").unwrap().fleet.when_revoked, WhenRevoked::Stop);
    assert!(matches!(files("[fleet]\nwhen_revoked = \"explode\""), Err(BundleError::Toml { .. })));
    assert!(matches!(files("[fleet]\nwhen_revokd = \"stop\""), Err(BundleError::Toml { .. })));
    let mut stopping = Bundle::default_bundle();
    // What says nothing of it reads as before, also for an agent that does not know the word.
    assert!(!String::from_utf8(stopping.to_bytes()).unwrap().contains("\"fleet\""));
    stopping.fleet.when_revoked = WhenRevoked::Stop;
    assert_eq!(activate(&Bundle::parse(&stopping.to_bytes()).unwrap()).fleet().when_revoked, WhenRevoked::Stop);
}

#[test]
fn a_bundle_of_the_first_schema_is_read_as_before() {
    let old = r#"{"v":1,"version":3,"policies":{"a.cedar":"@id(\"a\") @title(\"t\") @reason(\"r\") permit (principal in Role::\"operator\", action == Action::\"infer\", resource) when { context.max_tokens <= principal.limits.max_tokens_per_request };"},
        "limits":{"operator":{"max_tokens_per_request":5}},
        "cases":[{"title":"t","who":"operator","does":"infer","expect":"allow","max_tokens":5}]}"#;
    let bundle = Bundle::parse(old.as_bytes()).unwrap();
    assert_eq!((bundle.schema, bundle.required_approvals), (1, 0));
    assert_eq!(activate(&bundle).version(), 3);
}

#[test]
fn a_case_with_a_word_that_nobody_knows_is_refused() {
    let case = |more: &str| {
        toml::from_str::<Case>(&format!("title = \"t\"\nwho = []\ndoes = \"infer\"\nexpect = \"deny\"\n{more}"))
    };
    assert!(case("max_tokens = 5\nweekday = \"sat\"\ntime = \"22:30\"\ndata_class = \"special\"").is_ok());
    assert!(case("max_token = 5").unwrap_err().to_string().contains("max_token"));
    assert!(case("weekday = \"caturday\"").is_err());
}
