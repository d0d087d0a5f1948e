//! How long a hub is waited for and how often it is asked again.
//!
//! ```text
//! 429, 500, 502, 503, 504, no connection ─► wait (what `Retry-After` or `RateLimit` say, else 0.5, 1, 2 … s) ─► ask again
//! cut, reset, too slow                   ─► wait likewise ─► go on from the byte where it stopped
//! ```
//!
//! Tries are counted until something new arrives. A hub that asks for a longer wait than anybody would sit through is not waited
//! for: whoever asked is told when to come back.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Times to wait and to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often the same thing is tried in all.
    pub tries: u32,
    /// The first wait; each next one is twice as long.
    pub first_wait: Duration,
    /// The longest wait, whoever asks for it.
    pub longest_wait: Duration,
    /// Time for a connection.
    pub connect: Duration,
    /// The longest time in which nothing arrives, and the time in which `least_bytes` must.
    pub silence: Duration,
    /// What arrives in less than that is too slow to be waited for.
    pub least_bytes: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 4,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            connect: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            least_bytes: 64 * 1024,
        }
    }
}

impl Patience {
    /// How long to wait after so many tries that failed; `asked` is what the hub says. `None`: not at all any more.
    pub(crate) fn wait(&self, failed: u32, asked: Option<Duration>) -> Option<Duration> {
        if failed >= self.tries {
            return None;
        }
        match asked {
            Some(asked) => Some(asked).filter(|asked| *asked <= self.longest_wait),
            None => {
                let doubled =
                    self.first_wait.saturating_mul(1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
                Some(doubled.min(self.longest_wait).mul_f64(1.0 + jitter() / 4.0).min(self.longest_wait))
            }
        }
    }
}

/// From 0 to 1: boxes that lost the same hub do not come back at the same moment. Without randomness they do.
fn jitter() -> f64 {
    let mut byte = [0];
    getrandom::fill(&mut byte).map_or(0.0, |()| f64::from(byte[0]) / 256.0)
}

/// How long the hub asks to be left alone: `Retry-After` in seconds or as a date, or `t=` of `RateLimit`. Dates are held
/// against the hub's own, if it says one: the clock of this box may be years off.
pub(crate) fn asked(headers: &HeaderMap, now_s: i64) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(said) = text(RETRY_AFTER.as_str()) {
        if let Ok(seconds) = said.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let now_s = text(DATE.as_str()).and_then(date_s).unwrap_or(now_s);
        // A date that is past asks for nothing.
        return Some(Duration::from_secs(u64::try_from(date_s(said)?.saturating_sub(now_s)).unwrap_or(0)));
    }
    let limit = text("ratelimit").filter(|limit| limit.contains("r=0"))?;
    let seconds = limit.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok())?;
    Some(Duration::from_secs(seconds))
}

fn date_s(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
        headers
    }

    #[test]
    fn a_hub_asks_in_seconds_as_a_date_or_by_its_limit() {
        let now_s = 1_795_769_377; // 2026-11-27T08:49:37Z
        let seconds = |name, value: &str| asked(&headers(name, value), now_s).map(|wait| wait.as_secs());
        assert_eq!(seconds("retry-after", "7"), Some(7));
        assert_eq!(seconds("retry-after", "Fri, 27 Nov 2026 08:50:00 GMT"), Some(23));
        assert_eq!(seconds("retry-after", "Fri, 27 Nov 2026 08:00:00 GMT"), Some(0), "it is past");
        assert_eq!(seconds("retry-after", "soon"), None);
        let mut dated = headers("retry-after", "Fri, 27 Nov 2026 08:50:00 GMT");
        dated.insert("date", "Fri, 27 Nov 2026 08:49:55 GMT".parse().unwrap());
        assert_eq!(asked(&dated, 0), Some(Duration::from_secs(5)), "this box believes that it is 1970");
        assert_eq!(seconds("ratelimit", "\"resolvers\";r=0;t=41"), Some(41));
        assert_eq!(seconds("ratelimit", "\"resolvers\";r=12;t=41"), None, "something is left");
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_tries() {
        let patience = Patience { tries: 12, longest_wait: Duration::from_secs(8), ..Patience::default() };
        let waits: Vec<_> = (1..14).map_while(|failed| patience.wait(failed, None)).collect();
        assert_eq!(waits.len(), 11);
        assert!(waits.iter().all(|wait| *wait <= patience.longest_wait));
        assert!(waits[0] >= Duration::from_millis(500) && waits[0] < Duration::from_millis(630), "{waits:?}");
        assert_eq!(waits[10], patience.longest_wait);
        assert_eq!(patience.wait(1, Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert_eq!(patience.wait(1, Some(Duration::from_secs(9))), None, "nobody sits through that");
    }

    proptest! {
        #[test]
        fn whatever_a_hub_asks_for_no_wait_is_longer_than_the_longest(said in "\\PC{0,60}", limit in "[rt=0-9;]{0,30}", failed in 0..u32::MAX) {
            let patience = Patience::default();
            for headers in [headers("retry-after", &said), headers("ratelimit", &limit)] {
                let wait = patience.wait(failed, asked(&headers, 0));
                prop_assert!(wait.is_none_or(|wait| wait <= patience.longest_wait));
            }
        }
    }
}
