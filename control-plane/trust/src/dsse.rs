//! DSSE envelopes: bytes, their type, and signatures over both (secure-systems-lab/dsse, protocol and envelope 1.0).
//!
//! ```text
//! {"payload":<base64>,"payloadType":<type>,"signatures":[{"keyid":<hex>,"sig":<base64>}, …]}
//! signed: "DSSEv1" SP len(type) SP type SP len(payload) SP payload
//! ```
//!
//! Our profile is narrower than the specification: one spelling per envelope (standard base64 with padding, no
//! unknown fields), at most [`MOST_SIGNATURES`] signatures, at most [`DOCUMENT_BYTES`] bytes on a topic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outpost_contract::limits::DOCUMENT_BYTES;
use serde::{Deserialize, Serialize};

use crate::{SigningKey, VerifyingKey};

/// Signatures that an envelope may carry: an old and a new key during a rotation, and room for a threshold.
pub const MOST_SIGNATURES: usize = 8;

/// Longest payload type, bytes.
const TYPE_BYTES: usize = 128;

/// A signed document. Reading one proves nothing; only [`Envelope::verify`] gives the payload out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    /// A hint only: it is not signed, so it decides nothing.
    key_id: String,
    bytes: [u8; 64],
}

/// An envelope was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsseError {
    /// More bytes than such a document may have.
    #[error("the envelope has {bytes} bytes, more than the {most} allowed")]
    TooLarge {
        /// What there is.
        bytes: usize,
        /// What may be.
        most: usize,
    },
    /// Not the JSON of an envelope in our profile.
    #[error("not a signed envelope: {0}")]
    Malformed(String),
    /// The signature may be good, but for another kind of document.
    #[error("the envelope holds `{found}`, expected `{expected}`")]
    WrongType {
        /// What the reader expects.
        expected: String,
        /// What the envelope says.
        found: String,
    },
    /// No key that may sign this has signed it.
    #[error("no valid signature by any of the {0} keys that may sign this")]
    BadSignature(usize),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEnvelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    keyid: String,
    sig: String,
}

impl Envelope {
    /// Signs `payload` as a document of type `payload_type`, once with each key.
    ///
    /// # Errors
    /// [`DsseError::TooLarge`] if no reader would take it; [`DsseError::Malformed`] if there is no key, too many, or
    /// the type is empty, too long or not plain ASCII.
    pub fn sign(payload_type: &str, payload: &[u8], keys: &[&SigningKey]) -> Result<Self, DsseError> {
        Self::sign_within(DOCUMENT_BYTES, payload_type, payload, keys)
    }

    /// As [`sign`](Self::sign), for readers that take `most` bytes.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn sign_within(
        most: usize,
        payload_type: &str,
        payload: &[u8],
        keys: &[&SigningKey],
    ) -> Result<Self, DsseError> {
        check_shape(payload_type, keys.len())?;
        let message = pre_authentication_encoding(payload_type, payload);
        let signatures = keys
            .iter()
            .map(|key| Signature { key_id: key.verifying_key().key_id(), bytes: key.sign(&message) })
            .collect();
        let envelope = Self { payload_type: payload_type.to_owned(), payload: payload.to_vec(), signatures };
        // The same limit on both sides: what was signed can be read.
        match envelope.to_bytes().len() {
            bytes if bytes > most => Err(DsseError::TooLarge { bytes, most }),
            _ => Ok(envelope),
        }
    }

    /// The same document with the signature of one more key; a key that has signed already changes nothing.
    ///
    /// # Errors
    /// [`DsseError::Malformed`] if there are as many signatures as there may be.
    pub fn signed_also_by(mut self, key: &SigningKey) -> Result<Self, DsseError> {
        let public = key.verifying_key();
        if !self.signers(&[public]).is_empty() {
            return Ok(self);
        }
        check_shape(&self.payload_type, self.signatures.len() + 1)?;
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        self.signatures.push(Signature { key_id: public.key_id(), bytes: key.sign(&message) });
        Ok(self)
    }

    /// Reads an envelope of at most [`DOCUMENT_BYTES`] bytes.
    ///
    /// # Errors
    /// [`DsseError::TooLarge`] before anything is read, [`DsseError::Malformed`] with what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, DsseError> {
        Self::parse_within(DOCUMENT_BYTES, bytes)
    }

    /// Reads an envelope of at most `most` bytes.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_within(most: usize, bytes: &[u8]) -> Result<Self, DsseError> {
        if bytes.len() > most {
            return Err(DsseError::TooLarge { bytes: bytes.len(), most });
        }
        let wire: WireEnvelope =
            serde_json::from_slice(bytes).map_err(|error| DsseError::Malformed(error.to_string()))?;
        check_shape(&wire.payload_type, wire.signatures.len())?;
        let signatures = wire.signatures.into_iter().map(Signature::from_wire).collect::<Result<_, _>>()?;
        let payload = STANDARD
            .decode(&wire.payload)
            .map_err(|error| DsseError::Malformed(format!("`payload` is not base64: {error}")))?;
        Ok(Self { payload_type: wire.payload_type, payload, signatures })
    }

    /// The envelope's bytes; always the same for the same envelope.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = WireEnvelope {
            payload: STANDARD.encode(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self.signatures.iter().map(Signature::to_wire).collect(),
        };
        serde_json::to_vec(&wire).expect("strings always have a JSON form")
    }

    /// The payload, if it is of `expected_type` and at least one of `keys` signed it.
    ///
    /// # Errors
    /// [`DsseError::WrongType`] or [`DsseError::BadSignature`].
    pub fn verify(&self, expected_type: &str, keys: &[VerifyingKey]) -> Result<Vec<u8>, DsseError> {
        if self.payload_type != expected_type {
            let found = self.payload_type.clone();
            return Err(DsseError::WrongType { expected: expected_type.to_owned(), found });
        }
        if self.signers(keys).is_empty() {
            return Err(DsseError::BadSignature(keys.len()));
        }
        Ok(self.payload.clone())
    }

    /// What it says that it holds. Signed with the payload, but proven by [`verify`](Self::verify) alone.
    #[must_use]
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// What is in it, for somebody who is about to sign it: nothing is proven.
    #[must_use]
    pub fn unproven_payload(&self) -> &[u8] {
        &self.payload
    }

    /// Those of `keys` that signed the envelope, whatever its type.
    #[must_use]
    pub fn signers(&self, keys: &[VerifyingKey]) -> Vec<VerifyingKey> {
        let message = pre_authentication_encoding(&self.payload_type, &self.payload);
        let signed = |key: &&VerifyingKey| self.signatures.iter().any(|one| key.verifies(&message, &one.bytes));
        keys.iter().filter(signed).copied().collect()
    }
}

impl Signature {
    fn from_wire(wire: WireSignature) -> Result<Self, DsseError> {
        let malformed = |what: &str| DsseError::Malformed(what.to_owned());
        if wire.keyid.len() > 64 {
            return Err(malformed("a `keyid` is longer than 64 characters"));
        }
        let bytes = STANDARD.decode(&wire.sig).map_err(|_| malformed("a `sig` is not base64"))?;
        let bytes = bytes.try_into().map_err(|_| malformed("a `sig` is not the 64 bytes of an Ed25519 signature"))?;
        Ok(Self { key_id: wire.keyid, bytes })
    }

    fn to_wire(&self) -> WireSignature {
        WireSignature { keyid: self.key_id.clone(), sig: STANDARD.encode(self.bytes) }
    }
}

fn check_shape(payload_type: &str, signatures: usize) -> Result<(), DsseError> {
    if payload_type.is_empty() || payload_type.len() > TYPE_BYTES || !payload_type.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(DsseError::Malformed(format!("`payloadType` is not 1 to {TYPE_BYTES} plain characters")));
    }
    if !(1..=MOST_SIGNATURES).contains(&signatures) {
        return Err(DsseError::Malformed(format!("{signatures} signatures, outside 1 to {MOST_SIGNATURES}")));
    }
    Ok(())
}

/// PAE of the DSSE protocol: what is signed binds the type, and lengths leave no second reading.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests;
