//! Cosignatures of c2sp.org/tlog-cosignature, Ed25519 (type 0x04): when a witness saw which head of a log.
//!
//! ```text
//! — <witness> <base64 of key id (4 bytes), time (8 bytes, big endian, seconds since 1970) and signature (64 bytes)>
//!
//! signed text = cosignature/v1
//!               time <seconds since 1970>
//!               <text of the checkpoint, extension lines included>
//! ```
//!
//! It says: at that time this was the largest tree that the witness had seen of this log, and it began with every
//! tree that the witness had seen before.

mod cosigned;

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use outpost_disk::Secret;

pub(crate) use self::cosigned::without_strangers;
pub use self::cosigned::{Cosignature, Cosigned, signed_by_log};
pub use crate::note::CosignerKey;
use crate::note::{Note, NoteError, SIGNATURE_PREFIX};
use crate::{AuditError, CheckpointKey};

/// Times beyond this are refused, as the specification wants it.
const MAX_TIME_S: u64 = (1 << 63) - 1;

impl CosignerKey {
    /// When this witness cosigned the note, in seconds since 1970: the earliest of its times, if it cosigned twice.
    /// Signatures by other keys are ignored.
    ///
    /// # Errors
    /// If the witness did not cosign, or a line that claims to be by it is not.
    pub fn verify(&self, note: &Note) -> Result<u64, NoteError> {
        let mut earliest: Option<u64> = None;
        for signature in note.signatures.iter().filter(|signature| self.claims(signature)) {
            let time_s = self
                .time_if_valid(note.unverified_text(), &signature.bytes)
                .ok_or_else(|| NoteError::BadSignature(self.name().to_owned()))?;
            earliest = Some(earliest.map_or(time_s, |earlier| earlier.min(time_s)));
        }
        earliest.ok_or_else(|| NoteError::NotSignedBy(self.name().to_owned()))
    }

    fn time_if_valid(&self, text: &str, bytes: &[u8]) -> Option<u64> {
        let (time, signature) = bytes.split_first_chunk()?;
        let time_s = u64::from_be_bytes(*time);
        let key = UnparsedPublicKey::new(&ED25519, self.public());
        key.verify(signed_text(text, time_s).as_bytes(), signature).ok()?;
        (time_s <= MAX_TIME_S).then_some(time_s)
    }
}

/// The private key of a witness. A mirror needs another one: what a cosignature promises depends on its key alone.
pub struct WitnessKey {
    public: CosignerKey,
    pair: Ed25519KeyPair,
}

impl WitnessKey {
    /// The key in these PKCS#8 bytes, as [`CheckpointKey::generate`] makes them, under the name of a witness.
    ///
    /// # Errors
    /// If they are not an Ed25519 key, or a witness cannot have this name.
    pub fn from_pkcs8(name: &str, bytes: &[u8]) -> Result<Self, AuditError> {
        Self::new(name, Ed25519KeyPair::from_pkcs8(bytes).map_err(|cause| bad_key(&cause.to_string()))?)
    }

    fn new(name: &str, pair: Ed25519KeyPair) -> Result<Self, AuditError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| bad_key("the public key has an odd size"))?;
        let public = CosignerKey::new(name, public)
            .map_err(|_| bad_key(&format!("`{name}` cannot name a witness: no spaces, no `+`, not empty")))?;
        Ok(Self { public, pair })
    }

    /// The key in this file, made on first use (mode 0600).
    ///
    /// # Errors
    /// If the file cannot be read or written, may be read by others, or holds no key.
    pub fn read_or_create(name: &str, path: impl AsRef<Path>) -> Result<Self, AuditError> {
        match Secret::read(&path) {
            Ok(pkcs8) => Self::from_pkcs8(name, pkcs8.expose()),
            Err(error) if error.is_not_found() => {
                let pkcs8 = CheckpointKey::generate()?;
                pkcs8.write(path)?;
                Self::from_pkcs8(name, pkcs8.expose())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The public half, with the witness's name.
    #[must_use]
    pub fn cosigner_key(&self) -> &CosignerKey {
        &self.public
    }

    /// The signature line, with its newline, over the text of a checkpoint. The caller has checked that the tree
    /// begins with every tree of this log that was cosigned before, and has stored it: see
    /// [`Witness`](crate::witness::Witness).
    #[must_use]
    pub fn cosign(&self, text: &str, time_s: u64) -> String {
        debug_assert!(text.ends_with('\n') && time_s <= MAX_TIME_S);
        let mut bytes = self.public.id().to_vec();
        bytes.extend_from_slice(&time_s.to_be_bytes());
        bytes.extend_from_slice(self.pair.sign(signed_text(text, time_s).as_bytes()).as_ref());
        format!("{SIGNATURE_PREFIX}{} {}\n", self.public.name(), BASE64.encode(bytes))
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WitnessKey({}, …)", self.public.name())
    }
}

fn signed_text(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

fn bad_key(cause: &str) -> AuditError {
    AuditError::BadKey { cause: cause.to_owned() }
}

#[cfg(test)]
mod tests;
