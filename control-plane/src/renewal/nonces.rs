//! Numbers that are good once and for minutes, without a memory of those that were given out.
//!
//! `expiry (8 bytes) ‖ random (16) ‖ HMAC-SHA-256 of both, by a key of this process, or of all that share a database (32)`, in hexadecimal. Only what was
//! spent is remembered, until it would have expired anyway.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;

use crate::tokens;

/// How long a number is good, seconds.
const GOOD_S: i64 = 5 * 60;

/// Spent numbers that are remembered; with more in five minutes than this, devices wait.
const SPENT: usize = 10_000;

const BODY_BYTES: usize = 8 + 16;
const BYTES: usize = BODY_BYTES + 32;

/// Makes and judges the numbers.
pub(crate) struct Nonces {
    key: hmac::Key,
    /// Begins with the expiry, so that the oldest come first.
    spent: Mutex<BTreeSet<[u8; BODY_BYTES]>>,
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Nonces").finish_non_exhaustive()
    }
}

impl Nonces {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &tokens::random::<32>()?);
        Ok(Self { key, spent: Mutex::default() })
    }

    /// By a key that several servers have: each takes the others' numbers, and knows only of those that were spent with itself.
    pub(crate) fn shared(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), spent: Mutex::default() }
    }

    /// A new number.
    pub(crate) fn make(&self, now_s: i64) -> Result<String, getrandom::Error> {
        let mut nonce = (now_s + GOOD_S).to_be_bytes().to_vec();
        nonce.extend_from_slice(&tokens::random::<16>()?);
        nonce.extend_from_slice(hmac::sign(&self.key, &nonce).as_ref());
        Ok(hex::encode(nonce))
    }

    /// True if it was made here, is not too old and not spent.
    pub(crate) fn is_good(&self, nonce: &str, now_s: i64) -> bool {
        let body = self.body(nonce, now_s);
        body.is_some_and(|body| !self.spent.lock().unwrap_or_else(PoisonError::into_inner).contains(&body))
    }

    /// Spends it; false if it is not good, or too many were spent of late.
    pub(crate) fn spend(&self, nonce: &str, now_s: i64) -> bool {
        let Some(body) = self.body(nonce, now_s) else { return false };
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        while spent.first().is_some_and(|oldest| expiry_s(oldest) <= now_s) {
            spent.pop_first();
        }
        spent.len() < SPENT && spent.insert(body)
    }

    /// What stands in a number of ours that has not expired.
    fn body(&self, nonce: &str, now_s: i64) -> Option<[u8; BODY_BYTES]> {
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(nonce, &mut bytes).ok()?;
        let (body, tag) = bytes.split_first_chunk::<BODY_BYTES>()?;
        hmac::verify(&self.key, body, tag).ok()?;
        (now_s < expiry_s(body)).then_some(*body)
    }
}

fn expiry_s(body: &[u8; BODY_BYTES]) -> i64 {
    body.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_nonce_is_good_once_for_minutes_and_here_only() {
        let (ours, theirs) = (Nonces::new().unwrap(), Nonces::new().unwrap());
        let nonce = ours.make(1000).unwrap();
        assert!(ours.is_good(&nonce, 1000) && !theirs.is_good(&nonce, 1000));
        assert!(!ours.is_good(&nonce, 1000 + GOOD_S));
        assert!(ours.spend(&nonce, 1001) && !ours.is_good(&nonce, 1001) && !ours.spend(&nonce, 1001));
        let later = ours.make(1000 + GOOD_S).unwrap();
        assert!(ours.spend(&later, 1000 + GOOD_S));
        assert_eq!(ours.spent.lock().unwrap().len(), 1, "what would have expired is forgotten");
    }

    proptest! {
        #[test]
        fn nothing_that_was_not_made_here_is_good(text in "[0-9a-f]{0,120}") {
            prop_assert!(!Nonces::new().unwrap().is_good(&text, 0));
        }
    }
}
