//! Documents that people sign: sealed with a key, opened against a list of those whose signatures count.

use std::collections::BTreeSet;

use outpost_contract::limits::SEALED_BYTES;
use outpost_contract::{SealedKind, Signer};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dsse::DsseError;
use crate::{Envelope, SigningKey, VerifyingKey};

/// Most people whose signatures count on one device, and the longest name of one, bytes.
const SIGNERS: usize = 256;
const NAME_BYTES: usize = 128;

/// Those whose signatures count on a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers(Vec<(Signer, VerifyingKey)>);

/// A list of signers says too little or too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signer `{name}` {what}")]
pub struct InvalidSigner {
    name: String,
    what: String,
}

/// A document whose signatures hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What was sealed.
    pub payload: Vec<u8>,
    /// The people who signed it, by name, each once.
    pub signed_by: BTreeSet<String>,
}

impl Signers {
    /// Reads a list.
    ///
    /// # Errors
    /// If a name is empty or too long, a key is none, somebody may sign nothing, or one key has two names: then one
    /// person could sign as two.
    pub fn new(listed: &[Signer]) -> Result<Self, InvalidSigner> {
        let mut signers: Vec<(Signer, VerifyingKey)> = Vec::new();
        for signer in listed {
            let invalid = |what: String| InvalidSigner { name: signer.name.clone(), what };
            let key: VerifyingKey =
                signer.key.parse().map_err(|error| invalid(format!("has no usable key: {error}")))?;
            if signer.name.trim().is_empty() || signer.name.len() > NAME_BYTES {
                return Err(invalid(format!("has no name, or one longer than {NAME_BYTES} bytes")));
            }
            if signer.may.is_empty() {
                return Err(invalid("may sign nothing: give `may`".to_owned()));
            }
            if let Some((other, _)) = signers.iter().find(|(other, known)| *known == key && other.name != signer.name) {
                return Err(invalid(format!("has the key of `{}`: one key is one person", other.name)));
            }
            if signers.len() == SIGNERS {
                return Err(invalid(format!("is one too many: {SIGNERS} may sign")));
            }
            signers.push((signer.clone(), key));
        }
        Ok(Self(signers))
    }

    /// How many people may sign such a document.
    #[must_use]
    pub fn people(&self, kind: SealedKind) -> usize {
        self.of(kind).map(|(signer, _)| signer.name.as_str()).collect::<BTreeSet<_>>().len()
    }

    /// The document, with the names of those who signed it and may; nobody of them, and it stays closed.
    ///
    /// # Errors
    /// [`DsseError`]: too large, no envelope, of another kind, or without a signature that counts.
    pub fn open(&self, kind: SealedKind, bytes: &[u8]) -> Result<Opened, DsseError> {
        let envelope = Envelope::parse_within(SEALED_BYTES, bytes)?;
        let keys: Vec<VerifyingKey> = self.of(kind).map(|(_, key)| *key).collect();
        let payload = envelope.verify(kind.payload_type(), &keys)?;
        let signed = envelope.signers(&keys);
        let names = self.of(kind).filter(|(_, key)| signed.contains(key)).map(|(signer, _)| signer.name.clone());
        Ok(Opened { payload, signed_by: names.collect() })
    }

    fn of(&self, kind: SealedKind) -> impl Iterator<Item = &(Signer, VerifyingKey)> {
        self.0.iter().filter(move |(signer, _)| signer.may.contains(&kind))
    }
}

/// Whether bytes look like a sealed document rather than a plain one; what they are worth only [`Signers::open`] says.
#[must_use]
pub fn is_sealed(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Looks {
        #[serde(rename = "payloadType")]
        _payload_type: IgnoredAny,
    }
    serde_json::from_slice::<Looks>(bytes).is_ok()
}

/// Seals a document with one key; [`Envelope::signed_also_by`] adds others.
///
/// # Errors
/// [`DsseError::TooLarge`] if no device would take it.
pub fn seal(kind: SealedKind, payload: &[u8], key: &SigningKey) -> Result<Envelope, DsseError> {
    Envelope::sign_within(SEALED_BYTES, kind.payload_type(), payload, &[key])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signer(name: &str, key: &SigningKey, may: &[SealedKind]) -> Signer {
        Signer { name: name.to_owned(), key: key.verifying_key().to_hex(), may: may.to_vec() }
    }

    fn key() -> SigningKey {
        SigningKey::generate().unwrap()
    }

    #[test]
    fn people_count_once_however_many_keys_they_sign_with() {
        let (ada, spare, grace, eve) = (key(), key(), key(), key());
        let policy = [SealedKind::Policy];
        let signers = Signers::new(&[
            signer("ada", &ada, &policy),
            signer("ada", &spare, &policy),
            signer("grace", &grace, &policy),
        ])
        .unwrap();
        assert_eq!((signers.people(SealedKind::Policy), signers.people(SealedKind::Locks)), (2, 0));
        let names = |envelope: &Envelope| {
            let opened = signers.open(SealedKind::Policy, &envelope.to_bytes()).unwrap();
            assert_eq!(opened.payload, b"{}");
            opened.signed_by.into_iter().collect::<Vec<_>>()
        };
        let mut envelope = seal(SealedKind::Policy, b"{}", &ada).unwrap();
        for more in [&spare, &eve, &ada] {
            envelope = envelope.signed_also_by(more).unwrap();
            assert_eq!(names(&envelope), ["ada"]);
        }
        assert_eq!(names(&envelope.signed_also_by(&grace).unwrap()), ["ada", "grace"]);
    }

    #[test]
    fn a_signature_counts_only_for_what_its_owner_may_sign() {
        let (ada, eve) = (key(), key());
        let signers = Signers::new(&[signer("ada", &ada, &[SealedKind::Locks])]).unwrap();
        let open = |kind, by: &SigningKey| {
            signers
                .open(SealedKind::Locks, &seal(kind, b"{}", by).unwrap().to_bytes())
                .map(|opened| opened.signed_by.len())
        };
        assert_eq!(open(SealedKind::Locks, &ada), Ok(1));
        assert_eq!(open(SealedKind::Locks, &eve), Err(DsseError::BadSignature(1)));
        assert!(matches!(open(SealedKind::BreakGlass, &ada), Err(DsseError::WrongType { .. })));
        let bytes = seal(SealedKind::Policy, b"{}", &ada).unwrap().to_bytes();
        assert_eq!(signers.open(SealedKind::Policy, &bytes), Err(DsseError::BadSignature(0)));
    }

    #[test]
    fn a_list_that_would_let_one_person_be_two_is_refused() {
        let (ada, other) = (key(), key());
        let all = SealedKind::ALL;
        for listed in [
            vec![signer("ada", &ada, &all), signer("grace", &ada, &all)],
            vec![signer("", &ada, &all)],
            vec![signer("ada", &ada, &[])],
            vec![Signer { key: "none".to_owned(), ..signer("ada", &ada, &all) }],
        ] {
            assert!(Signers::new(&listed).is_err(), "{listed:?}");
        }
        assert!(Signers::new(&[signer("ada", &ada, &all), signer("ada", &other, &all)]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_sealed_document_or_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let signers = Signers::new(&[signer("ada", &key(), &SealedKind::ALL)]).unwrap();
            prop_assert!(signers.open(SealedKind::Locks, &bytes).is_err());
        }
    }
}
