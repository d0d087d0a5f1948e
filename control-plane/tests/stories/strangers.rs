//! Whoever is not who it says, or wants what is not its own.

use outpost_contract::Hello;
use outpost_control::Assignment;

use crate::link::{PATIENCE, Refused};
use crate::site::{Device, Site};

#[tokio::test]
async fn a_certificate_of_another_authority_opens_neither_the_broker_nor_a_device_route() {
    let site = Site::start().await;
    let genuine = site.enrol("till-1").await;
    assert!(site.connect(&genuine).await.is_ok());
    assert_eq!(site.own_route(Some(&genuine)).await.unwrap(), 200);

    for stranger in [Device::of_another_authority("till-1"), Device::of_its_own_authority("till-1")] {
        let refused = site.connect(&stranger).await.expect_err("a stranger is not let in");
        assert!(matches!(refused, Refused::Certificate(_)), "{refused:?}");
        assert!(site.own_route(Some(&stranger)).await.is_err());
    }
    assert_eq!(site.own_route(None).await.unwrap(), 401);
}

#[tokio::test]
async fn a_device_cannot_connect_under_another_name() {
    let site = Site::start().await;
    site.enrol("till-1").await;
    let till_2 = site.enrol("till-2").await;
    for client_id in ["till-1", "till-1.bulk", "control-plane", "till-2.bulk.bulk"] {
        let refused = site.connect_as(&till_2, client_id).await.expect_err(client_id);
        assert_eq!(refused, Refused::NotAuthorized, "{client_id}");
    }
    // What the broker says when a connection breaks off is the device's word too.
    let refused = site.connect_with_will(&till_2, "op/1/acme/d/till-1/up/presence").await.unwrap_err();
    assert_eq!(refused, Refused::NotAuthorized);
    for client_id in ["till-2", "till-2.bulk"] {
        assert!(site.connect_as(&till_2, client_id).await.is_ok(), "{client_id}");
    }
    assert!(site.connect_with_will(&till_2, "op/1/acme/d/till-2/up/presence").await.is_ok());
}

#[tokio::test]
async fn a_device_hears_nothing_that_is_for_another() {
    let site = Site::start().await;
    site.enrol("till-1").await;
    let mut link = site.connect(&site.enrol("till-2").await).await.unwrap();
    for filter in [
        "op/1/acme/d/till-1/down/#",
        "op/1/acme/d/till-1/down/desired",
        "op/1/acme/d/till-1/up/#",
        "op/1/acme/d/+/down/#",
        "+/1/acme/d/till-2/down/#",
        "$share/tills/op/1/acme/d/till-1/down/#",
        "#",
    ] {
        assert!(!link.subscribe(filter).await, "{filter}");
    }
    assert!(link.subscribe("op/1/acme/d/till-2/down/#").await);
}

#[tokio::test]
async fn a_device_says_nothing_in_the_name_of_another() {
    let site = Site::start().await;
    site.release(None).await;
    let (till_1, till_2) = (site.enrol("till-1").await, site.enrol("till-2").await);
    let mut victim = site.connect(&till_1).await.unwrap();
    assert!(victim.subscribe("op/1/acme/d/till-1/down/#").await);

    for topic in ["op/1/acme/d/till-1/down/desired", "op/1/acme/d/till-1/up/hello", "op/1/acme/d/till-2/down/desired"] {
        // A connection each: whether the broker ends it or only refuses the message is its own affair.
        let mut link = site.connect(&till_2).await.unwrap();
        assert!(!link.publish(topic, hello("till-1")).await, "{topic}");
    }
    let mut link = site.connect(&till_2).await.unwrap();
    assert!(link.publish("op/1/acme/d/till-2/up/hello", hello("till-2")).await);
    site.fleet.wait_for(&till_2.name, "its hello", PATIENCE, |summary| summary.online).await.unwrap();
    assert!(!site.fleet.device(&till_1.name).unwrap().online);

    // The first that the victim hears is the control plane's own word.
    let (name, assignment) = (till_1.name.clone(), Assignment { model: None, minimum_context_tokens: 128 });
    site.fleet.run(move |fleet| fleet.assign(&name, &assignment)).await.unwrap();
    let heard = victim.hear().await.unwrap();
    assert_eq!(heard.topic, "op/1/acme/d/till-1/down/desired");
    assert_ne!(heard.payload, hello("till-1"));
}

#[tokio::test]
async fn a_revoked_device_is_put_out_and_cannot_connect_any_more() {
    let site = Site::start().await;
    let (till_1, till_2) = (site.enrol("till-1").await, site.enrol("till-2").await);
    let mut links = Vec::new();
    for client_id in ["till-1", "till-1.bulk", "till-1.proof"] {
        links.push(site.connect_as(&till_1, client_id).await.unwrap());
    }
    let name = till_1.name.clone();
    site.fleet.run(move |fleet| fleet.revoke(&name)).await.unwrap();
    for link in &mut links {
        link.ended().await;
    }
    for client_id in ["till-1", "till-1.bulk", "till-1.proof"] {
        let refused = site.connect_as(&till_1, client_id).await.expect_err("a revoked device is not let in");
        assert_eq!(refused, Refused::NotAuthorized);
    }
    assert_eq!(site.own_route(Some(&till_1)).await.unwrap(), 403);
    assert!(site.connect(&till_2).await.is_ok());
    assert_eq!(site.own_route(Some(&till_2)).await.unwrap(), 200);
}

/// A hello that the control plane would believe, if the broker let it pass.
fn hello(device: &str) -> Vec<u8> {
    let hello = Hello {
        v: 1,
        device: device.parse().unwrap(),
        boot: "0123456789abcdef0123456789abcdef".parse().unwrap(),
        connection: 1,
        agent: "0.1.0".to_owned(),
        desired_version: 0,
        neighbour: None,
    };
    serde_json::to_vec(&hello).unwrap()
}
