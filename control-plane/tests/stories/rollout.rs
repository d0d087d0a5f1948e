//! A change that reaches devices wave by wave, fails in the second, and goes back by itself; over the API and real sockets.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outpost_contract::{Activity, Desired, LinkHealth, Reason, ReasonCode, Reported};
use outpost_control::{Assignment, RolloutView};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::link::PATIENCE;
use crate::site::{Device, Site};

const BOOT: &str = "00000000-0000-4000-8000-000000000001";

/// What the broker keeps for a device, once it is the newest that was signed for it.
async fn told(site: &Site, device: &Device) -> (crate::link::Link, Desired) {
    let newest = site.fleet.device(&device.name).unwrap().desired_version;
    let mut link = site.connect(device).await.unwrap();
    assert!(link.subscribe(&format!("op/1/acme/d/{}/down/desired", device.name)).await);
    loop {
        let message = timeout(PATIENCE, link.hear()).await.expect("it is told").expect("the connection stays");
        let envelope: Value = serde_json::from_slice(&message.payload).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let desired: Desired = serde_json::from_slice(&payload).unwrap();
        if desired.version == newest {
            return (link, desired);
        }
    }
}

/// A device hears what it should run and says that it does, or that it cannot.
async fn answers(site: &Site, device: &Device, sequence: u64, refuses: bool) -> Desired {
    let (mut link, desired) = told(site, device).await;
    let reason =
        Reason { code: ReasonCode::DoesNotFit, subject: "demo".into(), detail: "needs 2.6 GiB, has 1.9".into() };
    let reported = Reported {
        v: 1,
        device: device.name.clone(),
        boot: BOOT.parse().unwrap(),
        sequence,
        agent: "0.1.0".to_owned(),
        desired_version: desired.version,
        applied_version: desired.version - u64::from(refuses),
        model: None,
        policy_version: 0,
        reasons: refuses.then_some(reason).into_iter().collect(),
        measurements: None,
        plan: Vec::new(),
        activity: Activity::default(),
        transfer: None,
        link: LinkHealth::default(),
        build: None,
    };
    let topic = format!("op/1/acme/d/{}/up/reported", device.name);
    assert!(link.publish(&topic, serde_json::to_vec(&reported).unwrap()).await);
    let stored = |kept: &Reported| kept.sequence == sequence;
    site.fleet.wait_for_reported(&device.name, "its report", PATIENCE, stored).await.unwrap();
    desired
}

/// Waits until the rollout is as wanted: the driver looks every other second.
async fn until(site: &Site, what: &str, wanted: impl Fn(&RolloutView) -> bool) -> RolloutView {
    let looked = async {
        loop {
            let view = site.fleet.run(|fleet| fleet.rollout("march")).await.unwrap();
            if wanted(&view) {
                return view;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("the rollout never came to: {what}"))
}

async fn ask(site: &Site, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}{path}", site.running().url());
    let answer = site.https(None).post(url).bearer_auth(token).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn context(site: &Site, device: &Device) -> u32 {
    site.fleet.device(&device.name).unwrap().assignment.unwrap().minimum_context_tokens
}

#[tokio::test]
async fn a_rollout_goes_back_by_itself_also_over_a_restart_and_devices_get_what_they_had() {
    let mut site = Site::start().await;
    site.release(Some(b"weights of the demo model")).await;
    let mut tills = Vec::new();
    for name in ["till-1", "till-2", "till-3", "till-4"] {
        let till = site.enrol(name).await;
        let before = Assignment { model: Some("demo".parse().unwrap()), minimum_context_tokens: 128 };
        let device = till.name.clone();
        site.fleet.run(move |fleet| fleet.assign(&device, &before)).await.unwrap();
        answers(&site, &till, 1, false).await;
        tills.push(till);
    }
    let token = |name: &str, role: &str| site.fleet.create_api_token(name, &[role.to_owned()], &[], 1).unwrap();
    let (operator, approver, viewer) = (token("ci", "operator"), token("bo", "approver"), token("vic", "viewer"));
    let request = json!({
        "name": "march", "for": "name=till-*", "model": "demo", "minimum_context_tokens": 256, "error_percent": 0,
        "soak_s": 60, "waves": [{"name": "canary", "count": 1, "approvals": 1}, {"name": "shop", "percent": 75}],
    });
    assert_eq!(ask(&site, &viewer, "/v1/rollouts", &request).await.0, 403);
    let (status, started) = ask(&site, &operator, "/v1/rollouts", &request).await;
    assert_eq!((status, &started["awaits_approval_of"]), (200, &json!(1)), "{started}");
    assert_eq!(ask(&site, &operator, "/v1/rollouts", &request).await.1["error"]["code"], "name_taken");
    assert_eq!(ask(&site, &operator, "/v1/rollouts/march/approve", &json!({})).await.0, 403);
    assert_eq!(tills.iter().map(|till| context(&site, till)).collect::<Vec<_>>(), [128; 4]);
    let (status, told) = ask(&site, &approver, "/v1/rollouts/march/approve", &json!({"wave": 1})).await;
    assert_eq!(status, 403, "a program is no second person: {told}");
    site.fleet.run(|fleet| fleet.approve_rollout_locally("bo", "march", Some(1))).await.unwrap();

    // The first wave does well, and goes on doing so while the server is not there.
    let desired = answers(&site, &tills[0], 2, false).await;
    assert_eq!(desired.rollout.as_deref(), Some("march"));
    assert_eq!(desired.model.unwrap().minimum_context_tokens, 256);
    until(&site, "soaking", |view| view.waves[0].state == "soaking").await;
    assert_eq!(context(&site, &tills[1]), 128);
    site.restart().await;
    site.clock.advance(60);
    until(&site, "the second wave", |view| view.waves[1].state == "open").await;
    assert_eq!(tills.iter().map(|till| context(&site, till)).collect::<Vec<_>>(), [256; 4]);

    // Who comes now waits behind the gate of the second wave, which does not pass.
    let late = site.enrol("till-5").await;
    until(&site, "a late joiner", |view| view.waves.len() == 3 && view.waves[2].devices == 1).await;
    assert_eq!(site.fleet.device(&late.name).unwrap().desired_version, 0);
    answers(&site, &tills[1], 2, false).await;
    answers(&site, &tills[2], 2, true).await;
    let back = until(&site, "going back", |view| view.state == "rolling_back").await;
    assert_eq!(back.reason.as_deref(), Some("too many devices of wave 2 (`shop`) failed"));
    for till in &tills {
        let desired = answers(&site, till, 3, false).await;
        assert_eq!(desired.model.unwrap().minimum_context_tokens, 128, "{}", till.name);
        assert_eq!(context(&site, till), 128);
    }
    let ended = until(&site, "the end", |view| !view.is_active).await;
    assert_eq!(ended.state, "rolled_back");
    assert_eq!(ended.waves.iter().map(outpost_control::WaveView::rolled_back).sum::<u64>(), 4);
    assert_eq!(site.fleet.device(&late.name).unwrap().desired_version, 0, "it was never told anything");
    assert_eq!(ask(&site, &operator, "/v1/rollouts/march/pause", &json!({})).await.1["error"]["code"], "over");
}
