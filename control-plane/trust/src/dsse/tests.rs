//! Envelopes signed, carried and tampered with.

use super::*;
use proptest::prelude::*;

const TYPE: &str = "application/vnd.test+json";

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

#[test]
fn what_is_signed_is_the_encoding_of_the_specification() {
    // The example of the DSSE protocol document.
    assert_eq!(
        pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[test]
fn an_envelope_survives_the_wire_and_opens_for_any_of_its_signers() {
    let (old, new, other) = (key(), key(), key());
    let envelope = Envelope::sign(TYPE, b"{}", &[&old, &new]).unwrap();
    let read = Envelope::parse(&envelope.to_bytes()).unwrap();
    assert_eq!(read, envelope);
    assert_eq!(read.verify(TYPE, &[new.verifying_key()]).unwrap(), b"{}");
    assert_eq!(
        read.signers(&[old.verifying_key(), other.verifying_key(), new.verifying_key()]),
        [old.verifying_key(), new.verifying_key()]
    );
    assert_eq!(read.verify(TYPE, &[other.verifying_key()]), Err(DsseError::BadSignature(1)));
    assert_eq!(read.verify(TYPE, &[]), Err(DsseError::BadSignature(0)));
}

#[test]
fn a_good_signature_for_another_kind_of_document_is_refused() {
    let key = key();
    let envelope = Envelope::sign("application/vnd.other+json", b"{}", &[&key]).unwrap();
    let refused = envelope.verify(TYPE, &[key.verifying_key()]).unwrap_err();
    assert!(matches!(refused, DsseError::WrongType { .. }), "{refused}");
    // Relabelling does not help: the type is signed.
    let relabelled = Envelope { payload_type: TYPE.to_owned(), ..envelope };
    assert_eq!(relabelled.verify(TYPE, &[key.verifying_key()]), Err(DsseError::BadSignature(1)));
}

#[test]
fn any_flipped_bit_of_the_envelope_is_refused_or_changes_only_the_hint() {
    let key = key();
    let bytes = Envelope::sign(TYPE, b"{\"a\":1}", &[&key]).unwrap().to_bytes();
    let hint = key.verifying_key().key_id();
    let hint_at = bytes.windows(hint.len()).position(|window| window == hint.as_bytes()).unwrap();
    for index in (0..bytes.len()).filter(|index| !(hint_at..hint_at + hint.len()).contains(index)) {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << bit;
            let opened = Envelope::parse(&flipped).and_then(|read| read.verify(TYPE, &[key.verifying_key()]));
            assert!(opened.is_err(), "byte {index}, bit {bit}: {}", String::from_utf8_lossy(&flipped));
        }
    }
}

#[test]
fn an_envelope_over_a_limit_is_refused_on_both_sides() {
    let key = key();
    assert!(matches!(Envelope::parse(&vec![b' '; DOCUMENT_BYTES + 1]), Err(DsseError::TooLarge { .. })));
    assert!(matches!(Envelope::sign(TYPE, &vec![0; DOCUMENT_BYTES], &[&key]), Err(DsseError::TooLarge { .. })));
    assert!(matches!(Envelope::sign(TYPE, b"", &[]), Err(DsseError::Malformed(_))));
    assert!(matches!(Envelope::sign(TYPE, b"", &[&key; MOST_SIGNATURES + 1]), Err(DsseError::Malformed(_))));
    assert!(matches!(Envelope::sign("", b"", &[&key]), Err(DsseError::Malformed(_))));
}

#[test]
fn unknown_fields_and_second_spellings_are_refused() {
    let sig = STANDARD.encode([0; 64]);
    let envelope = |payload: &str, more: &str, sig: &str| {
        format!(r#"{{"payload":"{payload}","payloadType":"{TYPE}","signatures":[{{"keyid":"","sig":"{sig}"}}]{more}}}"#)
    };
    assert!(Envelope::parse(envelope("YQ==", "", &sig).as_bytes()).is_ok());
    for (bad, why) in [
        (envelope("YQ==", r#","more":1"#, &sig), "unknown field"),
        (envelope("YQ==", r#","payload":"Yg==""#, &sig), "duplicate field"),
        (envelope("YQ", "", &sig), "not base64"),
        (envelope("YR==", "", &sig), "not base64"),
        (envelope("-_==", "", &sig), "not base64"),
        (envelope("YQ==", "", "YQ=="), "64 bytes"),
        ("[]".to_owned(), "not a signed envelope"),
        ("".to_owned(), "not a signed envelope"),
    ] {
        let refused = Envelope::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains(why), "{bad}: {refused}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_an_envelope_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Envelope::parse(&bytes);
    }

    #[test]
    fn almost_an_envelope_is_read_or_refused_without_panic(
        payload in "[A-Za-z0-9+/=]{0,20}", kind in ".{0,140}", signatures in proptest::collection::vec(("[0-9a-f]{0,70}", "[A-Za-z0-9+/=]{0,90}"), 0..10),
    ) {
        let signatures: Vec<_> = signatures.iter().map(|(keyid, sig)| serde_json::json!({"keyid": keyid, "sig": sig})).collect();
        let bytes = serde_json::json!({"payload": payload, "payloadType": kind, "signatures": signatures}).to_string();
        if let Ok(envelope) = Envelope::parse(bytes.as_bytes()) {
            prop_assert_eq!(Envelope::parse(&envelope.to_bytes()), Ok(envelope));
        }
    }

    #[test]
    fn any_payload_survives_a_round_trip(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = key();
        let bytes = Envelope::sign(TYPE, &payload, &[&key]).unwrap().to_bytes();
        prop_assert_eq!(Envelope::parse(&bytes).unwrap().verify(TYPE, &[key.verifying_key()]), Ok(payload));
    }
}
