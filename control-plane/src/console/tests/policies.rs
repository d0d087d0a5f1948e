//! Policies on pages: drafted, edited, approved by a second person, simulated, dropped.

use super::*;

#[tokio::test]
async fn a_policy_is_drafted_edited_approved_by_a_second_person_and_dropped_without_a_script() {
    let console = Console::new();
    let page = |path: &'static str| async { console.get(path).await };
    const DRAFT: &str = "/console/policies/drafts/night";
    let begun = console.post("/console/policies/drafts", "name=night&start=default&bundle=").await;
    assert_eq!(begun.headers()[header::LOCATION], "/console/policies/drafts/night?done=draft-saved");
    let again = console.post("/console/policies/drafts", "name=night&start=default").await;
    assert_eq!(again.status(), StatusCode::CONFLICT, "one that is there is not begun anew");
    check("draft", &page("/console/policies/drafts/night?done=draft-saved").await);
    check("file", &page("/console/policies/drafts/night/file?file=limits.toml").await);
    assert!(page(DRAFT).await.contains("You wrote it: a second person approves it."));
    assert!(page("/console/policies").await.contains("can be released"));

    // Whatever is written: it is shown as it is, and what is wrong with its place.
    let typed: String = url::form_urlencoded::byte_serialize(format!("\r\n{HOSTILE}\r\n").as_bytes()).collect();
    for file in ["limits.toml", "more.cedar"] {
        let (draft, path) = (console.fleet.policy_draft("night").unwrap(), format!("{DRAFT}/file"));
        let saved = console.post(&path, &format!("file={file}&revision={}&text={typed}", draft.summary.revision)).await;
        assert_eq!(saved.status(), StatusCode::SEE_OTHER, "{file}");
    }
    let draft = page(DRAFT).await;
    check("faulty draft", &draft);
    assert!(draft.contains("has errors") && draft.contains("limits.toml:2"), "{draft}");
    check("faulty file", &page("/console/policies/drafts/night/file?file=limits.toml").await);
    check("new file", &page("/console/policies/drafts/night/file?file=%3Cscript%3E").await);
    let late = console.post(&format!("{DRAFT}/file"), "file=limits.toml&revision=1&text=x").await;
    assert_eq!(late.status(), StatusCode::CONFLICT);
    for file in ["limits.toml", "more.cedar"] {
        let revision = console.fleet.policy_draft("night").unwrap().summary.revision;
        let kept = if file == "limits.toml" { include_str!("../../../../policies/default/limits.toml") } else { "" };
        let typed: String = url::form_urlencoded::byte_serialize(kept.as_bytes()).collect();
        console.post(&format!("{DRAFT}/file"), &format!("file={file}&revision={revision}&text={typed}")).await;
    }
    let digest = console.fleet.policy_draft("night").unwrap().summary.digest.unwrap();
    let own = console.post(&format!("{DRAFT}/approve"), &format!("digest={digest}")).await;
    assert_eq!(own.status(), StatusCode::FORBIDDEN);
    console.fleet.approve_policy_locally("bo", "night", &digest).unwrap();
    assert!(page(DRAFT).await.contains("local:bo"));

    let simulated = console.post(&format!("{DRAFT}/simulate"), "days=7").await;
    assert_eq!(simulated.status(), StatusCode::OK);
    check("simulation", &text(simulated).await);
    for (path, form) in [
        ("/drop", "confirm=other"),
        ("/approve", "digest=0"),
        ("/simulate", "days=x"),
        ("/simulate", "days=91"),
        ("/file", "file=../x&revision=4&text=x"),
    ] {
        let refused = console.post(&format!("{DRAFT}{path}"), form).await;
        assert!(refused.status().is_client_error(), "{path} {form}: {}", refused.status());
        check(path, &text(refused).await);
    }
    let dropped = console.post(&format!("{DRAFT}/drop"), "confirm=night").await;
    assert_eq!(dropped.headers()[header::LOCATION], "/console/policies?done=draft-dropped");
    let gone = Request::get(DRAFT).header(header::AUTHORIZATION, format!("Bearer {}", console.token));
    assert_eq!(console.ask(gone, "").await.status(), StatusCode::NOT_FOUND);
}

#[test]
fn a_simulation_is_drawn_whatever_records_say() {
    use crate::policy_desk::{Changed, Example, Simulation, Unknown};
    let example = Example { log: 1, record: 7, at_s: i64::MAX, about: HOSTILE.into(), by: vec![HOSTILE.into()] };
    let changed = Changed {
        allowed: false,
        who: HOSTILE.into(),
        roles: vec![HOSTILE.into()],
        act: HOSTILE.into(),
        device: "till-1".parse().unwrap(),
        count: 3,
        rules: vec![HOSTILE.into()],
        examples: vec![example],
    };
    let told = Simulation {
        draft: "night".into(),
        refused: 3,
        devices_cut: 1,
        changed: vec![changed],
        changed_left_out: 2,
        unknown: vec![Unknown { because: HOSTILE.into(), count: 4 }],
        ..Simulation::default()
    };
    let page =
        layout::page(&viewer(), "Simulation", Section::Policies, super::super::policies::render_simulation(&told)).0;
    check("simulation", &page);
    assert!(page.contains("would be refused") && page.contains("cannot be known") && page.contains("not looked at"));
}
