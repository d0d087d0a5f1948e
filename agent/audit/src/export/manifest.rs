//! What an export of records says about itself, and what it takes to check that against the signed head.
//!
//! ```text
//! outpost audit manifest v1
//! signer <origin>                    `none` on an export from a copy, where the key is not
//! origin <origin>
//! format <jsonl|csv|ocsf|cef|syslog>
//! bytes <size of the file of records>
//! sha256 <its SHA-256, hexadecimal>
//! from <first index>
//! to <the index after the last>
//! root <root in the checkpoint, base64>
//! tool <name and version of the program>
//! count <type> <how many>            one a line, sorted by type
//! left <hash, base64>                roots of the subtrees that cover the records before, from left to right
//! right <hash, base64>               and those that cover the records after
//!
//! <signed checkpoint, as it is>
//!
//! — <origin> <signature>             a signed note over all of the above
//! ```
//!
//! The left hashes, the records and the right hashes lead to the root: no record of the range is missing or added.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Form;
use crate::checkpoint::decimal;
use crate::proof;

/// The name of the file.
pub(crate) const FILE: &str = "manifest";

/// The hashes of the records, 32 bytes each: they name the record that was changed, and prove nothing by themselves.
pub(crate) const HASHES: &str = "hashes";

/// The first line. Holds a space, as no name of a log can: nobody can take a signed manifest for a signed head.
const HEADING: &str = "outpost audit manifest v1";

/// Larger manifests are refused unread.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// What an export claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) is_signed: bool,
    pub(crate) origin: String,
    pub(crate) form: Form,
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) root: [u8; 32],
    pub(crate) tool: String,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) left: Vec<[u8; 32]>,
    pub(crate) right: Vec<[u8; 32]>,
    /// The signed note.
    pub(crate) checkpoint: String,
}

impl Manifest {
    /// The text that is signed.
    pub(crate) fn to_text(&self) -> String {
        let signer = if self.is_signed { self.origin.as_str() } else { "none" };
        let mut text = format!(
            "{HEADING}\nsigner {signer}\norigin {}\nformat {}\nbytes {}\nsha256 {}\nfrom {}\nto {}\nroot {}\ntool {}\n",
            self.origin,
            self.form.name(),
            self.bytes,
            hex::encode(self.sha256),
            self.from,
            self.to,
            BASE64.encode(self.root),
            self.tool,
        );
        let mut line = |name: &str, value: &str| writeln!(text, "{name} {value}").expect("a string takes all text");
        self.counts.iter().for_each(|(kind, count)| line("count", &format!("{kind} {count}")));
        self.left.iter().for_each(|hash| line("left", &BASE64.encode(hash)));
        self.right.iter().for_each(|hash| line("right", &BASE64.encode(hash)));
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Takes the text apart. What it says is a claim until it was checked.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or("no blank line parts the claims and the checkpoint")?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADING) {
            return Err(format!("its first line is not `{HEADING}`"));
        }
        let mut value = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or_else(|| format!("the line `{name}` is missing or out of place"))
        };
        let number = |name: &str, text: &str| decimal(text).ok_or_else(|| format!("`{name}` is not a number"));
        let (signer, origin) = (value("signer")?, value("origin")?);
        if signer != "none" && signer != origin {
            return Err("the signer is neither the log nor `none`".to_owned());
        }
        let form = value("format")?;
        let manifest = Self {
            is_signed: signer == origin,
            origin: origin.to_owned(),
            form: Form::from_name(form).ok_or_else(|| format!("`{form}` is not a format of records"))?,
            bytes: number("bytes", value("bytes")?)?,
            sha256: plain_hex(value("sha256")?).ok_or("`sha256` is not a hash")?,
            from: number("from", value("from")?)?,
            to: number("to", value("to")?)?,
            root: proof::hash(value("root")?).ok_or("`root` is not a hash")?,
            tool: value("tool")?.to_owned(),
            counts: BTreeMap::new(),
            left: Vec::new(),
            right: Vec::new(),
            checkpoint: checkpoint.to_owned(),
        };
        lines.try_fold(manifest, Self::with_line)
    }

    /// Takes one of the lines that may be there many times, in the order in which they are written.
    fn with_line(mut self, line: &str) -> Result<Self, String> {
        let malformed =
            || format!("the line `{}` is malformed or out of place", line.chars().take(80).collect::<String>());
        let (name, value) = line.split_once(' ').ok_or_else(malformed)?;
        match name {
            "count" if self.left.is_empty() && self.right.is_empty() => {
                let (kind, count) = value.rsplit_once(' ').ok_or_else(malformed)?;
                let count = decimal(count).ok_or_else(malformed)?;
                if self.counts.last_key_value().is_some_and(|(last, _)| last.as_str() >= kind) {
                    return Err(malformed());
                }
                self.counts.insert(kind.to_owned(), count);
            }
            "left" if self.right.is_empty() => self.left.push(proof::hash(value).ok_or_else(malformed)?),
            "right" => self.right.push(proof::hash(value).ok_or_else(malformed)?),
            _ => return Err(malformed()),
        }
        Ok(self)
    }
}

/// A hash in lower-case hexadecimal: one spelling only.
fn plain_hex(text: &str) -> Option<[u8; 32]> {
    let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    (hex::encode(bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifests() -> impl Strategy<Value = Manifest> {
        let hashes = || proptest::collection::vec(any::<[u8; 32]>(), 0..5);
        let counts = proptest::collection::btree_map("[a-z.]{1,12}", any::<u64>(), 0..5);
        (any::<bool>(), 0..Form::ALL.len(), any::<[u64; 3]>(), any::<[u8; 32]>(), counts, hashes(), hashes()).prop_map(
            |(is_signed, form, [bytes, from, to], sha256, counts, left, right)| Manifest {
                is_signed,
                origin: "audit.example/dev-1/1".to_owned(),
                form: Form::ALL[form],
                bytes,
                sha256,
                from,
                to,
                root: sha256,
                tool: "outpost 0.1.0".to_owned(),
                counts,
                left,
                right,
                checkpoint: "a\n1\nb\n\n— a c\n".to_owned(),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(manifest in manifests()) {
            prop_assert_eq!(Manifest::parse(&manifest.to_text()), Ok(manifest));
        }

        #[test]
        fn a_text_that_parses_is_the_one_that_would_be_written(manifest in manifests(), at in any::<prop::sample::Index>(), letter in "[a-z0-9 \n=]") {
            let mut text: Vec<char> = manifest.to_text().chars().collect();
            let at = at.index(text.len());
            text[at] = letter.chars().next().unwrap();
            let text: String = text.into_iter().collect();
            if let Ok(read) = Manifest::parse(&text) {
                prop_assert_eq!(read.to_text(), text);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in "(outpost audit manifest v1\n)?(signer none\norigin a\n)?(count |left |right |from |[0-9]|\n|.){0,60}") {
            let _ = Manifest::parse(&text);
        }
    }
}
