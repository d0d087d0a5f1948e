//! Answers to what a stick brought home: signed for one device by the director, read only if one of its keys signed them.

use outpost_contract::HomeAnswer;
use outpost_contract::home::{ANSWER_BYTES, ANSWER_TYPE};

use crate::dsse::DsseError;
use crate::{Envelope, SigningKey, VerifyingKey};

/// Signs an answer.
///
/// # Errors
/// [`DsseError::TooLarge`] if no device would take it, [`DsseError::Malformed`] without a key.
pub fn sign(answer: &HomeAnswer, keys: &[&SigningKey]) -> Result<Envelope, DsseError> {
    let payload = serde_json::to_vec(answer).map_err(|error| DsseError::Malformed(error.to_string()))?;
    Envelope::sign_within(ANSWER_BYTES, ANSWER_TYPE, &payload, keys)
}

/// Reads an answer that one of `keys` signed. For whom it is is for the caller to look at. An older one is no danger: what was
/// stored once stays stored.
///
/// # Errors
/// If it is no envelope, not an answer, unsigned, or not in a form that this version reads.
pub fn open(envelope: &[u8], keys: &[VerifyingKey]) -> Result<HomeAnswer, DsseError> {
    let payload = Envelope::parse_within(ANSWER_BYTES, envelope)?.verify(ANSWER_TYPE, keys)?;
    serde_json::from_slice(&payload).map_err(|error| DsseError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directors_answers_are_read() {
        let (director, thief) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let (tenant, device) = ("acme".parse().unwrap(), "till-7".parse().unwrap());
        let answer = HomeAnswer { v: 1, tenant, device, issued_at_s: 0, stored: Vec::new(), cosigned: None };
        let envelope = sign(&answer, &[&director]).unwrap().to_bytes();
        assert_eq!(open(&envelope, &[director.verifying_key()]).unwrap(), answer);
        assert!(matches!(open(&envelope, &[thief.verifying_key()]), Err(DsseError::BadSignature(1))));
        let payload = serde_json::to_vec(&answer).unwrap();
        let other = Envelope::sign("application/vnd.outpost.command+json", &payload, &[&director]).unwrap().to_bytes();
        assert!(matches!(open(&other, &[director.verifying_key()]), Err(DsseError::WrongType { .. })));
        assert!(open(b"{}", &[director.verifying_key()]).is_err());
    }
}
