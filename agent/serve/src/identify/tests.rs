//! Whatever comes as a credential: it identifies somebody only if it is one, and never panics.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
};
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outpost_policies::{Lock, LockKind, LockList, Locks, PrincipalKind, Strictness};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW_S: i64 = 1_796_083_200;
const ISSUER: &str = "https://login.example/tenant/v2.0";

enum Signer {
    Rsa(RsaKeyPair, bool),
    Ecdsa(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, pss) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let how = if *pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                pair.sign(how, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn token(&self, algorithm: &str, kid: &str, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let body = format!("{}.{}", encode(&json!({ "alg": algorithm, "kid": kid })), encode(claims));
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(self.sign(body.as_bytes())))
    }

    fn jwk(&self, kid: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(pair, _) => {
                let public = pair.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero().to_vec();
                let exponent = public.exponent().big_endian_without_leading_zero().to_vec();
                json!({ "kty": "RSA", "kid": kid, "use": "sig", "n": text(&modulus), "e": text(&exponent) })
            }
            Self::Ecdsa(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "kid": kid, "crv": curve, "x": text(x), "y": text(y) })
            }
            Self::Ed(pair) => {
                json!({ "kty": "OKP", "kid": kid, "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        }
    }
}

fn provider() -> OidcProvider {
    OidcProvider {
        issuer: ISSUER.to_owned(),
        audience: "api://outpost".to_owned(),
        roles_claim: "groups".to_owned(),
        roles: BTreeMap::from([("group-7".to_owned(), vec!["operator".to_owned()])]),
        role_prefix: String::new(),
        authorized_parties: vec!["front".to_owned()],
        tenant: Some("tenant".to_owned()),
        kind: PrincipalKind::User,
        max_offline: Some(std::time::Duration::from_secs(7 * 24 * 3600)),
        refresh: std::time::Duration::from_secs(3600),
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "api://outpost", "sub": "ada", "groups": ["group-7", "group-8"], "azp": "front",
        "tid": "tenant", "iat": NOW_S, "exp": NOW_S + 600, "jti": "token-1",
    })
}

fn knowing(signers: &[(&str, &Signer)]) -> Identities {
    let identities = Identities::new();
    identities.set_providers(&[provider()]).unwrap();
    let keys: Vec<Value> = signers.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
    let keys = json!({ "keys": keys }).to_string();
    identities.set_provider_keys(ISSUER, &ProviderKeys::default().updated(keys.as_bytes(), NOW_S, 600).unwrap());
    identities
}

fn ed() -> Signer {
    Signer::Ed(Ed25519KeyPair::generate().unwrap())
}

fn tcp() -> Peer {
    Peer::Tcp { address: ([127, 0, 0, 1], 1).into(), tls: false, certificate: None }
}

fn call(identities: &Identities, token: &str, now_s: i64) -> Result<Caller, &'static str> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    identities.identify(&headers, &tcp(), now_s).map_err(|error| error.code)
}

#[test]
fn a_providers_token_of_each_kind_of_key_identifies_with_the_roles_of_its_groups() {
    let rsa = || RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ecdsa = |algorithm| Signer::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap());
    for (algorithm, signer) in [
        ("RS256", Signer::Rsa(rsa(), false)),
        ("PS256", Signer::Rsa(rsa(), true)),
        ("ES256", ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
        ("ES384", ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        ("EdDSA", ed()),
    ] {
        let identities = knowing(&[("k", &signer)]);
        let caller = call(&identities, &signer.token(algorithm, "k", &claims()), NOW_S).unwrap();
        assert_eq!(
            (caller.principal.roles.as_slice(), caller.credential.as_str()),
            (&["operator".to_owned()][..], "k")
        );
        assert_eq!((caller.principal.id, caller.keys_age_s), (format!("{ISSUER}|ada"), Some(0)));
        // The same signature under the name of every other algorithm.
        for other in ["RS256", "PS256", "ES256", "ES384", "EdDSA", "HS256", "RS512", "none"] {
            if other != algorithm {
                assert!(
                    call(&identities, &signer.token(other, "k", &claims()), NOW_S).is_err(),
                    "{algorithm} as {other}"
                );
            }
        }
    }
}

#[test]
fn a_claim_that_is_not_as_configured_is_refused_by_name() {
    let signer = ed();
    let identities = knowing(&[("k", &signer)]);
    for (claim, value, code) in [
        ("iss", json!("https://evil.example"), "token_issuer"),
        ("aud", json!("another"), "token_audience"),
        ("tid", json!("another"), "token_tenant"),
        ("tid", Value::Null, "token_tenant"),
        ("azp", json!("another"), "token_party"),
        ("exp", json!(NOW_S - 61), "token_expired"),
        ("nbf", json!(NOW_S + 61), "token_not_yet_valid"),
        ("nbf", json!("soon"), "malformed_token"),
        ("sub", json!(""), "malformed_token"),
        ("_claim_names", json!({ "groups": "src1" }), "token_groups_overage"),
    ] {
        let mut claims = claims();
        claims[claim] = value;
        assert_eq!(call(&identities, &signer.token("EdDSA", "k", &claims), NOW_S).unwrap_err(), code, "{claims}");
    }
    let mut nobody = claims();
    nobody["groups"] = json!(["admin", "operator"]);
    assert!(call(&identities, &signer.token("EdDSA", "k", &nobody), NOW_S).unwrap().principal.roles.is_empty());
}

#[test]
fn without_a_network_known_keys_count_within_a_bound_and_an_unknown_one_says_why() {
    let (signer, new) = (ed(), ed());
    let identities = knowing(&[("k", &signer)]);
    let at = |now_s: i64, kid: &str, signer: &Signer| {
        let mut claims = claims();
        claims["exp"] = json!(now_s + 600);
        call(&identities, &signer.token("EdDSA", kid, &claims), now_s)
    };
    let week_s = 7 * 24 * 3600;
    let age_s = at(NOW_S + week_s, "k", &signer).unwrap().keys_age_s;
    assert_eq!(age_s, Some(week_s.unsigned_abs()));
    assert_eq!(at(NOW_S + week_s + 1, "k", &signer).unwrap_err(), "provider_keys_too_old");
    assert_eq!(at(NOW_S + 3600, "new", &new).unwrap_err(), "unknown_token_key");
    assert_eq!(at(NOW_S + 3601, "new", &new).unwrap_err(), "unknown_kid_offline");
}

#[test]
fn a_lock_refuses_its_caller_at_once_and_an_older_list_does_not_come_back() {
    let signer = ed();
    let identities = knowing(&[("k", &signer)]);
    let token = signer.token("EdDSA", "k", &claims());
    let list = |seq, kind, id: &str, strictness| {
        let lock = Lock { kind, id: id.to_owned(), from_s: 0, until_s: None, reason: "lost".to_owned() };
        Locks::new(LockList { seq, issued_s: NOW_S, strictness, locks: vec![lock] }).unwrap()
    };
    for (seq, kind, id) in [
        (1, LockKind::Token, "token-1"),
        (2, LockKind::Role, "operator"),
        (3, LockKind::User, "https://login.example/tenant/v2.0|ada"),
    ] {
        identities.set_locks(list(seq, kind, id, Strictness::BestEffort), NOW_S).unwrap();
        assert_eq!(call(&identities, &token, NOW_S).unwrap_err(), "locked", "{id}");
    }
    assert!(identities.set_locks(list(3, LockKind::User, "eve", Strictness::BestEffort), NOW_S).is_err());
    identities.set_locks(list(4, LockKind::User, "eve", Strictness::Strict { max_age_s: 60 }), NOW_S).unwrap();
    assert!(call(&identities, &token, NOW_S + 60).is_ok());
    assert_eq!(call(&identities, &token, NOW_S + 61).unwrap_err(), "locks_too_old");
}

#[test]
fn only_a_trusted_service_speaks_for_others_and_that_gives_no_role() {
    let directory = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(directory.path()).unwrap();
    let new = NewApiKey { name: "front".to_owned(), roles: vec!["operator".to_owned()], expires_s: None };
    let ((front, front_text), (_, other_text)) = (keys.create(&new, NOW_S).unwrap(), keys.create(&new, NOW_S).unwrap());
    let identities = Identities::new().with_api_keys(keys).with_speakers_for_others(vec![format!("key:{}", front.id)]);
    let claim = |key: &str, names: &[&str]| {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_str(key).unwrap());
        headers.insert("x-openwebui-user-role", HeaderValue::from_static("admin"));
        for name in names {
            headers.append("x-openwebui-user-id", HeaderValue::from_str(name).unwrap());
        }
        identities.identify(&headers, &tcp(), NOW_S)
    };
    let caller = claim(&front_text, &["ada"]).unwrap();
    assert_eq!(
        (caller.on_behalf_of.as_deref(), caller.principal.roles.as_slice()),
        (Some("ada"), &["operator".to_owned()][..])
    );
    assert_eq!(claim(&other_text, &["ada"]).unwrap().on_behalf_of, None);
    assert_eq!(claim(&front_text, &["ada", "bob"]).unwrap_err().code, "malformed_on_behalf_of");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_as_a_credential_identify_nobody_and_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        place in 0_usize..3,
        now_s: i64,
    ) {
        let signer = ed();
        let identities = knowing(&[("k", &signer)]);
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert(["authorization", "x-api-key", "api-key"][place], value);
        prop_assert!(identities.identify(&headers, &tcp(), now_s).is_err());
    }

    #[test]
    fn a_token_with_any_byte_changed_identifies_nobody(place in any::<prop::sample::Index>(), byte in 0x21_u8..0x7f) {
        let signer = ed();
        let identities = knowing(&[("k", &signer)]);
        let mut token = signer.token("EdDSA", "k", &claims()).into_bytes();
        let place = place.index(token.len());
        prop_assume!(token[place] != byte);
        token[place] = byte;
        prop_assert!(call(&identities, std::str::from_utf8(&token).unwrap(), NOW_S).is_err());
    }

    #[test]
    fn any_claims_and_any_clock_are_judged_without_panic(exp: i64, nbf: i64, now_s: i64, name in "\\PC{0,20}") {
        let signer = ed();
        let identities = knowing(&[("k", &signer)]);
        let mut claims = claims();
        (claims["exp"], claims["nbf"], claims["sub"]) = (json!(exp), json!(nbf), json!(name));
        let _ = call(&identities, &signer.token("EdDSA", "k", &claims), now_s);
    }

    #[test]
    fn any_bytes_are_a_certificate_or_none_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ProvenCertificate::read(&bytes);
    }
}
