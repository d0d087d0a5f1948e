//! Enrolment without a code: by a key that was allowed, and by an operator's yes.

use outpost_contract::{DeviceId, EnrolRefusal, EnrolResponse};
use rcgen::KeyPair;

use crate::site::{Site, certificate_request, fingerprint, new_key};

fn refusal(answer: Result<EnrolResponse, (u16, EnrolRefusal)>) -> (u16, String) {
    let (status, refusal) = answer.expect_err("there is no certificate");
    assert!(!refusal.message.is_empty());
    (status, refusal.code)
}

fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

#[tokio::test]
async fn an_allowed_key_enrols_once_and_its_owner_may_ask_again() {
    let site = Site::start().await;
    let key = new_key();
    let not_allowed = (403, "not_allowed".to_owned());
    assert_eq!(refusal(site.ask("", &key).await), not_allowed);
    site.fleet.allow_keys(&[(id("till-1"), fingerprint(&key))]).unwrap();
    assert_eq!(refusal(site.ask("", &new_key()).await), not_allowed);
    for _ in 0..2 {
        assert_eq!(site.ask("", &key).await.unwrap().device.as_str(), "till-1");
    }
    assert_eq!(site.fleet.devices().unwrap().len(), 1);

    // Revoked is revoked: the key that opened the door once does not open it again.
    site.fleet.revoke(&id("till-1")).unwrap();
    assert_eq!(refusal(site.ask("", &key).await), not_allowed);
}

#[tokio::test]
async fn whoever_knows_an_allowed_key_and_does_not_hold_it_gets_nothing() {
    let site = Site::start().await;
    let key = new_key();
    site.fleet.allow_keys(&[(id("till-1"), fingerprint(&key))]).unwrap();
    // The public key of one and the signature of another: a request for the allowed key, cut and joined by a thief.
    let (real, forged) = (certificate_request(&key), forged_request(&key, &new_key()));
    assert_ne!(real, forged);
    assert_eq!(refusal(site.ask_with("", forged).await), (400, "bad_request".to_owned()));
    assert!(site.fleet.devices().unwrap().is_empty());
    assert!(site.ask_with("", real).await.is_ok());
}

/// The request of `key` with the last byte of its signature changed, in PEM.
fn forged_request(key: &KeyPair, thief: &KeyPair) -> String {
    let body = |key: &KeyPair| {
        let request = rcgen::CertificateParams::default().serialize_request(key).unwrap();
        request.der().to_vec()
    };
    let (mut real, other) = (body(key), body(thief));
    // Signatures stand at the end; their length varies by a byte or two, so only the last bytes are taken.
    let from = real.len() - 16;
    real[from..].copy_from_slice(&other[other.len() - 16..]);
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, real);
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
}

#[tokio::test]
async fn an_operator_decides_who_asked_and_nobody_else_is_let_in() {
    let site = Site::start_with(|config| config.accept_requests = true).await;
    let (wanted, unwanted) = (new_key(), new_key());
    for key in [&wanted, &unwanted, &wanted] {
        assert_eq!(refusal(site.ask("", key).await), (202, "pending".to_owned()));
    }
    let requests = site.fleet.enrol_requests().unwrap();
    assert_eq!(requests.len(), 2);
    let request = requests.iter().find(|request| request.fingerprint == fingerprint(&wanted)).unwrap();
    assert_eq!((request.wished_name.as_str(), request.address.as_str()), ("the-till-at-the-door", "127.0.0.1"));

    site.fleet.accept_request(&fingerprint(&wanted), &id("till-1")).unwrap();
    site.fleet.reject_request(&fingerprint(&unwanted)).unwrap();
    assert_eq!(site.ask("", &wanted).await.unwrap().device.as_str(), "till-1", "the operator's name, not its own");
    assert_eq!(refusal(site.ask("", &unwanted).await), (403, "not_allowed".to_owned()));
    // A no can become a yes; but a name that is in use is not given away.
    assert!(site.fleet.accept_request(&fingerprint(&unwanted), &id("till-1")).is_err());
    site.fleet.accept_request(&fingerprint(&unwanted), &id("till-2")).unwrap();
    assert_eq!(site.ask("", &unwanted).await.unwrap().device.as_str(), "till-2");
    assert!(site.fleet.enrol_requests().unwrap().is_empty());
    assert!(site.fleet.accept_request(&fingerprint(&new_key()), &id("till-3")).is_err());
}

#[tokio::test]
async fn whoever_asks_with_ever_new_keys_must_wait_and_who_waits_may_ask() {
    let site = Site::start_with(|config| config.accept_requests = true).await;
    let patient = new_key();
    assert_eq!(refusal(site.ask("", &patient).await), (202, "pending".to_owned()));
    for _ in 0..9 {
        assert_eq!(refusal(site.ask("", &patient).await), (202, "pending".to_owned()));
        assert_eq!(refusal(site.ask("", &new_key()).await), (202, "pending".to_owned()));
    }
    assert_eq!(refusal(site.ask("", &new_key()).await), (429, "too_many_attempts".to_owned()));
    assert_eq!(site.fleet.enrol_requests().unwrap().len(), 10);
}

#[tokio::test]
async fn a_list_counts_whole_or_not_at_all() {
    let site = Site::start().await;
    let codes = site.fleet.create_codes(&[id("till-1"), id("till-2")], 60).unwrap();
    for (code, name) in codes.iter().zip(["till-1", "till-2"]) {
        assert_eq!(site.ask(code, &new_key()).await.unwrap().device.as_str(), name);
    }
    assert!(site.fleet.create_codes(&[id("till-3"), id("control-plane")], 60).is_err());

    let (free, taken) = (new_key(), new_key());
    site.fleet.allow_keys(&[(id("till-4"), fingerprint(&taken))]).unwrap();
    let list = [(id("till-5"), fingerprint(&free)), (id("till-6"), fingerprint(&taken))];
    let error = site.fleet.allow_keys(&list).unwrap_err().to_string();
    assert!(error.contains("was allowed as `till-4`"), "{error}");
    assert_eq!(refusal(site.ask("", &free).await), (403, "not_allowed".to_owned()));
    // An enrolled name is not given away by a slip in a list.
    assert!(site.fleet.allow_keys(&[(id("till-1"), fingerprint(&free))]).is_err());
}
