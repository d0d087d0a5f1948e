//! What a device should run waits for it at the broker, whatever happens to the server.

use outpost_control::Assignment;

use crate::link::Message;
use crate::site::{Device, Site};

/// Connects, and hears the first that is said to the device.
async fn first_word(site: &Site, device: &Device) -> Message {
    let mut link = site.connect(device).await.unwrap();
    assert!(link.subscribe(&format!("op/1/acme/d/{}/down/#", device.name)).await);
    link.hear().await.unwrap()
}

#[tokio::test]
async fn desired_state_waits_for_a_device_also_after_the_server_was_restarted() {
    let mut site = Site::start().await;
    site.release(None).await;
    let till = site.enrol("till-1").await;
    let (name, assignment) = (till.name.clone(), Assignment { model: None, minimum_context_tokens: 128 });
    site.fleet.run(move |fleet| fleet.assign(&name, &assignment)).await.unwrap();

    let told = first_word(&site, &till).await;
    assert_eq!(told.topic, "op/1/acme/d/till-1/down/desired");
    // Once it has been told live or retained, it is there for whoever comes later.
    let kept = first_word(&site, &till).await;
    assert!(kept.retained);
    assert_eq!(kept.payload, told.payload);

    // The broker keeps nothing on the disk: the director says it again, and the device's certificate still counts.
    site.restart().await;
    assert_eq!(first_word(&site, &till).await.payload, told.payload);
    let kept = first_word(&site, &till).await;
    assert!(kept.retained);
    assert_eq!(kept.payload, told.payload);
}
