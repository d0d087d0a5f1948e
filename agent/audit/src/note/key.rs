//! A public key with its name, as one line: `<name>+<key id, hex>+<base64 of type ‖ public key>`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{NoteError, Signature};

/// The identifier byte of Ed25519 in the specification's list of signature types.
pub(super) const ED25519_TYPE: u8 = 0x01;

/// The identifier byte of Ed25519 cosignatures.
const COSIGNATURE_TYPE: u8 = 0x04;

/// An Ed25519 public key for signatures of the type that has this identifier byte, under a name.
///
/// A key of one type never stands for one of another: the type is part of its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey<const TYPE: u8> {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

/// A key that whole notes are signed with: the one of a log.
pub type VerifierKey = NamedKey<ED25519_TYPE>;

/// A key that checkpoints are cosigned with: the one of a witness or a mirror.
pub type CosignerKey = NamedKey<COSIGNATURE_TYPE>;

impl<const TYPE: u8> NamedKey<TYPE> {
    /// Names a public key.
    ///
    /// # Errors
    /// If the name cannot be a key name.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::BadVerifierKey("the name is empty or holds a space or a `+`"));
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, TYPE, &public), public })
    }

    /// The key's name; for a log, its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the Ed25519 public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The id that signature lines of this key carry.
    pub(crate) fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether a signature line says that it is by this key.
    pub(crate) fn claims(&self, signature: &Signature) -> bool {
        signature.name == self.name && signature.id == self.id
    }
}

impl<const TYPE: u8> fmt::Display for NamedKey<TYPE> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![TYPE];
        typed.extend_from_slice(&self.public);
        write!(formatter, "{}+{}+{}", self.name, hex::encode(self.id), BASE64.encode(typed))
    }
}

impl<const TYPE: u8> FromStr for NamedKey<TYPE> {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim_end_matches('\n').splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::BadVerifierKey("it must be `name+id+key`"));
        };
        let typed = BASE64.decode(key).map_err(|_| NoteError::BadVerifierKey("the key is not base64"))?;
        let public = match typed.split_first() {
            Some((kind, public)) if *kind == TYPE => public,
            _ if TYPE == COSIGNATURE_TYPE => {
                return Err(NoteError::BadVerifierKey("the key is not of type Ed25519 cosignature (4)"));
            }
            _ => return Err(NoteError::BadVerifierKey("the key is not of type Ed25519 (1)")),
        };
        let public = public.try_into().map_err(|_| NoteError::BadVerifierKey("an Ed25519 key has 32 bytes"))?;
        let key = Self::new(name, public)?;
        if hex::encode(key.id) != id {
            return Err(NoteError::BadVerifierKey("the id does not belong to the name and the key"));
        }
        Ok(key)
    }
}

/// Whether a key, and therefore the origin of a log, can have this name.
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|letter| letter.is_whitespace() || letter.is_control() || letter == '+')
}

/// Names a key of one signature type, whose identifier byte is `kind`.
pub(super) fn key_id(name: &str, kind: u8, public: &[u8]) -> [u8; 4] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', kind]);
    context.update(public);
    *context.finish().as_ref().first_chunk().expect("SHA-256 has more than four bytes")
}
