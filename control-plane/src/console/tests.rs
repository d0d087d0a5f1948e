//! Every page as a browser gets it: well formed, usable without a mouse or a script, and blind to what hostile names contain.

mod decisions;
mod hooks;
mod machine;
mod page;
mod policies;

use std::any::Any;
use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use outpost_audit::witness::Suspicion;
use outpost_contract::{
    Activity, BuildReport, BuildSource, DeviceId, LinkHealth, Measurements, Reason, ReasonCode, Reported, RolledBack,
    Sha256, TransferProgress,
};
use tower::ServiceExt as _;

use page::{attribute, check, parse};

use super::layout::{Notice, Section};
use super::viewer::{Theme, Viewer};
use super::*;
use crate::audit::{Incident, MirrorSummary};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::sql::params;
use crate::db::{Assignment, Signed};
use crate::people::{Actor, COOKIE, Typed};

const NOW_S: i64 = 1_800_000_000;

/// What a device might call anything.
const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> \u{202e}gnp.exe & </td>";

struct Console {
    router: axum::Router,
    fleet: Fleet,
    token: String,
    /// What is there for as long as the console is.
    _kept: Box<dyn Any>,
}

impl Console {
    fn new() -> Self {
        Self::with(|_| ())
    }

    /// With other settings.
    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path());
        change(&mut config);
        let made = Fleet::init(config, Clock::fixed(NOW_S)).unwrap();
        Self::of(made.fleet, made.admin_token, directory)
    }

    fn of(fleet: Fleet, token: String, kept: impl Any) -> Self {
        Self { router: router().with_state(fleet.clone()), fleet, token, _kept: Box::new(kept) }
    }

    /// The same, looked at by somebody with this role.
    fn seen_by(&self, role: &str) -> Self {
        let token = self.fleet.create_api_token(&format!("a-{role}"), &[role.to_owned()], &[], 1).unwrap();
        Self::of(self.fleet.clone(), token, ())
    }

    /// The cookie of a person who signed in and may do everything.
    fn signed_in(&self) -> String {
        let roles = ["administrator", "operator", "approver", "auditor"].map(str::to_owned);
        let code = self.fleet.add_person("ada", &roles).unwrap();
        let address = "192.0.2.7".parse().unwrap();
        let (name, password) = ("ada".to_owned(), "correct horse battery".to_owned());
        self.fleet.set_password(&Typed { name: name.clone(), password: password.clone(), code }, address).unwrap();
        let secret = self.fleet.sign_in(&Typed { name, password, code: String::new() }, address, None).unwrap();
        format!("{COOKIE}={secret}")
    }

    /// A device that has reported hostile words wherever it can, and runs something else than it should.
    fn enter(&self, name: &str) {
        let (database, device) = (&self.fleet.inner.database, name.parse::<DeviceId>().unwrap());
        let written = database.write(|connection| {
            connection.execute(
                "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, ?2, x'00', ?3, ?3)",
                params![name, NOW_S, HOSTILE],
            )?;
            connection.execute(
                "INSERT INTO contacts (device, boot, connection, online, seen_s) VALUES (?1, 'b', 1, 1, ?2)",
                params![name, NOW_S - 3],
            )?;
            connection.execute(
                "INSERT INTO events (device, boot, sequence, received_s, at_s, kind, text) VALUES (?1, 'b', 1, 1, 1, ?2, ?2)",
                params![name, HOSTILE],
            )?;
            connection.execute(
                "INSERT INTO enrol_requests (key_sha256, wished_name, address, agent, first_s, seen_s)
                 VALUES (?1, ?2, ?2, ?2, 1, 1)",
                params![crate::tokens::hash(name), HOSTILE],
            )?;
            Ok(())
        });
        written.unwrap();
        let assignment = Assignment { model: Some("model-b".parse().unwrap()), minimum_context_tokens: 512 };
        database.assign(&device, &assignment).unwrap();
        let signed = Signed { device, version: 2, not_after_s: NOW_S + 86_400, envelope: Vec::new() };
        database.keep_signed(&[signed]).unwrap();
        assert!(database.keep_report(&reported(name), NOW_S - 3).unwrap());
    }

    async fn ask(&self, request: axum::http::request::Builder, body: &str) -> Response {
        self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    async fn get(&self, path: &str) -> String {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let response = self.ask(request, "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        text(response).await
    }

    async fn post(&self, path: &str, form: &str) -> Response {
        let request = Request::post(path)
            .header(header::HOST, "fleet.example:8790")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.ask(request, form).await
    }
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 22).await.unwrap().to_vec()).unwrap()
}

fn reported(device: &str) -> Reported {
    Reported {
        v: 1,
        device: device.parse().unwrap(),
        boot: "00000000-0000-4000-8000-000000000000".parse().unwrap(),
        sequence: 1,
        agent: HOSTILE.into(),
        desired_version: 2,
        applied_version: 1,
        model: None,
        policy_version: 3,
        reasons: vec![Reason { code: ReasonCode::DoesNotFit, subject: HOSTILE.into(), detail: HOSTILE.repeat(200) }],
        measurements: Some(Measurements {
            measured_at_s: NOW_S - 600,
            cpu: HOSTILE.into(),
            cores: 4,
            features: vec![HOSTILE.into()],
            memory_total_bytes: 4 << 30,
            memory_available_bytes: 1 << 30,
            memory_cgroup_headroom_bytes: None,
            disk_free_bytes: 9 << 30,
            memory_read_bytes_per_second: 8 << 30,
            kernels: Vec::new(),
            passes: Vec::new(),
            corrections: Vec::new(),
            machine: None,
        }),
        plan: vec![HOSTILE.into(), "model-a Q4_0: chosen".into()],
        activity: Activity::default(),
        transfer: Some(TransferProgress {
            target: "model-a.Q4_0.gguf".parse().unwrap(),
            done_bytes: 25,
            total_bytes: 100,
            bytes_per_second: 1,
            source: HOSTILE.into(),
            waiting_for: Some(HOSTILE.into()),
        }),
        link: LinkHealth::default(),
        build: Some(BuildReport {
            version: "0.2.0".parse().unwrap(),
            target: "x86_64-unknown-linux-gnu".parse().unwrap(),
            sha256: None,
            source: BuildSource::Packaged,
            trial: true,
            rolled_back: Some(RolledBack {
                version: "0.3.0".parse().unwrap(),
                sha256: Sha256([3; 32]),
                reason: HOSTILE.repeat(200),
            }),
        }),
    }
}

const PAGES: &[&str] = &[
    "/console",
    "/console/devices",
    "/console/devices?filter=till&after=a",
    "/console/devices?filter=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "/console/devices?filter=state%3Drefused+and+not+label.a%3Db",
    "/console/devices/till-1",
    "/console/devices/till-1?done=commanded",
    "/console/groups",
    "/console/groups?selector=%3Cscript%3E&name=%22%3E&description=%22%3E%3Cscript%3E",
    "/console/models?a=%3Cscript%3E&b=x",
    "/console/rollouts",
    "/console/policies",
    "/console/enrol",
    "/console/audit",
    "/console/audit/till-1",
    "/console/records",
    "/console/records?who=%3Cscript%3Ealert(1)%3C%2Fscript%3E&effect=deny",
    "/console/records?device=till-1&since=2026-11-01&before=2026-12-01",
    "/console/people",
    "/console/webhooks",
    "/console/webhooks?done=hook-removed",
    "/console/account",
];

const FORMS: &[&str] = &[
    "/console/rollouts",
    "/console/rollouts/x/pause",
    "/console/devices/till-1/command",
    "/console/devices/till-1/assignment",
    "/console/devices/till-1/site",
    "/console/devices/till-1/revoke",
    "/console/devices/till-1/labels",
    "/console/groups",
    "/console/groups/remove",
    "/console/enrol/code",
    "/console/enrol/accept",
    "/console/enrol/reject",
    "/console/theme",
    "/console/account/password",
    "/console/account/authenticator",
    "/console/account/authenticator/confirm",
    "/console/account/authenticator/remove",
    "/console/account/codes",
    "/console/account/sessions/end",
    "/console/models/alpha/approve",
    "/console/models/alpha/revoke",
    "/console/models/alpha/withdraw",
    "/console/models/alpha/restore",
    "/console/webhooks",
    "/console/webhooks/pager/test",
    "/console/webhooks/pager/pause",
    "/console/webhooks/pager/retry",
    "/console/webhooks/pager/remove",
    "/console/policies/drafts",
    "/console/policies/drafts/night/file",
    "/console/policies/drafts/night/approve",
    "/console/policies/drafts/night/simulate",
    "/console/policies/drafts/night/drop",
];

#[tokio::test]
async fn every_page_is_well_formed_labelled_and_blind_to_hostile_names() {
    let console = Console::new();
    for path in PAGES.iter().copied().filter(|path| !path.contains("till-1")) {
        check(path, &console.get(path).await);
    }
    console.enter("till-1");
    console.enter("till-2");
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    tokio::time::resume();
    for path in PAGES.iter().copied() {
        check(path, &console.get(path).await);
    }
    let device = console.get("/console/devices/till-1").await;
    for shown in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "1.0 GiB free of 4.0 GiB",
        "Transfer: 25 percent",
        "Not in step",
        "refused",
        "does not fit",
        "Last error",
        "Tries again",
    ] {
        assert!(device.contains(shown), "{shown}");
    }
    let overview = console.get("/console").await;
    assert!(overview.contains("Needs somebody") && overview.contains("/console/devices?filter=state%3Drefused"));
}

#[tokio::test]
async fn without_an_identity_there_is_a_way_to_log_in_and_nothing_else() {
    let console = Console::new();
    console.enter("till-1");
    let live = [
        "/",
        "/console/live",
        "/console/rollouts/x",
        "/console/models/alpha",
        "/console/webhooks/pager",
        "/console/report",
        "/console/audit/till-1/incident/1",
        "/console/audit/till-1/incident/1/held.note",
    ];
    let gets = PAGES.iter().copied().chain(live).map(|path| (Request::get(path), path));
    let posts = FORMS.iter().copied().map(|path| (Request::post(path), path));
    for (request, path) in gets.chain(posts) {
        let response = console.ask(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded"), "").await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
        assert_eq!(response.headers()[header::LOCATION], "/login", "{path}");
        assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], CONTENT_POLICY, "{path}");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer", "{path}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{path}");
    }
}

#[tokio::test]
async fn no_form_takes_what_another_site_made_a_signed_in_browser_send() {
    let console = Console::new();
    let cookie = console.signed_in();
    let send = |path: &'static str, site: Option<&'static str>| {
        let request = Request::post(path).header(header::COOKIE, cookie.as_str());
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        match site {
            Some(site) => console.ask(request.header("sec-fetch-site", site), ""),
            None => console.ask(request, ""),
        }
    };
    for path in FORMS.iter().copied() {
        for site in [Some("cross-site"), Some("same-site"), Some("none"), None] {
            let refused = send(path, site).await;
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path} from {site:?}");
            assert!(text(refused).await.contains("comes from another site"), "{path}");
        }
    }
    // From its own pages the same browser gets as far as the form.
    let ours = send("/console/models/alpha/withdraw", Some("same-origin")).await;
    assert_eq!(ours.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn style_and_script_are_kept_for_ever_under_their_digest() {
    let console = Console::new();
    for path in [&*assets::STYLE_PATH, &*assets::SCRIPT_PATH] {
        let response = console.ask(Request::get(path), "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
        assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], CONTENT_POLICY);
        let body = text(response).await;
        assert!(!body.contains("://") && !body.contains("eval(") && !body.contains("innerHTML"), "{path}");
    }
    let other = console.ask(Request::get("/console/assets/console.css"), "").await;
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn forms_do_what_they_say_and_nothing_when_they_cannot_be_read() {
    let console = Console::new();
    console.enter("till-1");
    let device: DeviceId = "till-1".parse().unwrap();
    let made = console.post("/console/enrol/code", "device=till-9&valid_s=3600").await;
    assert_eq!(made.status(), StatusCode::OK);
    assert_eq!(made.headers()[header::CACHE_CONTROL], "no-store");
    let made = text(made).await;
    check("code", &made);
    assert!(made.contains("class=\"big-code\"") && made.contains("Code for till-9"));
    assert!(made.contains("outpost enroll --server https://fleet.example:8790 --code "), "{made}");
    assert!(!console.get("/console/enrol").await.contains("big-code"), "shown once");

    let given = console.post("/console/devices/till-1/command", "op=drain").await;
    assert_eq!(given.headers()[header::LOCATION], "/console/devices/till-1?done=commanded");
    assert_eq!(console.fleet.commands(&device).unwrap()[0].asked_by, "administrator");
    let placed = console.post("/console/devices/till-1/site", "site=store-12").await;
    assert_eq!(placed.status(), StatusCode::SEE_OTHER);
    assert_eq!(console.fleet.device(&device).unwrap().site.as_deref(), Some("store-12"));
    assert!(console.get("/console/devices?filter=store").await.contains("till-1"));
    for (filter, found) in [
        ("state%3Drefused+and+site%3Dstore-*", "1</strong> of 1 device"),
        ("site%3Dstore-13", "No device matches"),
        ("st%25re", "role=\"alert\""),
        ("memry%3E1", "did you mean `memory`?"),
        ("group%3Dnothing", "there is no group `nothing`"),
    ] {
        let page = console.get(&format!("/console/devices?filter={filter}")).await;
        check(filter, &page);
        assert!(page.contains(found), "{filter}: {found}");
    }
    let labelled = console.post("/console/devices/till-1/labels", "key=stage&value=canary").await;
    assert_eq!(labelled.headers()[header::LOCATION], "/console/devices/till-1?done=labelled");
    let kept = console.post("/console/groups", "name=canary&selector=label.stage%3Dcanary&description=%3Cb%3E").await;
    assert_eq!(kept.headers()[header::LOCATION], "/console/groups?done=group-kept");
    let groups = console.get("/console/groups?selector=group%3Dcanary").await;
    check("groups", &groups);
    assert!(groups.contains("&lt;b&gt;") && groups.contains("<strong>1</strong> of 1 devices: "), "{groups}");
    assert!(console.get("/console/devices/till-1").await.contains("filter=group%3Dcanary"));
    console.post("/console/devices/till-1/labels", "remove=stage").await;
    assert!(console.fleet.labels(&device).unwrap().is_empty());
    console.post("/console/groups/remove", "name=canary").await;
    assert!(console.fleet.groups().unwrap().is_empty());

    for (path, form) in [
        ("/console/devices/till-1/command", "op=erase"),
        ("/console/devices/till-1/assignment", "model=%3Cscript%3E&minimum_context_tokens=1"),
        ("/console/devices/till-1/revoke", "confirm=till-2"),
        ("/console/devices/till-1/labels", "key=%3Cscript%3E&value=a"),
        ("/console/devices/till-1/labels", ""),
        ("/console/groups", "name=%3Cscript%3E&selector=all&description="),
        ("/console/groups", "name=a&selector=%3Cscript%3E&description="),
        ("/console/groups/remove", "name=%3Cscript%3E"),
        ("/console/enrol/code", "device=%3Cscript%3E&valid_s=1"),
        ("/console/enrol/accept", "fingerprint=x&device=till-3"),
        ("/console/enrol/reject", "fingerprint=%00"),
        ("/console/theme", "x=y"),
        ("/console/rollouts", "name=a"),
        ("/console/rollouts/a/pause", ""),
        ("/console/rollouts/a/explode", ""),
    ] {
        let refused = console.post(path, form).await;
        assert!(refused.status().is_client_error(), "{path}: {}", refused.status());
        check(path, &text(refused).await);
    }
    assert_eq!(console.fleet.device(&device).unwrap().revoked_s, None);
    console.post("/console/devices/till-1/revoke", "confirm=till-1").await;
    assert_eq!(console.fleet.device(&device).unwrap().revoked_s, Some(NOW_S));
    let page = console.get("/console/devices/till-1?done=revoked").await;
    assert!(page.contains("let in no longer.") && !page.contains("/command\""), "no button for a revoked device");

    let themed = console.post("/console/theme", "theme=dark").await;
    assert!(themed.headers()[header::SET_COOKIE].to_str().unwrap().starts_with("theme=dark; "));
}

#[tokio::test]
async fn a_long_list_comes_a_page_at_a_time_and_every_device_once() {
    let console = Console::new();
    for number in 0..120 {
        console.enter(&format!("till-{number:03}"));
    }
    let (mut path, mut seen, mut pages) = ("/console/devices".to_owned(), BTreeSet::new(), 0);
    loop {
        let elements = parse(&console.get(&path).await);
        pages += 1;
        let rows = elements.iter().filter(|element| attribute(element, "data-row").is_some());
        let names: Vec<String> = rows.filter_map(|row| attribute(row, "href")).map(str::to_owned).collect();
        assert!(names.len() <= 50);
        assert!(names.into_iter().all(|name| seen.insert(name)));
        let next = elements.iter().find(|element| attribute(element, "rel") == Some("next"));
        let Some(next) = next.and_then(|element| attribute(element, "href")) else { break };
        path = next.replace("&amp;", "&");
    }
    assert_eq!((seen.len(), pages), (120, 3));
}

fn viewer() -> Viewer {
    Viewer { actor: Actor::named(HOSTILE), theme: Theme::Dark, notice: Some(Notice::Accepted) }
}

#[test]
fn rollouts_are_drawn_wave_by_wave_whatever_they_are_called() {
    let wave = |name: &str, done, failed| rollouts::WaveView {
        name: name.into(),
        gate: HOSTILE.into(),
        done,
        under_way: 2,
        failed,
        back: 0,
        waiting: 6,
    };
    let rollout = rollouts::RolloutView {
        name: HOSTILE.into(),
        change: HOSTILE.into(),
        state: "stopped".into(),
        tone: "bad",
        reason: Some(HOSTILE.into()),
        began_s: NOW_S,
        waves: vec![wave("canary", 2, 0), wave(HOSTILE, 1, 1)],
        awaits: Some(rollouts::Awaits { author: "ada".into(), agreed: vec![HOSTILE.into()] }),
        acts: vec![("abort", "Abort and roll back")],
        failures: vec![(HOSTILE.into(), HOSTILE.into())],
        notices: vec![(NOW_S, HOSTILE.into())],
    };
    let viewer = viewer();
    let list = rollouts::render_list(std::slice::from_ref(&rollout));
    check("rollouts", &layout::page(&viewer, "Rollouts", Section::Rollouts, list).0);
    let one = rollouts::render(&rollout, &viewer).into_string();
    // Two of ten are done, two under way: the second part begins where the first ends.
    assert!(one.contains(r#"<rect class="good" x="0.0" y="0" width="200.0" height="28"></rect>"#), "{one}");
    assert!(one.contains(r#"<rect class="accent" x="200.0" y="0" width="200.0" height="28"></rect>"#), "{one}");
    check("rollout", &layout::page(&viewer, HOSTILE, Section::Rollouts, rollouts::render(&rollout, &viewer)).0);
}

#[test]
fn evidence_and_records_are_shown_and_not_run() {
    let incident = crate::IncidentReport {
        number: 7,
        device: "till-1".parse().unwrap(),
        origin: HOSTILE.into(),
        kind: "fork",
        found_s: u64::MAX,
        held: HOSTILE.into(),
        offered: HOSTILE.into(),
        proof: vec![HOSTILE.into()],
        log_key: None,
        convicts: false,
    };
    let body = audit::logs::render_incident(&incident);
    check("incident", &layout::page(&viewer(), "Incident", Section::Audit, body).0);
    assert_eq!(
        incident.files().map(|(name, _)| name).collect::<Vec<_>>(),
        ["held.note", "offered.note", "evidence.json"]
    );
    assert_eq!(incident.file("../held.note"), None);
    let hit = crate::Hit {
        device: "till-1".parse().unwrap(),
        log: 1,
        index: 2,
        line: HOSTILE.into(),
        record: HOSTILE.into(),
    };
    let found =
        crate::Found { hits: vec![hit], next: Some("till-1/1/2".into()), looked: 3, not_looked: vec![HOSTILE.into()] };
    let body = audit::search::render(&audit::search::Asked::default(), Some(&found));
    let page = layout::page(&viewer(), "Search", Section::Audit, body).0;
    check("search", &page);
    assert!(page.contains("/console/records?after=till-1%2F1%2F2"));
}

#[test]
fn what_is_held_against_a_log_comes_first() {
    let mirror = |device: &str, incidents| MirrorSummary {
        device: device.parse().unwrap(),
        origin: HOSTILE.into(),
        directory: "/".into(),
        mirrored: 75,
        cosigned: 70,
        reported: Some(100),
        incidents,
    };
    let incident =
        Incident { kind: Suspicion::Fork.name(), found_s: u64::MAX, held: HOSTILE.into(), offered: HOSTILE.into() };
    let mirrors = [mirror("till-1", vec![]), mirror("till-2", vec![incident])];
    let view = audit::view(&mirrors, (HOSTILE.into(), HOSTILE.into()));
    assert_eq!(view.mirrors[0].device.as_str(), "till-2");
    let page = audit::render(&view).into_string();
    assert!(page.contains("Mirrored: 75 percent") && page.contains("fork"));
    let page = layout::page(&viewer(), "Audit", Section::Audit, audit::render(&view)).0;
    check("audit", &page);
}
