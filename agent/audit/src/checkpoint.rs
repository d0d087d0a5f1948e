//! Tree heads in the form of c2sp.org/tlog-checkpoint, and the key that signs them.
//!
//! ```text
//! <origin>
//! <number of records>
//! <root hash, base64>
//!
//! — <origin> <signature>
//! ```

use std::fmt;
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use outpost_disk::Secret;

use crate::note::{self, Note, NoteError};
use crate::{AuditError, VerifierKey};

/// What a log was at one moment: its name, how many records, and the hash over them all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Records in it.
    pub size: u64,
    /// Root of the RFC 6962 tree over them.
    pub root: [u8; 32],
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// Reads the text of a note. Extension lines are allowed and ignored.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] with the line that is wrong.
    pub fn parse_text(text: &str) -> Result<Self, NoteError> {
        let mut lines =
            text.strip_suffix('\n').ok_or(NoteError::Malformed("the text does not end in a newline"))?.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty()).ok_or(NoteError::Malformed("no origin"))?;
        let size = lines.next().and_then(decimal).ok_or(NoteError::Malformed("the size is not a number"))?;
        let root = lines
            .next()
            .and_then(|line| BASE64.decode(line).ok()?.try_into().ok())
            .ok_or(NoteError::Malformed("the root is not a hash"))?;
        if lines.any(str::is_empty) {
            return Err(NoteError::Malformed("an extension line is empty"));
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }

    /// Reads a signed note, believing it only if `key` signed it and it speaks of `key`'s log.
    ///
    /// # Errors
    /// If the note is malformed, not signed by `key`, or of another log.
    pub fn verify(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let note = Note::parse(note)?;
        let checkpoint = Self::parse_text(note.verify(key)?)?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Malformed("the origin is not the name of the log"));
        }
        Ok(checkpoint)
    }
}

/// Decimal without sign and leading zeroes, as the specification wants it.
pub(crate) fn decimal(line: &str) -> Option<u64> {
    let plain = line.bytes().all(|byte| byte.is_ascii_digit()) && (line == "0" || !line.starts_with('0'));
    plain.then(|| line.parse().ok())?
}

/// The private key that signs the heads of one device's log. Never leaves the device.
pub struct CheckpointKey(Ed25519KeyPair);

impl CheckpointKey {
    /// A fresh Ed25519 key in PKCS#8 form, to be kept in a file for the owner only.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn generate() -> Result<Secret, AuditError> {
        let key = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8());
        key.map(|pkcs8| Secret::new(pkcs8.as_ref())).map_err(|_| bad_key("a new key could not be made"))
    }

    /// The key in these PKCS#8 bytes.
    ///
    /// # Errors
    /// If they are not an Ed25519 key.
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, AuditError> {
        Ed25519KeyPair::from_pkcs8(bytes).map(Self).map_err(|cause| bad_key(&cause.to_string()))
    }

    /// The key in this file, made on first use (mode 0600).
    ///
    /// # Errors
    /// If the file cannot be read or written, may be read by others, or holds no key.
    pub fn read_or_create(path: impl AsRef<Path>) -> Result<Self, AuditError> {
        match Secret::read(&path) {
            Ok(pkcs8) => Self::from_pkcs8(pkcs8.expose()),
            Err(error) if error.is_not_found() => {
                let pkcs8 = Self::generate()?;
                pkcs8.write(path)?;
                Self::from_pkcs8(pkcs8.expose())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The public half under the name of a log.
    ///
    /// # Errors
    /// [`AuditError::BadOrigin`] if a log cannot have this name.
    pub fn verifier_key(&self, origin: &str) -> Result<VerifierKey, AuditError> {
        let public = self.0.public_key().as_ref().try_into().map_err(|_| bad_key("the public key has an odd size"))?;
        VerifierKey::new(origin, public).map_err(|_| AuditError::BadOrigin { origin: origin.to_owned() })
    }

    /// Signs a head. The caller keeps the promise never to sign two that contradict each other.
    pub(crate) fn sign(&self, checkpoint: &Checkpoint) -> String {
        self.sign_text(&checkpoint.to_text(), &checkpoint.origin)
    }

    /// Signs a text that nobody can take for a head: its first line is not the name of a log.
    pub(crate) fn sign_text(&self, text: &str, origin: &str) -> String {
        note::sign(text, origin, &self.0)
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CheckpointKey(…)")
    }
}

fn bad_key(cause: &str) -> AuditError {
    AuditError::BadKey { cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of c2sp.org/tlog-checkpoint.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn key() -> CheckpointKey {
        CheckpointKey::from_pkcs8(CheckpointKey::generate().unwrap().expose()).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_reads_and_writes_back() {
        let checkpoint = Checkpoint::parse_text(EXAMPLE).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_text(), EXAMPLE);
    }

    #[test]
    fn a_signed_checkpoint_verifies_with_its_own_key_only() {
        let (ours, other) = (key(), key());
        let checkpoint = Checkpoint { origin: "audit.example/dev-1/1".into(), size: 3, root: [7; 32] };
        let note = ours.sign(&checkpoint);
        assert_eq!(Checkpoint::verify(&note, &ours.verifier_key(&checkpoint.origin).unwrap()), Ok(checkpoint.clone()));
        assert!(Checkpoint::verify(&note, &other.verifier_key(&checkpoint.origin).unwrap()).is_err());
        assert!(Checkpoint::verify(&note, &ours.verifier_key("audit.example/dev-2/1").unwrap()).is_err());
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            "",
            "a\n",
            "a\n1\n",
            "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n+1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n1\nAAAA\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
        ] {
            assert!(Checkpoint::parse_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.key");
        let first = CheckpointKey::read_or_create(&path).unwrap().verifier_key("a").unwrap();
        assert_eq!(CheckpointKey::read_or_create(&path).unwrap().verifier_key("a").unwrap(), first);
        assert!(CheckpointKey::from_pkcs8(b"no key").is_err());
    }

    #[test]
    fn origins_that_would_break_a_line_are_refused() {
        for origin in ["", "a b", "a+b", "a\nb"] {
            assert!(matches!(key().verifier_key(origin), Err(AuditError::BadOrigin { .. })), "{origin:?}");
        }
    }
}
