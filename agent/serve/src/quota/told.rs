//! `x-ratelimit-*` on answers, as OpenAI's clients read them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::{HeaderMap, HeaderName};

use super::Standing;

/// How a caller stands, told to its answer by whoever took from its limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Arc<OnceLock<Standing>>);

impl Told {
    /// Tells it; the first word counts.
    pub(crate) fn tell(&self, standing: Standing) {
        let _ = self.0.set(standing);
    }

    /// Writes it on an answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Some(standing) = self.0.get() else { return };
        for (names, told) in [(&REQUESTS, standing.requests), (&TOKENS, standing.tokens)] {
            let Some((limit, remaining, reset_ms)) = told else { continue };
            let values = [limit.to_string(), remaining.to_string(), span(reset_ms)];
            for (name, value) in names.iter().zip(values) {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
        }
    }
}

const REQUESTS: [&str; 3] =
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
const TOKENS: [&str; 3] = ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"];

/// A time as OpenAI writes it: `20ms`, `1s`, `6m0s`, `2h3m4s`.
fn span(milliseconds: u64) -> String {
    let time = Duration::from_millis(milliseconds);
    let (hours, minutes, seconds) = (time.as_secs() / 3600, time.as_secs() / 60 % 60, time.as_secs() % 60);
    match (hours, minutes) {
        (0, 0) if time < Duration::from_secs(1) => format!("{milliseconds}ms"),
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_is_told_in_openais_words() {
        let told = Told::default();
        let mut headers = HeaderMap::new();
        told.write(&mut headers);
        assert!(headers.is_empty());
        told.tell(Standing { requests: Some((60, 59, 1000)), tokens: Some((1000, 300, 43_201_000)) });
        told.write(&mut headers);
        let of = |name: &str| headers[name].to_str().unwrap();
        assert_eq!((of("x-ratelimit-limit-requests"), of("x-ratelimit-remaining-requests")), ("60", "59"));
        assert_eq!((of("x-ratelimit-reset-requests"), of("x-ratelimit-reset-tokens")), ("1s", "12h0m1s"));
        assert_eq!((span(20), span(360_000)), ("20ms".to_owned(), "6m0s".to_owned()));
    }
}
