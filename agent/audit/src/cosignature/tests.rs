//! Cosignatures as the specification shows them, and as an independent implementation makes them.

use proptest::prelude::*;

use super::*;
use crate::{Checkpoint, VerifierKey, note};

/// The example of c2sp.org/tlog-cosignature; the keys that made it are not published.
const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

/// Its text and time, cosigned with the private key 00 01 … 1f by another implementation of Ed25519 (OpenSSL's).
const KEY: &str = "witness.example/w1+e75f6532+BAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
const LINE: &str = "— witness.example/w1 519lMgAAAABkGFDLBuRDazBLVac2NE+Y+IjbjQOcXLfF9CSDZVUIoS83rE1nFZsVE8YiWV6Ngr7lV8H6bdoBQGP/l73euDMQ9k+bBQ==\n";
const TIME_S: u64 = 1_679_315_147;

fn text() -> &'static str {
    EXAMPLE.split_once("\n\n").map(|(text, _)| &EXAMPLE[..=text.len()]).unwrap()
}

fn witness_key() -> WitnessKey {
    let seed: Vec<u8> = (0..32).collect();
    WitnessKey::new("witness.example/w1", Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()).unwrap()
}

fn fresh(name: &str) -> WitnessKey {
    WitnessKey::from_pkcs8(name, CheckpointKey::generate().unwrap().expose()).unwrap()
}

/// A checkpoint as some log signed it, and the log's key.
fn signed() -> (String, VerifierKey) {
    let key = CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap();
    let checkpoint = Checkpoint { origin: "audit.example/dev-1/1".into(), size: 3, root: [7; 32] };
    (key.sign(&checkpoint), key.verifier_key(&checkpoint.origin).unwrap())
}

#[test]
fn our_line_over_the_example_is_the_other_implementations() {
    assert_eq!(witness_key().cosign(text(), TIME_S), LINE);
    assert_eq!(witness_key().cosigner_key().to_string(), KEY);
}

#[test]
fn the_other_implementations_line_verifies_beside_the_lines_of_strangers() {
    let key: CosignerKey = KEY.parse().unwrap();
    let note = Note::parse(&format!("{EXAMPLE}{LINE}")).unwrap();
    assert_eq!(key.verify(&note), Ok(TIME_S));
    assert_eq!(key.verify(&Note::parse(EXAMPLE).unwrap()), Err(NoteError::NotSignedBy("witness.example/w1".into())));
}

#[test]
fn the_time_in_the_specifications_example_is_read_where_the_specification_puts_it() {
    let note = Note::parse(EXAMPLE).unwrap();
    let (time, signature) = note.signatures[1].bytes.split_first_chunk().unwrap();
    assert_eq!((u64::from_be_bytes(*time), signature.len()), (TIME_S, 64));
}

#[test]
fn a_checkpoint_with_many_witnesses_says_who_saw_it_when() {
    let (note, log) = signed();
    let witnesses: Vec<WitnessKey> = (0..20).map(|number| fresh(&format!("witness.example/{number}"))).collect();
    let text = &note[..=note.find("\n\n").unwrap()];
    let lines: String = (0..).zip(&witnesses).map(|(time_s, key)| key.cosign(text, time_s)).collect();
    let keys: Vec<CosignerKey> = witnesses.iter().map(|key| key.cosigner_key().clone()).collect();
    let known = &keys[..16];
    let cosigned = Cosigned::join(&note, &lines, std::slice::from_ref(&log), known).unwrap();
    assert_eq!(cosigned.cosignatures.len(), 16);
    assert_eq!((cosigned.time_s("witness.example/15"), cosigned.time_s("witness.example/16")), (Some(15), None));
    // The note that is kept is the note without the four strangers.
    assert_eq!(cosigned.note.lines().count(), 3 + 1 + 1 + 16);
    assert_eq!(Cosigned::verify(&cosigned.note, &[log], known).unwrap(), cosigned);
}

#[test]
fn what_two_witnesses_said_of_one_head_makes_one_note() {
    let (note, log) = signed();
    let logs = [log];
    let (one, two) = (fresh("witness.example/w1"), fresh("witness.example/w2"));
    let both = [one.cosigner_key().clone(), two.cosigner_key().clone()];
    let said = |key: &WitnessKey, note: &str, time_s| {
        let line = key.cosign(&note[..=note.find("\n\n").unwrap()], time_s);
        Cosigned::join(note, &line, &logs, &both).unwrap()
    };
    let merged = said(&one, &note, 7).merge(&said(&two, &note, 9)).unwrap();
    assert_eq!(Cosigned::verify(&merged.note, &logs, &both).unwrap(), merged);
    assert_eq!(merged.note.lines().count(), 3 + 1 + 3);
    // Merging again adds nothing; another head does not merge.
    assert_eq!(merged.clone().merge(&said(&two, &note, 9)), Some(merged.clone()));
    let elsewhere = Cosigned { note: note.replace("\n3\n", "\n4\n"), ..merged.clone() };
    assert_eq!(merged.merge(&elsewhere), None);
}

#[test]
fn a_known_key_that_fails_spoils_the_note_and_an_unknown_one_does_not() {
    let (note, log) = signed();
    let logs = [log];
    let key = fresh("witness.example/w1");
    let other_text = "audit.example/dev-1/1\n4\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let stale = key.cosign(other_text, 9);
    let witnesses = [key.cosigner_key().clone()];
    let spoilt = Err(NoteError::BadSignature("witness.example/w1".into()));
    assert_eq!(Cosigned::join(&note, &stale, &logs, &witnesses), spoilt);
    assert_eq!(Cosigned::join(&note, &stale, &logs, &[]).unwrap().note, note);
    // A namesake with another key is a stranger.
    let namesake = [fresh("witness.example/w1").cosigner_key().clone()];
    assert_eq!(Cosigned::join(&note, &stale, &logs, &namesake).unwrap().cosignatures, []);
    // So is the log's line under the log of another name, or without the log's line.
    let elsewhere = [VerifierKey::new("audit.example/dev-2/1", *logs[0].public()).unwrap()];
    let unsigned = Err(NoteError::NotSignedBy("audit.example/dev-1/1".into()));
    assert_eq!(Cosigned::verify(&note, &elsewhere, &[]), unsigned);
}

#[test]
fn a_log_signs_for_itself_only() {
    // One log's key over a head that names another, both trusted.
    let (one, two) = (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
    let public = |name: &str, pair: &Ed25519KeyPair| {
        VerifierKey::new(name, pair.public_key().as_ref().try_into().unwrap()).unwrap()
    };
    let logs = [public("audit.example/dev-1/1", &one), public("audit.example/dev-2/1", &two)];
    let text = Checkpoint { origin: "audit.example/dev-2/1".into(), size: 3, root: [7; 32] }.to_text();
    let foreign = note::sign(&text, "audit.example/dev-1/1", &one);
    let unsigned = Err(NoteError::NotSignedBy("audit.example/dev-2/1".into()));
    assert_eq!(Cosigned::verify(&foreign, &logs, &[]), unsigned);
    assert!(Cosigned::verify(&note::sign(&text, "audit.example/dev-2/1", &two), &logs, &[]).is_ok());
}

#[test]
fn two_times_of_one_witness_count_as_the_earlier_and_a_time_after_the_limit_is_refused() {
    let (note, log) = signed();
    let logs = [log];
    let text = &note[..=note.find("\n\n").unwrap()];
    let key = fresh("witness.example/w1");
    let witnesses = [key.cosigner_key().clone()];
    let lines = key.cosign(text, 20) + &key.cosign(text, 10);
    assert_eq!(Cosigned::join(&note, &lines, &logs, &witnesses).unwrap().time_s("witness.example/w1"), Some(10));
    let mut late = key.public.id().to_vec();
    late.extend_from_slice(&(MAX_TIME_S + 1).to_be_bytes());
    late.extend_from_slice(key.pair.sign(signed_text(text, MAX_TIME_S + 1).as_bytes()).as_ref());
    let line = format!("{SIGNATURE_PREFIX}{} {}\n", key.public.name(), BASE64.encode(late));
    assert!(Cosigned::join(&note, &line, &logs, &witnesses).is_err());
}

#[test]
fn extension_lines_are_under_the_cosignature() {
    let key = fresh("w");
    let line = key.cosign("a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nextension 1\n", 5);
    let verify = |extension: &str| {
        let note = format!("a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n{extension}\n\n{line}");
        key.cosigner_key().verify(&Note::parse(&note).unwrap())
    };
    assert_eq!(verify("extension 1"), Ok(5));
    assert!(verify("extension 2").is_err());
}

#[test]
fn a_key_is_made_once_and_kept_and_bad_names_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("witness.key");
    let first = WitnessKey::read_or_create("w", &path).unwrap().cosigner_key().clone();
    assert_eq!(WitnessKey::read_or_create("w", &path).unwrap().cosigner_key().clone(), first);
    for name in ["", "a b", "a+b"] {
        assert!(WitnessKey::read_or_create(name, &path).is_err(), "{name:?}");
    }
    assert!(WitnessKey::from_pkcs8("w", b"no key").is_err());
}

#[test]
fn a_key_of_a_log_is_no_key_of_a_witness() {
    let (_, log) = signed();
    assert!(log.to_string().parse::<CosignerKey>().is_err());
    assert!(KEY.parse::<VerifierKey>().is_err());
    assert!(KEY.replace("e75f6532", "e75f6533").parse::<CosignerKey>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_text_and_any_signature_bytes_are_answered(
        text in "(.|\n|— ){0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let _ = text.parse::<CosignerKey>();
        let key: CosignerKey = KEY.parse().unwrap();
        prop_assert_eq!(key.time_if_valid(&text, &bytes), None);
        let _ = Cosigned::verify(&text, &[], std::slice::from_ref(&key));
    }

    #[test]
    fn no_changed_bit_of_a_cosigned_checkpoint_verifies(position in 0..text().len() + LINE.len(), bit in 0_u8..7) {
        let mut bytes = format!("{}\n{LINE}", text()).into_bytes();
        let position = if position < text().len() { position } else { position + 1 };
        bytes[position] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            let key: CosignerKey = KEY.parse().unwrap();
            let believed = Note::parse(&changed).ok().and_then(|note| key.verify(&note).ok());
            prop_assert_eq!(believed, None);
        }
    }
}
