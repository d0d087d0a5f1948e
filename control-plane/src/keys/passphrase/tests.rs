//! What locks a key, what opens it, and what is said when it does not.

use proptest::prelude::*;

use super::*;
use crate::keys::OfflineKeys;

fn phrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn given(texts: &[&str]) -> Passphrases<'static> {
    Passphrases::given(texts.iter().map(|text| phrase(text)).collect())
}

#[test]
fn a_locked_pair_opens_with_its_passphrase_and_with_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, right) = (dir.path().join("ada"), phrase("correct horse battery"));
    OfflineKeys::create_locked(&keys, Some(&right)).unwrap();
    for name in ["root.pem", "targets.pem"] {
        let text = std::fs::read_to_string(keys.join(name)).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
    }
    let opened = OfflineKeys::open(&keys, &mut given(&["another phrase", "correct horse battery"])).unwrap();
    let wrong = OfflineKeys::open(&keys, &mut given(&["correct horse batterz"])).unwrap_err();
    assert!(matches!(&wrong, KeysError::WrongPassphrase(path) if path.ends_with("root.pem")), "{wrong}");
    assert!(wrong.to_string().contains("ada/root.pem") && !wrong.to_string().contains("horse"), "{wrong}");
    assert!(matches!(OfflineKeys::load(&keys), Err(KeysError::Locked(_))));

    // Asked once for both files, as they have one passphrase.
    let mut asked = Vec::new();
    let mut asking = Passphrases::asking(|path| {
        asked.push(path.to_owned());
        Ok(right.clone())
    });
    assert_eq!(OfflineKeys::open(&keys, &mut asking).unwrap().verifying_keys(), opened.verifying_keys());
    drop(asking);
    assert_eq!(asked, [keys.join("root.pem")]);
}

#[test]
fn a_passphrase_is_set_changed_and_removed_and_the_keys_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("ada");
    let made = OfflineKeys::create(&keys).unwrap().verifying_keys();
    let (first, second) = ("the first of two", "the second of two");
    OfflineKeys::relock(&keys, &mut given(&[]), Some(&phrase(first))).unwrap();
    let refused = OfflineKeys::relock(&keys, &mut given(&[second]), None).unwrap_err();
    assert!(matches!(refused, KeysError::WrongPassphrase(_)), "{refused}");
    OfflineKeys::relock(&keys, &mut given(&[first]), Some(&phrase(second))).unwrap();
    assert!(OfflineKeys::open(&keys, &mut given(&[first])).is_err());
    // Cut between the two files: each opens with its own, and the change can be done again.
    let cut = to_pem(&OfflineKeys::open(&keys, &mut given(&[second])).unwrap().targets, Some(&phrase(first))).unwrap();
    files::write_private(&keys.join("targets.pem"), cut.as_bytes()).unwrap();
    OfflineKeys::relock(&keys, &mut given(&[first, second]), Some(&phrase(second))).unwrap();
    assert_eq!(OfflineKeys::open(&keys, &mut given(&[second])).unwrap().verifying_keys(), made);
    OfflineKeys::relock(&keys, &mut given(&[second]), None).unwrap();
    assert_eq!(OfflineKeys::load(&keys).unwrap().verifying_keys(), made);
}

#[test]
fn a_key_that_openssl_locked_opens_and_a_file_that_asks_for_endless_work_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.pem");
    // The key of RFC 8410 §10.3: openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 1000
    files::write_private(&path, OPENSSL.as_bytes()).unwrap();
    let key = given(&["written by openssl"]).read(&path).unwrap();
    assert_eq!(key.verifying_key().to_hex(), "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    let plain = key.to_pkcs8().unwrap();
    let endless = Parameters::generate_pbkdf2_sha256_aes256cbc(1, &[7; 16], [7; 16]).unwrap();
    let endless = PrivateKeyInfoRef::try_from(plain.as_slice()).unwrap().encrypt_with_params(endless, "x").unwrap();
    let mut bytes = endless.as_bytes().to_vec();
    assert!(unlock(&SecretDocument::try_from(bytes.as_slice()).unwrap(), &phrase("x")).unwrap().is_some());
    // `INTEGER 1` of the rounds becomes one of four bytes; the lengths around it grow by three.
    let at = bytes.windows(3).position(|window| window == [2, 1, 1]).unwrap();
    bytes.splice(at..at + 3, [2, 4, 0x05, 0xf5, 0xe1, 0x00]);
    for length in outer_lengths(&bytes, at) {
        bytes[length] += 3;
    }
    let document = SecretDocument::try_from(bytes.as_slice()).unwrap();
    let asked = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).unwrap().encryption_algorithm;
    assert_eq!(asked.pbes2().unwrap().kdf.pbkdf2().unwrap().iteration_count, 100_000_000);
    assert!(unlock(&document, &phrase("x")).is_none());
}

/// Where the lengths of the sequences around `at` stand.
fn outer_lengths(bytes: &[u8], at: usize) -> Vec<usize> {
    let (mut lengths, mut position) = (Vec::new(), 0);
    while position < at {
        let (header, body) = match bytes[position + 1] {
            0x81 => (position + 2, position + 3),
            _ => (position + 1, position + 2),
        };
        let end = body + usize::from(bytes[header]);
        if bytes[position] == 0x30 && end > at {
            lengths.push(header);
            position = body;
        } else {
            position = end;
        }
    }
    lengths
}

#[test]
fn a_passphrase_is_one_line_long_enough_and_never_shown() {
    assert!(!format!("{:?}", phrase("correct horse")).contains("horse"));
    assert_eq!(phrase("correct horse\n"), phrase("correct horse"));
    for bad in ["", "\n", "two\nlines", &"x".repeat(MOST + 1)] {
        assert_eq!(Passphrase::new(Zeroizing::new(bad.to_owned())), Err(PassphraseError::Form), "{bad:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let refused = OfflineKeys::create_locked(&dir.path().join("ada"), Some(&phrase("elevenchars"))).unwrap_err();
    assert!(refused.to_string().contains("at least 12 characters"), "{refused}");
    assert!(!dir.path().join("ada/root.pem").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_in_a_locked_file_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
        let pem = format!("-----BEGIN {LABEL}-----\n{text}\n-----END {LABEL}-----\n");
        if let Some(document) = decoded(&pem) {
            prop_assert!(unlock(&document, &phrase("x")).is_none_or(|key| key.is_none()));
        }
    }
}

const OPENSSL: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n\
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiaKB1vZ+a2KwICA+gw\n\
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEELg8AOSj90Fkl/01yDsUk4sEQCmt\n\
5xMXpI1hmQIC2MeW8lgKuFMi9Xi4RgZgNKYlIdPU9x5SCU7yfgVEGebvBHS15UZK\n\
cC7Y4DZfOB1EtFSXhT4=\n\
-----END ENCRYPTED PRIVATE KEY-----\n";
