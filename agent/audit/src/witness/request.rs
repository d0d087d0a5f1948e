//! The request body of `add-checkpoint`, c2sp.org/tlog-witness.
//!
//! ```text
//! old <size that the witness cosigned last>
//! <hash of the consistency proof, base64>          0–63 of them
//!
//! <checkpoint: a signed note>
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::checkpoint::decimal;
use crate::consistency::MAX_PROOF_HASHES;

/// Larger bodies are refused unread: a note at its own limit and 63 hashes.
pub const MAX_REQUEST_BYTES: usize = 260 * 1024;

/// What a log sends to a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the tree that the witness cosigned last, as far as the log knows.
    pub old: u64,
    /// That the tree in the checkpoint begins with that one.
    pub proof: Vec<[u8; 32]>,
    /// The signed note; not looked at yet.
    pub checkpoint: String,
}

/// The rule that a body breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an add-checkpoint request: {0}")]
pub struct BadRequest(pub(crate) &'static str);

impl AddCheckpoint {
    /// Takes a body apart.
    ///
    /// # Errors
    /// With the rule that is broken.
    pub fn parse(body: &[u8]) -> Result<Self, BadRequest> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(BadRequest("it is too large"));
        }
        let body = std::str::from_utf8(body).map_err(|_| BadRequest("it is not UTF-8"))?;
        let (head, checkpoint) =
            body.split_once("\n\n").ok_or(BadRequest("no blank line parts proof and checkpoint"))?;
        let mut lines = head.split('\n');
        let old = lines
            .next()
            .and_then(|line| decimal(line.strip_prefix("old ")?))
            .ok_or(BadRequest("the first line is not `old` and a size"))?;
        let proof = lines
            .map(|line| BASE64.decode(line).ok()?.try_into().ok())
            .collect::<Option<Vec<_>>>()
            .ok_or(BadRequest("a line of the proof is not a hash"))?;
        if proof.len() > MAX_PROOF_HASHES {
            return Err(BadRequest("the proof has more than 63 hashes"));
        }
        Ok(Self { old, proof, checkpoint: checkpoint.to_owned() })
    }

    /// The body.
    #[must_use]
    pub fn to_body(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| BASE64.encode(hash) + "\n").collect();
        format!("old {}\n{proof}\n{}", self.old, self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of c2sp.org/tlog-witness.
    const EXAMPLE: &str = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";

    #[test]
    fn the_example_of_the_specification_reads_and_writes_back() {
        let request = AddCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((request.old, request.proof.len()), (20_852_014, 4));
        assert!(request.checkpoint.starts_with("example.com/behind-the-sofa\n20852163\n"));
        assert_eq!(request.to_body(), EXAMPLE);
    }

    #[test]
    fn a_first_request_has_no_proof_and_sixty_three_hashes_are_the_most() {
        let body = |hashes: usize| format!("old 0\n{}\nnote", (BASE64.encode([7; 32]) + "\n").repeat(hashes));
        assert_eq!(AddCheckpoint::parse(body(0).as_bytes()).unwrap().proof, Vec::<[u8; 32]>::new());
        assert_eq!(AddCheckpoint::parse(body(63).as_bytes()).unwrap().proof.len(), 63);
        assert!(AddCheckpoint::parse(body(64).as_bytes()).is_err());
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for body in [
            "",
            "\n\n",
            "old 1\nnote",
            "old 01\n\nnote",
            "old -1\n\nnote",
            "old +1\n\nnote",
            "old  1\n\nnote",
            "old 18446744073709551616\n\nnote",
            "Old 1\n\nnote",
            "old 1\r\n\r\nnote",
            "old 1\nAAAA\n\nnote",
            "\nold 1\n\nnote",
        ] {
            assert!(AddCheckpoint::parse(body.as_bytes()).is_err(), "{body:?}");
        }
        assert!(AddCheckpoint::parse(b"old 1\n\n\xff").is_err());
        assert!(AddCheckpoint::parse(&vec![b'a'; MAX_REQUEST_BYTES + 1]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn any_bytes_are_a_request_or_an_error(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "(old |[0-9]{1,3}|\n|\n\n|AAAA|=|— ){0,12}".prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(request) = AddCheckpoint::parse(&bytes) {
                prop_assert_eq!(request.to_body().into_bytes(), bytes);
            }
        }

        #[test]
        fn what_is_written_reads_back(
            old in any::<u64>(), proof in proptest::collection::vec(any::<[u8; 32]>(), 0..=63), checkpoint in "(.|\n){0,60}",
        ) {
            let request = AddCheckpoint { old, proof, checkpoint };
            prop_assert_eq!(AddCheckpoint::parse(request.to_body().as_bytes()), Ok(request));
        }
    }
}
