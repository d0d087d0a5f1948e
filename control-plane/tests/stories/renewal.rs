//! Renewal as the server sees it: two certificates until the new one is used; and devices that come back late.

use crate::link::Refused;
use crate::site::{Site, new_key};

const DAY_S: i64 = 24 * 60 * 60;

#[tokio::test]
async fn both_certificates_count_until_the_new_one_is_used_and_a_proof_is_no_use() {
    let site = Site::start().await;
    let old = site.enrol("till-1").await;
    let new = site.renew(&old).await.unwrap();
    // The proof: the new certificate connects, and the old one counts as before.
    let mut proof = site.connect_as(&new, "till-1.proof").await.unwrap();
    assert!(proof.subscribe("op/1/acme/d/till-1/down/desired").await);
    drop(proof);
    assert!(site.connect(&old).await.is_ok());
    assert_eq!(site.own_route(Some(&old)).await.unwrap(), 200);

    assert_eq!(site.own_route(Some(&new)).await.unwrap(), 200);
    assert_eq!(site.own_route(Some(&old)).await.unwrap(), 401);
    assert_eq!(site.connect(&old).await.expect_err("the old one is over"), Refused::NotAuthorized);
    assert!(site.connect(&new).await.is_ok());
    // The connection itself is a use as well.
    let newer = site.renew(&new).await.unwrap();
    assert!(site.connect(&newer).await.is_ok());
    assert_eq!(site.own_route(Some(&new)).await.unwrap(), 401);
    let (status, _) = site.renew(&old).await.err().expect("an old certificate renews nothing");
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_device_that_enrols_again_leaves_its_old_certificate_behind() {
    let site = Site::start().await;
    let before = site.enrol("till-1").await;
    let after = site.enrol("till-1").await;
    assert_eq!(site.own_route(Some(&before)).await.unwrap(), 401);
    assert_eq!(site.connect(&before).await.expect_err("another box has the name"), Refused::NotAuthorized);
    assert!(site.connect(&after).await.is_ok());
}

#[tokio::test]
async fn a_device_that_was_away_for_a_year_comes_back_by_its_key() {
    let site = Site::start_with(|config| config.certificate_days = 1).await;
    let old = site.enrol("till-1").await;
    site.clock.advance(366 * DAY_S);
    let key = new_key();
    let new = site.renew_late(&old.late_request(&site.nonce().await, &key), &key).await.unwrap();
    // The certificate of then begins a year from the system's clock, by which TLS goes; what it is good for is shown by
    // what the server takes: the same request again is a replay, and the new key is one of the device's.
    let request = old.late_request(&site.nonce().await, &key);
    assert!(site.renew_late(&request, &key).await.is_ok(), "the answer was lost");
    let (status, refusal) = site.renew_late(&request, &key).await.err().expect("a number is good once");
    assert_eq!((status, refusal.code.as_str()), (403, "renewal_refused"));
    drop(new);
}

#[tokio::test]
async fn who_does_not_prove_to_be_the_device_is_told_the_same_whatever_is_wrong() {
    let site = Site::start_with(|config| (config.certificate_days, config.renew_expired_days) = (1, 30)).await;
    let (till_1, till_2) = (site.enrol("till-1").await, site.enrol("till-2").await);
    let key = new_key();
    let nonce = site.nonce().await;
    let good = till_1.late_request(&nonce, &key);
    let mut wrong = vec![good.clone(); 7];
    wrong[0].nonce = "00".repeat(56);
    wrong[1].signature = "00".repeat(70);
    wrong[2].signature = String::new();
    wrong[3].certificate = till_2.late_request(&nonce, &key).certificate;
    wrong[4].certificate = "none".to_owned();
    // Signed for one key, sent for another.
    wrong[5].certificate_request = till_1.late_request(&nonce, &new_key()).certificate_request;
    wrong[6].certificate_request = "none".to_owned();
    let stranger = crate::site::Device::of_another_authority("till-1");
    wrong.push(stranger.late_request(&nonce, &key));
    let mut answers = Vec::new();
    for request in &wrong {
        answers.push(site.renew_late(request, &key).await.err().expect("refused"));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!((answers[0].0, answers[0].1.code.as_str()), (403, "renewal_refused"));
    assert!(site.renew_late(&good, &key).await.is_ok(), "nobody else spent the number");

    // Too late, and too often.
    site.clock.advance(32 * DAY_S);
    let late = till_2.late_request(&site.nonce().await, &key);
    assert_eq!(site.renew_late(&late, &key).await.err().expect("too late"), answers[0]);
    let mut status = 403;
    for _ in 0..10 {
        status = site.renew_late(&wrong[1], &key).await.err().expect("refused").0;
    }
    assert_eq!(status, 429);
}
