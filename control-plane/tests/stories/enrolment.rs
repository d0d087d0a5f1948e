//! Codes: good for one device, for a time, and not for guessing.

use crate::site::{Site, new_key};

fn refusal(answer: Result<outpost_contract::EnrolResponse, (u16, outpost_contract::EnrolRefusal)>) -> (u16, String) {
    let (status, refusal) = answer.expect_err("the code is refused");
    assert!(!refusal.message.is_empty());
    (status, refusal.code)
}

#[tokio::test]
async fn a_wrong_an_expired_and_a_used_code_are_each_refused_in_their_own_word() {
    let site = Site::start().await;
    assert_eq!(refusal(site.ask("00000-00000-00000-00000", &new_key()).await), (403, "wrong_code".to_owned()));

    let code = site.code("till-1", 60).await;
    site.clock.advance(61);
    assert_eq!(refusal(site.ask(&code, &new_key()).await), (410, "code_expired".to_owned()));
    assert!(site.fleet.devices().unwrap().is_empty());

    let (code, key) = (site.code("till-1", 60).await, new_key());
    assert_eq!(site.ask(&code, &key).await.unwrap().device.as_str(), "till-1");
    assert_eq!(refusal(site.ask(&code, &new_key()).await), (409, "code_used".to_owned()));
    // A device whose answer was lost asks again with the same key.
    assert_eq!(site.ask(&code, &key).await.unwrap().device.as_str(), "till-1");
    assert_eq!(site.fleet.devices().unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_guesses_codes_must_wait_even_with_a_right_one() {
    let site = Site::start().await;
    let (code, key) = (site.code("till-1", 3600).await, new_key());
    for _ in 0..10 {
        assert_eq!(refusal(site.ask("00000-00000-00000-00000", &key).await), (403, "wrong_code".to_owned()));
    }
    assert_eq!(refusal(site.ask(&code, &key).await), (429, "too_many_attempts".to_owned()));
    site.clock.advance(60);
    assert!(site.ask(&code, &key).await.is_ok());
}
