//! The page that Prometheus reads, and the alert rules that rely on it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use tower::ServiceExt as _;

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::shares::{Rates, Shares};
use crate::signals::NewWebhook;

const NOW_S: i64 = 1_800_000_000;
const RULES: &str = include_str!("../../../cross/package/prometheus/alerts.yml");

fn fleet(devices: usize) -> (Fleet, String, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::new(directory.path().join("state"));
    let made = Fleet::init(config, Clock::fixed(NOW_S)).unwrap();
    made.fleet.add_crowd(devices).unwrap();
    (made.fleet, made.admin_token, directory)
}

/// The page, once the mirrors have been measured as well.
async fn whole_page(fleet: &Fleet) -> String {
    fleet.add_webhook(&NewWebhook { name: "pager".into(), url: "https://a.example/".into(), kinds: vec![] }).unwrap();
    loop {
        let page = fleet.metrics_page().await.unwrap();
        if page.contains(names::MIRRORS_AGE) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The value of one sample.
fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == sample));
    let line = line.unwrap_or_else(|| panic!("{sample} is not in\n{page}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn the_page_agrees_with_the_overview_and_is_not_made_anew_for_everybody() {
    let (fleet, _, _directory) = fleet(200);
    let overview = fleet.overview().unwrap();
    let page = whole_page(&fleet).await;
    let sum: f64 = overview
        .states
        .keys()
        .map(|state| value(&page, &format!("outpost_control_devices{{state=\"{state}\"}}")))
        .sum();
    assert_eq!(sum, overview.devices as f64);
    assert_eq!(value(&page, names::ONLINE), overview.online as f64);
    assert_eq!(value(&page, names::DRIFTING), overview.drifting as f64);
    assert_eq!(
        value(&page, "outpost_control_devices{state=\"ahead\"}"),
        *overview.states.get("ahead").unwrap_or(&0) as f64
    );
    let within = |days: &str| value(&page, &format!("outpost_control_certificates_expiring{{within=\"{days}\"}}"));
    assert!(within("expired") <= within("7d") && within("7d") <= within("30d"));
    assert_eq!(value(&page, names::BROKER), 0.0);

    let made = value(&page, names::GATHER);
    assert_eq!(value(&fleet.metrics_page().await.unwrap(), names::GATHER), made, "the same numbers for the next one");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
    assert_ne!(value(&fleet.metrics_page().await.unwrap(), names::GATHER), made);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_nobody_sees_them_without_an_identity() {
    let (fleet, token, _directory) = fleet(0);
    let router = crate::api::router(fleet.clone(), Shares::new(Rates::default(), |_| None));
    let ask = |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    for device in ["till-1", "till-2"] {
        assert_eq!(ask(&format!("/v1/devices/{device}"), &token).await.unwrap().status(), StatusCode::NOT_FOUND);
    }
    assert_eq!(ask("/metrics", "wrong").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask("/v1/no-such-script", "wrong").await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let response = ask("/metrics", &token).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let page = String::from_utf8(to_bytes(response.into_body(), 1 << 22).await.unwrap().to_vec()).unwrap();
    let requests = |route: &str, status: u16| {
        value(&page, &format!("outpost_control_http_requests_total{{route=\"{route}\",status=\"{status}\"}}"))
    };
    assert_eq!(requests("/v1/devices/{device}", 404), 2.0);
    assert_eq!((requests("/metrics", 401), requests("none", 401)), (1.0, 1.0));
    assert!(!page.contains("till-1") && !page.contains("script"), "{page}");
    assert_eq!(value(&page, "outpost_control_http_request_seconds_count{route=\"/v1/devices/{device}\"}"), 2.0);
}

#[tokio::test]
async fn alert_rules_rely_on_what_is_measured_and_say_the_way_out() {
    let (fleet, token, _directory) = fleet(3);
    let router = crate::api::router(fleet.clone(), Shares::new(Rates::default(), |_| None));
    let request = Request::get("/v1/devices").header("authorization", format!("Bearer {token}"));
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    fleet.inner.metrics.message("reported", true);
    let page = whole_page(&fleet).await;
    let measured: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let words = RULES.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("outpost_control_")).collect();
    assert!(used.len() > 8, "{used:?}");
    assert!(used.is_subset(&measured), "rules use what is not measured: {:?}", used.difference(&measured));

    let count = |what: &str| RULES.lines().filter(|line| line.trim_start().starts_with(what)).count();
    let rules = count("- alert:");
    for part in ["expr:", "severity:", "summary:", "way_out:"] {
        assert_eq!(count(part), rules, "every rule has one `{part}`");
    }
    // Where promtool is installed, it says the same of rules and page.
    if promtool(&["check", "rules", concat!(env!("CARGO_MANIFEST_DIR"), "/../cross/package/prometheus/alerts.yml")], "")
    {
        promtool(&["check", "metrics"], &page);
    }
}

/// False where there is no promtool.
fn promtool(arguments: &[&str], input: &str) -> bool {
    let mut command = Command::new("promtool");
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else { return false };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {said}");
    true
}

/// Says how long the page takes: `OUTPOST_DEVICES=10000 cargo test --release -p outpost-control --lib metrics -- --nocapture`
/// measures; the short form only makes it.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "a measurement says what it measured")]
async fn the_page_is_made_with_many_devices() {
    let devices: usize = std::env::var("OUTPOST_DEVICES").map_or(100, |text| text.parse().unwrap());
    let (fleet, _, _directory) = fleet(devices);
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = std::time::Instant::now();
        Gathered::of(&fleet).unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    let began = std::time::Instant::now();
    let page = whole_page(&fleet).await;
    let whole = began.elapsed();
    let began = std::time::Instant::now();
    fleet.metrics_page().await.unwrap();
    let again = began.elapsed();
    println!(
        "{devices} devices: gathered in {:?} (median), {:?} (most); first page {whole:?}, the next {again:?}",
        times[10], times[19]
    );
    assert!(value(&page, names::ONLINE) >= 0.0);
}
