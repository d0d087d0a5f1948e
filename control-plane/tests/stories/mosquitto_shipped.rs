//! Mosquitto with the files as they are shipped: an enrolled device works, whoever is or wants something else is refused.

use outpost_control::Config;
use tokio::time::timeout;

use crate::link::{Link, PATIENCE, Refused};
use crate::mosquitto::{Mosquitto, assign, connected, hello, is_silent, open_to_the_broker, told};
use crate::site::{Device, Site};

/// As they lie in the package.
const CONFIGURATION: &str = include_str!("../../../cross/package/mosquitto/mosquitto.conf");
const RULES: &str = include_str!("../../../cross/package/mosquitto/acl");

/// A fleet over Mosquitto, with its first device connected: so the broker answers.
struct Fleet {
    site: Site,
    till_1: Device,
    link: Link,
    broker: Mosquitto,
}

/// The tenant is the one that the shipped rules are for.
async fn start() -> Fleet {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut site = Site::prepare(|config: &mut Config| {
        config.tenant = "default".parse().unwrap();
        config.external_broker = Some(format!("127.0.0.1:{port}"));
        let list = config.state_dir.parent().unwrap().join("mosquitto/crl.pem");
        std::fs::create_dir(list.parent().unwrap()).unwrap();
        config.revocation_list = Some(list);
    });
    let directory = site.path("mosquitto");
    site.fleet.write_mosquitto(&directory).unwrap();
    let written = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    assert_eq!(written("acl"), RULES);
    assert_eq!(filled_in(&written("mosquitto.conf")), []);
    open_to_the_broker(&site, &directory);
    site.run_without_broker().await;
    let till_1 = site.enrol("till-1").await;
    let broker = Mosquitto::start(&directory);
    timeout(PATIENCE, site.running().connected()).await.expect("the control plane finds its broker");
    let link = connected(&site, &till_1, "till-1").await;
    Fleet { site, till_1, link, broker }
}

/// Lines of a written configuration that are not those of the shipped one, its blanks filled in.
fn filled_in(written: &str) -> Vec<(&str, &str)> {
    let is_kept = |shipped: &str, written: &str| match shipped.split_once('@') {
        Some((before, _)) => written.starts_with(before) && !written.contains('@'),
        None => shipped == written,
    };
    assert_eq!(CONFIGURATION.lines().count(), written.lines().count());
    CONFIGURATION.lines().zip(written.lines()).filter(|(shipped, written)| !is_kept(shipped, written)).collect()
}

#[tokio::test]
async fn over_the_shipped_mosquitto_an_enrolled_device_works() {
    let Fleet { site, till_1, mut link, broker: _broker } = start().await;
    assert!(link.subscribe("op/1/default/d/till-1/down/#").await);
    site.release(None).await;
    assign(&site, &till_1, 128).await;
    told(&mut link, "op/1/default/d/till-1/down/desired").await;
    assert!(link.publish("op/1/default/d/till-1/up/hello", hello("till-1", 1)).await);
    told(&mut link, "op/1/default/d/till-1/down/hello-ack").await;
}

#[tokio::test]
async fn the_shipped_mosquitto_refuses_a_foreign_certificate() {
    let Fleet { site, broker: _broker, .. } = start().await;
    for stranger in [Device::of_another_authority("till-1"), Device::of_its_own_authority("till-1")] {
        let refused = site.connect(&stranger).await.expect_err("a stranger is not let in");
        assert!(matches!(refused, Refused::Certificate(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn the_shipped_mosquitto_refuses_a_foreign_topic() {
    let Fleet { site, till_1, mut link, broker: _broker } = start().await;
    assert!(link.subscribe("op/1/default/d/till-1/down/#").await);
    let mut other = connected(&site, &site.enrol("till-2").await, "till-2").await;
    // Granted or not: nothing is delivered.
    for filter in ["#", "$SYS/#", "op/1/default/d/till-1/down/#", "op/1/default/d/+/up/#"] {
        other.subscribe(filter).await;
    }
    for topic in [
        "op/1/default/d/till-1/down/desired",
        "op/1/default/d/till-1/up/hello",
        "op/1/default/d/till-2/down/desired",
        "op/1/acme/d/till-2/up/hello",
        "anything",
    ] {
        assert!(!other.publish(topic, hello("till-1", 9)).await, "{topic}");
    }
    // What is for the first reaches the first alone, and what the other tried did not.
    site.release(None).await;
    assign(&site, &till_1, 128).await;
    told(&mut link, "op/1/default/d/till-1/down/desired").await;
    assert!(is_silent(&mut other).await);
}

#[tokio::test]
async fn the_shipped_mosquitto_refuses_an_anonymous_client() {
    let Fleet { site, broker: _broker, .. } = start().await;
    for refused in [site.connect_anonymously("till-1").await, site.connect_plainly("till-1").await] {
        let refused = refused.expect_err("nobody without a certificate is let in");
        assert!(matches!(refused, Refused::Certificate(_)), "{refused:?}");
    }
}
