//! Request ids: one in the response header, the log and the audit record. Always our own: a caller's could deceive.

use std::fmt;

/// Crockford's base 32: no letter that reads as another.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 48 bits of time and 80 bits of chance; sorts by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// A fresh id for a request at `now_s`.
    pub(crate) fn fresh(now_s: i64) -> Self {
        let mut random = [0_u8; 16];
        // Without randomness the id is only less unique; the request itself does not depend on it.
        let _ = getrandom::fill(&mut random[6..]);
        let milliseconds = u64::try_from(now_s).unwrap_or(0).saturating_mul(1000) & ((1 << 48) - 1);
        let mut number = u128::from(milliseconds) << 80 | u128::from_be_bytes(random);
        let mut letters = [0_u8; 26];
        for letter in letters.iter_mut().rev() {
            *letter = LETTERS[(number & 31) as usize];
            number >>= 5;
        }
        Self(letters.iter().map(|&letter| char::from(letter)).collect())
    }

    /// The id of one of several answers to the same request: the first has the request's own.
    pub(crate) fn of_choice(&self, index: usize) -> Self {
        if index == 0 { self.clone() } else { Self(format!("{}-{index}", self.0)) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_sort_by_time() {
        let (early, late) = (RequestId::fresh(1_000), RequestId::fresh(2_000));
        assert!(early.as_str() < late.as_str());
        assert_ne!(RequestId::fresh(1_000), early);
        assert_eq!(RequestId::fresh(i64::MIN).as_str().len(), 26);
    }
}
