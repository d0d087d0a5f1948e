//! Devices of one site hear of each other, and of whom not to serve.

use outpost_contract::{Hello, HelloAck, Neighbour};

use crate::link::Link;
use crate::site::{Device, Site};

/// Says hello as an agent does, and hears the answer.
async fn hello(site: &Site, device: &Device, neighbour: Option<Neighbour>) -> (Link, HelloAck, String) {
    let mut link = site.connect(device).await.unwrap();
    assert!(link.subscribe(&format!("op/1/acme/d/{}/down/hello-ack", device.name)).await);
    let said = Hello {
        v: 1,
        device: device.name.clone(),
        boot: "boot-1".parse().unwrap(),
        connection: 1,
        agent: "0.1.0".to_owned(),
        desired_version: 0,
        neighbour,
    };
    let topic = format!("op/1/acme/d/{}/up/hello", device.name);
    assert!(link.publish(&topic, serde_json::to_vec(&said).unwrap()).await);
    let text = String::from_utf8(link.hear().await.unwrap().payload).unwrap();
    (link, serde_json::from_str(&text).unwrap(), text)
}

#[tokio::test]
async fn devices_of_one_site_hear_of_each_other_and_of_who_was_revoked() {
    let site = Site::start().await;
    let (first, second, third, fourth) = (
        site.enrol("till-1").await,
        site.enrol("till-2").await,
        site.enrol("till-3").await,
        site.enrol("till-4").await,
    );
    let on =
        |site: &str, serves: Option<&str>| Some(Neighbour { site: site.to_owned(), serves: serves.map(str::to_owned) });
    let revoked = fourth.name.clone();
    site.fleet.run(move |fleet| fleet.revoke(&revoked)).await.unwrap();

    let (_first, alone, _) = hello(&site, &first, on("store-12", Some("10.0.0.1:8791"))).await;
    assert!(alone.peers.is_empty());
    let (_second, both, _) = hello(&site, &second, on("store-12", None)).await;
    assert_eq!(both.peers, ["10.0.0.1:8791"]);
    assert_eq!(both.revoked, [fourth.name]);
    // A device that knows nothing of neighbours gets the answer that it always got.
    let (_third, _, text) = hello(&site, &third, None).await;
    assert!(!text.contains("peers") && !text.contains("revoked"), "{text}");
}
