//! The same fleet over a real Mosquitto, with exactly the files that are written for it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use outpost_contract::{Activity, BootId, ChunkRequest, Hello, Reported};
use outpost_control::Assignment;
use tokio::time::{sleep, timeout};

use crate::link::{Link, Message, PATIENCE};
use crate::site::{Device, Site, chunk_ids};

/// Long enough for what would come to have come.
const SILENCE: Duration = Duration::from_millis(1500);

const BOOT: &str = "0123456789abcdef0123456789abcdef";

/// A running broker, killed when dropped.
pub(crate) struct Mosquitto(Child);

impl Mosquitto {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut command = Command::new("mosquitto");
        // It lies where only root's path leads.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.arg("-c").arg(directory.join("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("`mosquitto` is installed: `tests/run tools` does that"))
    }

    fn reload(&self) {
        let status = Command::new("kill").arg("-HUP").arg(self.0.id().to_string()).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What `chown root:mosquitto` is in production: a broker started by root reads its files as another user.
pub(crate) fn open_to_the_broker(site: &Site, directory: &Path) {
    let set = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set(&site.path(""), 0o755);
    set(directory, 0o755);
    for file in std::fs::read_dir(directory).unwrap() {
        set(&file.unwrap().path(), 0o644);
    }
}

pub(crate) async fn connected(site: &Site, device: &Device, client_id: &str) -> Link {
    for _ in 0..100 {
        if let Ok(link) = site.connect_as(device, client_id).await {
            return link;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("`{client_id}` is not let in");
}

pub(crate) async fn assign(site: &Site, device: &Device, minimum_context_tokens: u32) {
    let (name, assignment) = (device.name.clone(), Assignment { model: None, minimum_context_tokens });
    site.fleet.run(move |fleet| fleet.assign(&name, &assignment)).await.unwrap();
}

pub(crate) async fn told(link: &mut Link, topic: &str) -> Message {
    loop {
        let message = timeout(PATIENCE, link.hear()).await.expect("it is told").expect("the connection stays");
        if message.topic == topic {
            return message;
        }
    }
}

pub(crate) async fn is_silent(link: &mut Link) -> bool {
    timeout(SILENCE, link.hear()).await.is_err()
}

pub(crate) fn hello(device: &str, connection: u64) -> Vec<u8> {
    let boot = BOOT.parse().unwrap();
    let agent = "0.1.0".to_owned();
    let hello =
        Hello { v: 1, device: device.parse().unwrap(), boot, connection, agent, desired_version: 0, neighbour: None };
    serde_json::to_vec(&hello).unwrap()
}

fn reported(device: &str, sequence: u64) -> Vec<u8> {
    let boot: BootId = BOOT.parse().unwrap();
    let report = Reported {
        transfer: None,
        link: outpost_contract::LinkHealth::default(),
        build: None,
        v: 1,
        device: device.parse().unwrap(),
        boot,
        sequence,
        agent: "0.1.0".to_owned(),
        desired_version: 1,
        applied_version: 1,
        model: None,
        policy_version: 0,
        reasons: Vec::new(),
        measurements: None,
        plan: Vec::new(),
        activity: Activity::default(),
    };
    serde_json::to_vec(&report).unwrap()
}

#[tokio::test]
async fn a_fleet_works_over_mosquitto_and_a_revoked_device_gets_nothing() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut list = None;
    let mut site = Site::prepare(|config| {
        config.external_broker = Some(format!("127.0.0.1:{port}"));
        let path = config.state_dir.parent().unwrap().join("mosquitto/crl.pem");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        config.revocation_list = Some(path.clone());
        list = Some(path);
    });
    let list = list.unwrap();
    let directory = site.path("mosquitto");
    let written = site.fleet.write_mosquitto(&directory).unwrap();
    assert_eq!(written.revocation_list, list);
    // Its rules are those that the command writes.
    let rules = site.fleet.broker_rules(outpost_control::broker::Dialect::Mosquitto);
    assert_eq!(std::fs::read_to_string(directory.join("acl")).unwrap(), rules);
    open_to_the_broker(&site, &directory);

    // Without the broker the control plane serves, and says what is missing.
    site.run_without_broker().await;
    assert_eq!(site.health_of_broker().await, "unreachable");
    let content: Vec<u8> = (0..700_000_u32).map(|at| (at / 7 % 251) as u8).collect();
    site.release(Some(&content)).await;
    let (till_1, till_2) = (site.enrol("till-1").await, site.enrol("till-2").await);
    let broker = Mosquitto::start(&directory);
    timeout(PATIENCE, site.running().connected()).await.expect("the control plane finds its broker");
    assert_eq!(site.health_of_broker().await, "connected");

    // Strangers.
    for stranger in [Device::of_another_authority("till-1"), Device::of_its_own_authority("till-1")] {
        assert!(site.connect(&stranger).await.is_err());
    }

    // Desired state, hello, report.
    let mut link = connected(&site, &till_1, "till-1").await;
    assert!(link.subscribe("op/1/acme/d/till-1/down/#").await);
    assign(&site, &till_1, 128).await;
    let first = told(&mut link, "op/1/acme/d/till-1/down/desired").await;
    assert!(link.publish("op/1/acme/d/till-1/up/hello", hello("till-1", 1)).await);
    told(&mut link, "op/1/acme/d/till-1/down/hello-ack").await;
    assert!(link.publish("op/1/acme/d/till-1/up/reported", reported("till-1", 1)).await);
    let applied = |reported: &Reported| reported.applied_version == 1;
    site.fleet.wait_for_reported(&till_1.name, "its report", PATIENCE, applied).await.unwrap();

    // Chunks.
    let mut bulk = connected(&site, &till_1, "till-1.bulk").await;
    assert!(bulk.subscribe("op/1/acme/d/till-1/down/blob/+").await);
    let request = |transfer| {
        serde_json::to_vec(&ChunkRequest { transfer, chunks: chunk_ids(&content), pieces_from: None }).unwrap()
    };
    assert!(bulk.publish("op/1/acme/d/till-1/up/blob/req", request(1)).await);
    for _ in chunk_ids(&content) {
        assert!(told(&mut bulk, "op/1/acme/d/till-1/down/blob/1").await.correlation.is_some());
    }

    // Another device hears and says nothing of it.
    let mut other = connected(&site, &till_2, "till-2").await;
    for filter in ["#", "op/1/acme/d/till-1/down/#", "op/1/acme/d/+/up/#"] {
        // Granted or not: nothing is delivered.
        other.subscribe(filter).await;
    }
    for topic in ["op/1/acme/d/till-1/down/desired", "op/1/acme/d/till-1/up/hello", "op/1/acme/d/till-2/down/desired"] {
        assert!(!other.publish(topic, hello("till-1", 9)).await, "{topic}");
    }
    assign(&site, &till_1, 256).await;
    let second = told(&mut link, "op/1/acme/d/till-1/down/desired").await;
    assert_ne!(second.payload, first.payload);
    assert!(is_silent(&mut other).await);
    // A will is judged when it is to be told, not before.
    let forged = site.connect_with_will(&till_2, "op/1/acme/d/till-1/down/desired").await;
    drop(forged);
    // Chunks and acknowledgements have been told to this connection too.
    while let Ok(message) = timeout(SILENCE, link.hear()).await {
        assert_ne!(message.expect("the connection stays").topic, first.topic);
    }

    // The broker dies and forgets everything; what counts comes back by itself.
    drop(broker);
    let broker = Mosquitto::start(&directory);
    let mut link = connected(&site, &till_1, "till-1").await;
    assert!(link.subscribe("op/1/acme/d/till-1/down/#").await);
    assert_eq!(told(&mut link, "op/1/acme/d/till-1/down/desired").await.payload, second.payload);
    let mut bulk = connected(&site, &till_1, "till-1.bulk").await;
    assert!(bulk.subscribe("op/1/acme/d/till-1/down/blob/+").await);

    // Revoked: both connections end, although nobody told the broker.
    let name = till_1.name.clone();
    let before = std::fs::read(&list).unwrap();
    site.fleet.run(move |fleet| fleet.revoke(&name)).await.unwrap();
    timeout(PATIENCE, async { tokio::join!(link.ended(), bulk.ended()) }).await.expect("its connections end");
    assert_ne!(std::fs::read(&list).unwrap(), before);

    // Until the broker reads the list, the device can come back; it is told and believed nothing.
    let mut link = connected(&site, &till_1, "till-1").await;
    assert!(link.subscribe("op/1/acme/d/till-1/down/#").await);
    assert!(link.publish("op/1/acme/d/till-1/up/hello", hello("till-1", 2)).await);
    assert!(link.publish("op/1/acme/d/till-1/up/reported", reported("till-1", 2)).await);
    assert!(link.publish("op/1/acme/d/till-1/up/blob/req", request(2)).await);
    assert!(is_silent(&mut link).await);
    let device = site.fleet.device(&till_1.name).unwrap();
    assert!(!device.online);
    assert_eq!(device.reported.unwrap().sequence, 1);

    // From then on it is not let in, and others are.
    open_to_the_broker(&site, &directory);
    broker.reload();
    timeout(PATIENCE, async { while site.connect(&till_1).await.is_ok() {} }).await.expect("the list is read");
    connected(&site, &till_2, "till-2").await;
}
