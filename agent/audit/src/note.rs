//! Signed notes: text, a blank line, signature lines. The form is c2sp.org/signed-note, Ed25519 (type 0x01) only.
//!
//! ```text
//! <text, ends in a newline>
//!
//! — <key name> <base64 of key id (4 bytes) and signature (64 bytes)>
//!
//! key id = SHA-256(key name ‖ 0x0A ‖ 0x01 ‖ public key)[..4]
//! verifier key = <key name>+<key id, hex>+<base64 of 0x01 ‖ public key>
//! ```

mod key;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

pub(crate) use self::key::is_key_name;
pub use self::key::{CosignerKey, NamedKey, VerifierKey};
use self::key::{ED25519_TYPE, key_id};

/// Larger notes are refused unread. 16 post-quantum signatures, which a verifier must accept, need about 80 KiB.
const MAX_NOTE_BYTES: usize = 256 * 1024;

/// More signatures are refused; the specification asks for at least 16.
const MAX_SIGNATURES: usize = 64;

/// What every signature line begins with: an em dash and a space.
pub(crate) const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a note is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The bytes are not a signed note.
    #[error("this is not a signed note: {0}")]
    Malformed(&'static str),
    /// No signature is by the key that was asked for.
    #[error("the note is not signed by `{0}`")]
    NotSignedBy(String),
    /// A signature claims to be by the key and is not.
    #[error("the signature of `{0}` does not match the note")]
    BadSignature(String),
    /// A verifier key that cannot be one.
    #[error("this is not a verifier key: {0}")]
    BadVerifierKey(&'static str),
}

/// A note that parsed. Its text means nothing until [`verify`](Self::verify) says so.
#[derive(Debug, Clone)]
pub struct Note {
    text: String,
    pub(crate) signatures: Vec<Signature>,
}

/// One signature line, unverified.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    pub(crate) name: String,
    pub(crate) id: [u8; 4],
    pub(crate) bytes: Vec<u8>,
}

impl Note {
    /// Takes a note apart.
    ///
    /// # Errors
    /// [`NoteError::Malformed`], with the rule that is broken.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed("it is too large"));
        }
        if note.chars().any(|letter| letter < ' ' && letter != '\n') {
            return Err(NoteError::Malformed("it holds a control character"));
        }
        // The text ends at the last blank line, and keeps its own newline.
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line parts text and signatures"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("the last line does not end"))?;
        let signatures = lines.split('\n').map(Signature::parse).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Malformed("it has too many signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, if `key` signed it. Signatures by other keys are ignored.
    ///
    /// # Errors
    /// If `key` did not sign, or a signature that claims to be by `key` is not.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        let mut signed = false;
        for signature in self.signatures.iter().filter(|signature| key.claims(signature)) {
            UnparsedPublicKey::new(&ED25519, key.public())
                .verify(self.text.as_bytes(), &signature.bytes)
                .map_err(|_| NoteError::BadSignature(key.name().to_owned()))?;
            signed = true;
        }
        if signed { Ok(&self.text) } else { Err(NoteError::NotSignedBy(key.name().to_owned())) }
    }

    /// The text, unverified: only to say what a note claims.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }
}

impl Signature {
    fn parse(line: &str) -> Result<Self, NoteError> {
        let rest =
            line.strip_prefix(SIGNATURE_PREFIX).ok_or(NoteError::Malformed("a signature line lacks its dash"))?;
        let (name, encoded) = rest.split_once(' ').ok_or(NoteError::Malformed("a signature line lacks a part"))?;
        if !is_key_name(name) {
            return Err(NoteError::Malformed("a key name is empty or holds a space or a `+`"));
        }
        let decoded = BASE64.decode(encoded).map_err(|_| NoteError::Malformed("a signature is not base64"))?;
        let (id, bytes) = decoded.split_first_chunk().ok_or(NoteError::Malformed("a signature is too short"))?;
        Ok(Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

/// Signs `text` (which ends in a newline) under `name`.
pub(crate) fn sign(text: &str, name: &str, key: &Ed25519KeyPair) -> String {
    debug_assert!(text.ends_with('\n') && is_key_name(name));
    let mut signature = key_id(name, ED25519_TYPE, key.public_key().as_ref()).to_vec();
    signature.extend_from_slice(key.sign(text.as_bytes()).as_ref());
    format!("{text}\n{SIGNATURE_PREFIX}{name} {}\n", BASE64.encode(signature))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // The example of Go's golang.org/x/mod/sumdb/note, whose form the specification describes.
    const SEED: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const TEXT: &str =
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn key() -> VerifierKey {
        KEY.parse().unwrap()
    }

    #[test]
    fn the_published_example_verifies() {
        assert_eq!(Note::parse(NOTE).unwrap().verify(&key()), Ok(TEXT));
    }

    #[test]
    fn our_signature_over_the_published_text_is_the_published_note() {
        let seed = BASE64.decode(SEED).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed[1..]).unwrap();
        assert_eq!(sign(TEXT, "PeterNeumann", &pair), NOTE);
        assert_eq!(key().to_string(), KEY);
    }

    #[test]
    fn the_example_of_the_specification_parses_with_its_inner_blank_line() {
        // c2sp.org/signed-note, first example.
        let note = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        let note = Note::parse(note).unwrap();
        assert!(note.unverified_text().ends_with("sole:\n\ned è subito sera.\n"));
        assert_eq!(note.verify(&key()), Err(NoteError::NotSignedBy("PeterNeumann".into())));
    }

    #[test]
    fn signatures_by_strangers_are_ignored_and_by_impostors_refused() {
        let stranger = NOTE.to_owned() + "— stranger AAAAAAAA\n";
        assert_eq!(Note::parse(&stranger).unwrap().verify(&key()), Ok(TEXT));
        let impostor = NOTE.to_owned() + "— PeterNeumann x08gowAAAAA=\n";
        assert_eq!(Note::parse(&impostor).unwrap().verify(&key()), Err(NoteError::BadSignature("PeterNeumann".into())));
    }

    #[test]
    fn malformed_notes_and_keys_are_refused() {
        for note in [
            "",
            "\n",
            "text\n",
            "text\n\n",
            "text\n\n— a\n",
            "text\n\n— a b\n",
            "text\n\n- a AAAAAAAA\n",
            "t\r\n\n— a AAAAAAAA\n",
        ] {
            assert!(matches!(Note::parse(note), Err(NoteError::Malformed(_))), "{note:?}");
        }
        for key in
            ["", "a+b", "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "a b+00000000+AQ=="]
        {
            assert!(key.parse::<VerifierKey>().is_err(), "{key:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn arbitrary_text_never_panics(text in "(.|\n|— ){0,80}") {
            let _ = Note::parse(&text);
            let _ = text.parse::<VerifierKey>();
        }

        #[test]
        fn no_changed_byte_of_a_note_verifies(position in 0..NOTE.len(), bit in 0_u8..7) {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[position] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                let believed = Note::parse(&text).ok().and_then(|note| note.verify(&key()).map(str::to_owned).ok());
                prop_assert_eq!(believed, None);
            }
        }
    }
}
