//! A proof that one record is in the log, in the text form of c2sp.org/tlog-proof.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index <number>
//! <sibling hash, base64>            one a line, from the record's sibling to the root's child
//!
//! <signed checkpoint, as it is>
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::checkpoint::decimal;

/// What the first line must be.
pub(crate) const HEADING: &str = "c2sp.org/tlog-proof@v1";

/// Larger proofs are refused unread: 63 hashes and the largest note.
pub(crate) const MAX_BYTES: usize = 512 * 1024;

/// No tree is higher.
const MAX_HASHES: usize = 63;

/// An inclusion proof, as written; believed only after it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) index: u64,
    pub(crate) path: Vec<[u8; 32]>,
    /// The signed note.
    pub(crate) checkpoint: String,
}

impl Proof {
    pub(crate) fn to_text(&self) -> String {
        let path: String = self.path.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
        format!("{HEADING}\nindex {}\n{path}\n{}", self.index, self.checkpoint)
    }

    /// Takes a proof apart; an `extra` line is allowed and ignored, since nothing vouches for it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix(HEADING).and_then(|rest| rest.strip_prefix('\n'));
        let rest = rest.ok_or_else(|| format!("its first line is not `{HEADING}`"))?;
        let (head, checkpoint) = rest.split_once("\n\n").ok_or("no blank line parts hashes and checkpoint")?;
        let mut lines = head.split('\n').peekable();
        if let Some(line) = lines.next_if(|line| line.starts_with("extra ")) {
            BASE64.decode(&line["extra ".len()..]).map_err(|_| "the extra data is not base64")?;
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or("its second line is not `index` and a number")?;
        let path = lines.map(hash).collect::<Option<Vec<_>>>().ok_or("a hash is not 32 bytes in base64")?;
        if path.len() > MAX_HASHES {
            return Err(format!("it has {} hashes; no tree has more than {MAX_HASHES}", path.len()));
        }
        Ok(Self { index, path, checkpoint: checkpoint.to_owned() })
    }
}

/// A SHA-256 hash in base64.
pub(crate) fn hash(line: &str) -> Option<[u8; 32]> {
    BASE64.decode(line).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification, with whole signatures.
    const EXAMPLE: &str = "c2sp.org/tlog-proof@v1\nextra YWdlLXYxLjIuMS1kYXJ3aW4=\nindex 73894\n\
        gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\nB95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\n\
        example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\n\u{2014} example.com/fancylog AAAAAAAA\n";

    #[test]
    fn the_example_of_the_specification_parses() {
        let proof = Proof::parse(EXAMPLE).unwrap();
        assert_eq!((proof.index, proof.path.len()), (73_894, 2));
        assert!(proof.checkpoint.starts_with("example.com/fancylog\n109482\n"));
        let without_extra = proof.to_text();
        assert_eq!(Proof::parse(&without_extra).unwrap(), proof);
        assert_eq!(EXAMPLE.replace("extra YWdlLXYxLjIuMS1kYXJ3aW4=\n", ""), without_extra);
    }

    #[test]
    fn malformed_proofs_are_refused_with_the_rule() {
        for (from, to) in [
            ("@v1", "@v2"),
            ("index 73894", "index 073894"),
            ("index 73894", "index +1"),
            ("index 73894\n", ""),
            ("gSKy", "!SKy"),
            ("gSKy", "gSKyAAAA"),
            ("extra Y", "extra !"),
            ("XmA=\n\n", "XmA=\n"),
        ] {
            let text = EXAMPLE.replacen(from, to, 1);
            // The blank line before the signatures is then taken for the one after the hashes.
            assert!(Proof::parse(&text).is_err(), "{from} {to}");
        }
        assert!(Proof::parse(&EXAMPLE.replace("\n\ne", &format!("\n{}\ne", "AA\n".repeat(70)))).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(c2sp.org/tlog-proof@v1\n)?(extra |index [0-9]{1,30}|\n|.|gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n){0,40}") {
            let _ = Proof::parse(&text);
        }

        #[test]
        fn what_is_written_reads_back(index: u64, path in proptest::collection::vec(any::<[u8; 32]>(), 0..=63)) {
            let proof = Proof { index, path, checkpoint: "a\n1\nb\n\n— a c\n".to_owned() };
            prop_assert_eq!(Proof::parse(&proof.to_text()), Ok(proof));
        }
    }
}
