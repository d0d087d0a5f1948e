//! Revocation: what is left of a device afterwards, which is nothing.

use outpost_contract::DeviceId;
use outpost_control::Assignment;

use crate::link::{PATIENCE, Refused};
use crate::site::{Site, new_key};

#[tokio::test]
async fn a_revoked_device_is_let_in_by_no_certificate_no_code_and_no_renewal() {
    let site = Site::start().await;
    let code = site.code("till-1", 3600).await;
    let key = new_key();
    site.ask(&code, &key).await.unwrap();
    let till = site.enrol("till-1").await;
    let renewed = site.renew(&till).await.unwrap();
    site.code("till-1", 3600).await;
    let late = till.late_request(&site.nonce().await, &key);
    revoke(&site).await;

    for device in [&till, &renewed] {
        assert_eq!(site.own_route(Some(device)).await.unwrap(), 403, "and it is told that it was revoked");
        assert_eq!(site.connect(device).await.expect_err("it is out"), Refused::NotAuthorized);
        let (status, answer) = site.renew(device).await.err().expect("nothing is renewed");
        assert_eq!((status, answer["error"]["code"].as_str()), (403, Some("revoked")));
    }
    // The code of its own first enrolment, with the same key: until now the way to repeat a lost answer.
    let (status, refusal) = site.ask(&code, &key).await.expect_err("the code went with the device");
    assert_eq!((status, refusal.code.as_str()), (403, "wrong_code"));
    let (status, refusal) = site.renew_late(&late, &key).await.err().expect("its key proves who was revoked");
    assert_eq!((status, refusal.code.as_str()), (403, "revoked"));
    // A code that is made afterwards is an operator's new word.
    let back = site.enrol("till-1").await;
    assert!(site.connect(&back).await.is_ok());
    assert_eq!(site.own_route(Some(&till)).await.unwrap(), 401);
}

#[tokio::test]
async fn nothing_waits_for_a_revoked_device_that_comes_back_under_its_name() {
    let site = Site::start().await;
    site.release(None).await;
    let till = site.enrol("till-1").await;
    let desired = "op/1/acme/d/till-1/down/desired";
    let mut link = site.connect_lasting(&till).await.unwrap();
    assert!(link.subscribe(desired).await);
    assign(&site).await;
    assert_eq!(link.hear().await.unwrap().topic, desired);
    // Out of reach, with a session at the broker: what comes now is queued for it.
    drop(link);
    assign(&site).await;
    revoke(&site).await;
    settled(&site).await;

    // The same name and another box: the broker has nothing for it, neither queued nor retained.
    let back = site.enrol("till-1").await;
    let mut link = site.connect_lasting(&back).await.unwrap();
    assert!(!link.resumed, "the session of the revoked device was forgotten");
    assert!(link.subscribe("op/1/acme/d/till-1/down/#").await);
    assign(&site).await;
    let heard = link.hear().await.unwrap();
    assert_eq!((heard.topic.as_str(), heard.retained), (desired, false), "the first is what was assigned just now");
}

#[tokio::test]
async fn what_the_broker_retained_of_a_revoked_device_is_withdrawn_its_will_included() {
    let site = Site::start().await;
    site.release(None).await;
    let till = site.enrol("till-1").await;
    let presence = "op/1/acme/d/till-1/up/presence";
    let mut link = site.connect_with_will(&till, presence).await.unwrap();
    assert!(link.publish_retained(presence, "here").await);
    assign(&site).await;
    let mut before = site.observer().await;
    for topic in [presence, "op/1/acme/d/till-1/down/desired"] {
        assert!(before.subscribe(topic).await);
        assert_eq!(before.hear().await.unwrap().topic, topic, "it is retained, or comes in this moment");
    }
    drop(before);

    revoke(&site).await;
    link.ended().await;
    settled(&site).await;
    let mut other = site.connect(&site.enrol("till-3").await).await.unwrap();
    let mark = "op/1/acme/d/till-3/up/reported";
    // A will may speak after everything was withdrawn; what it left goes when the device is put out for the second time.
    let gone = tokio::time::timeout(PATIENCE * 2, async {
        loop {
            let mut after = site.observer().await;
            assert!(after.subscribe("op/1/acme/d/+/#").await);
            assert!(other.publish(mark, "the first that is heard, where nothing is retained").await);
            if after.hear().await.unwrap().topic == mark {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    });
    gone.await.expect("something of a revoked device is retained for good");
}

async fn revoke(site: &Site) {
    site.fleet.run(|fleet| fleet.revoke(&till())).await.unwrap();
}

/// Waits until the director has acted on the revocation: a device that was connected is gone after it.
async fn settled(site: &Site) {
    let witness = site.enrol("till-2").await;
    let mut link = site.connect(&witness).await.unwrap();
    let name = witness.name.clone();
    site.fleet.run(move |fleet| fleet.revoke(&name)).await.unwrap();
    link.ended().await;
    site.fleet.wait_for(&till(), "that it is gone", PATIENCE, |now| now.revoked_s.is_some()).await.unwrap();
}

async fn assign(site: &Site) {
    let assignment = Assignment { model: None, minimum_context_tokens: 128 };
    site.fleet.run(move |fleet| fleet.assign(&till(), &assignment)).await.unwrap();
}

fn till() -> DeviceId {
    "till-1".parse().unwrap()
}
