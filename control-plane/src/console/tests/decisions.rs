//! Deciding on models with forms: who may, what is refused beside its field, and what devices are told.

use super::*;
use crate::models::tests::{House, rules};

fn console(rules: crate::config::ModelRules) -> Console {
    let house = House::new(rules);
    Console::of(house.fleet.clone(), house.token.clone(), house)
}

fn typed(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The digest that the page would have approved.
fn digest(page: &str) -> String {
    let (_, after) = page.split_once("name=\"files\" value=\"").expect("a form that approves");
    after[..64].to_owned()
}

const ALPHA: &str = "/console/models/alpha";
const UNTIL: &str = "2027-06-30";

#[tokio::test]
async fn a_model_is_approved_by_whoever_may_for_exactly_what_they_saw() {
    let console = console(rules(true, &[], &["cc-by-nc-4.0"]));
    let (operator, approver) = (console.seen_by("operator"), console.seen_by("approver"));
    let page = operator.get(ALPHA).await;
    check("model", &page);
    assert!(page.contains("needs an approval") && page.contains("Somebody with the role approver approves models."));
    assert!(!page.contains("/approve\"") && page.contains("/withdraw\""), "an operator withdraws and approves nothing");
    let page = approver.get(ALPHA).await;
    check("model", &page);
    assert!(page.contains("/approve\"") && !page.contains("/withdraw\"") && page.contains("every model needs one"));
    assert!(page.contains("Licences refused") && page.contains("value=\"2027-04-15\""), "90 days from now: {page}");

    let seen = digest(&page);
    let form = |until: &str, selector: &str| {
        typed(&[("files", &seen), ("until", until), ("selector", selector), ("note", HOSTILE)])
    };
    let path = format!("{ALPHA}/approve");
    let refused = operator.post(&path, &form(UNTIL, "all")).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN, "by hand, too");
    for (field, until, selector, words) in [
        ("until", "soon", "all", "write a day"),
        ("until", "2026-01-01", "all", "not before now"),
        ("until", "2040-01-01", "all", "within five years"),
        ("selector", UNTIL, "memry>1", "did you mean `memory`?"),
        ("selector", UNTIL, "group=nothing", "there is no group `nothing`"),
    ] {
        let refused = approver.post(&path, &form(until, selector)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{until} {selector}");
        let page = text(refused).await;
        check("refused", &page);
        assert!(page.contains(words), "{words}: {page}");
        let input = page.split(&format!("<input id=\"{field}\"")).nth(1).unwrap().split('>').next().unwrap();
        assert!(input.contains("aria-invalid=\"true\" ") || input.contains("aria-invalid=\"true\""), "{input}");
        assert!(input.contains(&format!("aria-describedby=\"problem-{field} {field}-hint\"")), "{input}");
        assert!(page.contains(&format!("value=\"{selector}\"")) || selector.contains('>'), "what was typed stays");
    }
    assert!(console.fleet.model_approvals(None).unwrap().is_empty());
    let approved = approver.post(&path, &form(UNTIL, "name=box-0000*")).await;
    assert_eq!(approved.headers()[header::LOCATION], "/console/models/alpha?done=model-approved");
    let approvals = console.fleet.model_approvals(None).unwrap();
    assert_eq!((approvals[0].approval.person.as_str(), approvals[0].approval.until_s), ("a-approver", 1_814_399_999));
    let page = approver.get("/console/models/alpha?done=model-approved").await;
    check("approved", &page);
    assert!(
        page.contains("for exactly the files that it has now") && page.contains("badge good\">approved<"),
        "{page}"
    );
    check("catalogue", &console.get("/console/models").await);

    // What is released after somebody looked is not approved by them.
    assert_eq!(console.fleet.model_digest(&"alpha".parse().unwrap()).unwrap(), seen);
    let late = typed(&[("files", &"0".repeat(64)), ("until", UNTIL), ("selector", "all"), ("note", "")]);
    let refused = approver.post(&path, &late).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(text(refused).await.contains("released anew since you looked"));

    let id = approvals[0].approval.id.clone();
    let revoke = format!("{ALPHA}/revoke");
    assert_eq!(operator.post(&revoke, &typed(&[("id", &id)])).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(approver.post(&revoke, &typed(&[("id", HOSTILE)])).await.status(), StatusCode::NOT_FOUND);
    let revoked = approver.post(&revoke, &typed(&[("id", &id)])).await;
    assert_eq!(revoked.headers()[header::LOCATION], "/console/models/alpha?done=approval-revoked");
    let page = approver.get(ALPHA).await;
    assert!(page.contains("by a-approver") && !page.contains("/revoke\""), "it is told, and cannot be revoked again");
}

#[tokio::test]
async fn a_model_is_withdrawn_with_its_name_typed_and_taken_back() {
    let console = console(rules(false, &[], &[]));
    let (operator, approver) = (console.seen_by("operator"), console.seen_by("approver"));
    let page = operator.get(ALPHA).await;
    assert!(page.contains("may be assigned") && page.contains("Nothing is asked for here."), "{page}");
    let path = format!("{ALPHA}/withdraw");
    let form = |target: &str, reason: &str, hours: &str, confirm: &str| {
        typed(&[("target", target), ("reason", reason), ("hours", hours), ("confirm", confirm)])
    };
    for (field, sent) in [
        ("confirm", form("", "it leaks", "24", "beta")),
        ("reason", form("", " ", "24", "alpha")),
        ("reason", form("", &"x".repeat(201), "24", "alpha")),
        ("hours", form("", "it leaks", "soon", "alpha")),
        ("hours", form("", "it leaks", "-1", "alpha")),
        ("hours", form("", "it leaks", "2161", "alpha")),
        ("hours", form("", "it leaks", &i64::MAX.to_string(), "alpha")),
        ("target", form("beta.Q4_0", "it leaks", "24", "alpha")),
        ("target", form(HOSTILE, "it leaks", "24", "alpha")),
    ] {
        assert_eq!(approver.post(&path, &sent).await.status(), StatusCode::FORBIDDEN, "an approver withdraws nothing");
        let refused = operator.post(&path, &sent).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{sent}");
        let page = text(refused).await;
        check("refused", &page);
        assert!(page.contains(&format!("id=\"problem-{field}\" role=\"alert\"")), "{field}: {page}");
    }
    assert!(console.fleet.withdrawals().unwrap().is_empty());
    let withdrawn = operator.post(&path, &form("alpha.Q4_0", HOSTILE, "24", "alpha")).await;
    assert_eq!(withdrawn.headers()[header::LOCATION], "/console/models/alpha?done=withdrawn");
    let page = operator.get(ALPHA).await;
    check("in part", &page);
    assert!(page.contains("withdrawn in part") && page.contains("in 24 h") && page.contains("runs out"), "{page}");
    operator.post(&path, &form("", "it leaks", "0", "alpha")).await;
    let all = console.fleet.withdrawals().unwrap();
    let deadlines: Vec<_> = all.iter().map(|one| (one.target.as_str(), one.after_s, one.person.as_str())).collect();
    assert_eq!(deadlines, [("", NOW_S, "a-operator"), ("alpha.Q4_0", NOW_S + 86_400, "a-operator")]);
    let page = operator.get("/console/models/alpha?done=withdrawn").await;
    check("withdrawn", &page);
    assert!(page.contains("every device is told") && page.contains("badge bad\">over<"), "{page}");
    check("catalogue", &operator.get("/console/models").await);
    assert!(!approver.get(ALPHA).await.contains("/restore\""));
    let restore = format!("{ALPHA}/restore");
    assert_eq!(approver.post(&restore, "").await.status(), StatusCode::FORBIDDEN);
    let restored = operator.post(&restore, "").await;
    assert_eq!(restored.headers()[header::LOCATION], "/console/models/alpha?done=restored");
    assert!(console.fleet.withdrawals().unwrap().is_empty());
    assert_eq!(operator.post(&restore, "").await.status(), StatusCode::NOT_FOUND, "there is nothing to take back");
}

#[tokio::test]
async fn a_model_that_the_catalogue_has_no_more_can_be_taken_back_and_one_that_never_was_has_no_page() {
    let house = House::new(rules(true, &[], &[]));
    let console = Console::of(house.fleet.clone(), house.token.clone(), ());
    console.post(&format!("{ALPHA}/withdraw"), "target=&reason=x&hours=1&confirm=alpha").await;
    house.release(&[("beta", "Q4_0", "", 3)]);
    let page = console.get(ALPHA).await;
    check("gone", &page);
    assert!(page.contains("The catalogue has it no more") && page.contains("/restore\""), "{page}");
    assert!(!page.contains("/approve\"") && !page.contains("/withdraw\""));
    for model in ["nothing", "%3Cscript%3E", "..%2Fdevices"] {
        let asked = Request::get(format!("/console/models/{model}"));
        let asked = asked.header(header::AUTHORIZATION, format!("Bearer {}", console.token));
        let refused = console.ask(asked, "").await;
        assert!(refused.status().is_client_error(), "{model}");
        check(model, &text(refused).await);
    }
    // A name that no form and no command could bring is shown, and leads nowhere.
    let plant = "UPDATE withdrawals SET model = ?1, target = ?1, reason = ?1, person = ?1";
    console.fleet.inner.database.write(|connection| Ok(connection.execute(plant, params![HOSTILE])?)).unwrap();
    check("planted", &console.get("/console/models").await);
}
