//! Codes: good for one device, for a time, and not for guessing.

use outpost_audit::{CheckpointKey, VerifierKey};
use outpost_contract::EnrolRequest;
use rcgen::KeyPair;

use crate::site::{Site, certificate_request, new_key};

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
async fn nobody_enrols_with_the_audit_log_of_another_and_nobody_changes_his_own() {
    let site = Site::start().await;
    let log = |origin: &str| {
        let bytes = CheckpointKey::generate().unwrap().expose().to_vec();
        let key: VerifierKey = CheckpointKey::from_pkcs8(&bytes).unwrap().verifier_key(origin).unwrap();
        key.to_string()
    };
    let enrol = async |code: &str, key: &KeyPair, audit_key: &str| {
        let request = EnrolRequest {
            code: code.to_owned(),
            certificate_request: certificate_request(key),
            audit_key: audit_key.to_owned(),
            agent: "0.1.0".to_owned(),
            wished_name: String::new(),
        };
        site.post("/v1/enrol", None, &request).await
    };
    let (first, second) = (site.code("till-1", 60).await, site.code("plc-1", 60).await);
    let (till, plc, own) = (new_key(), new_key(), log("audit.outpost/0011223344556677/1"));
    enrol(&first, &till, &own).await.unwrap();
    for stolen in [own.clone(), log("audit.outpost/0011223344556677/1"), log("audit.outpost/0011223344556677/2")] {
        assert_eq!(refusal(enrol(&second, &plc, &stolen).await), (400, "bad_request".to_owned()), "{stolen}");
    }
    let another = log("audit.outpost/8899aabbccddeeff/1");
    assert_eq!(refusal(enrol(&first, &till, &another).await), (400, "bad_request".to_owned()), "the same box again");
    enrol(&first, &till, &own).await.unwrap();
    enrol(&second, &plc, &another).await.unwrap();
    // Another disk under the old name: a key of its own, and a log of its own.
    let code = site.code("till-1", 60).await;
    enrol(&code, &new_key(), &log("audit.outpost/fedcba9876543210/1")).await.unwrap();
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
