//! Forged wills: what the broker says when a connection breaks off is the device's own word, or it is not let in.

use crate::link::Refused;
use crate::site::Site;

#[tokio::test]
async fn a_forged_will_is_refused_whatever_it_would_say() {
    let site = Site::start().await;
    site.enrol("till-1").await;
    let till_2 = site.enrol("till-2").await;
    for topic in [
        "op/1/acme/d/till-1/up/presence",
        "op/1/acme/d/till-1/up/reported",
        "op/1/acme/d/till-1/down/desired",
        "op/1/acme/d/till-2/down/desired",
        "op/1/acme/d/till-2/down/hello-ack",
        "op/1/other/d/till-2/up/presence",
        "op/1/acme/d/control-plane/up/presence",
        "anything",
    ] {
        let refused = site.connect_with_will(&till_2, topic).await.expect_err(topic);
        assert_eq!(refused, Refused::NotAuthorized, "{topic}");
    }
    assert!(site.connect_with_will(&till_2, "op/1/acme/d/till-2/up/presence").await.is_ok());
}
