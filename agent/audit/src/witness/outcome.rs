//! What a witness answers to `add-checkpoint`, c2sp.org/tlog-witness: a status of HTTP and a body, over any transport.

use std::fmt;

use crate::checkpoint::decimal;

/// Longer answers are refused unread: the lines of a note at its own limit.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// A witness's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// 200: stored and cosigned; the signature lines, each with its newline.
    Cosigned(String),
    /// 400: the body cannot be understood, or asks to go backwards.
    Malformed(String),
    /// 403: no key that the witness trusts for this log signed.
    NotSigned(String),
    /// 404: the witness does not know this log.
    UnknownLog,
    /// 409: the witness cosigned this size last, or another root at this size.
    Conflict {
        /// The size that it cosigned last.
        size: u64,
    },
    /// 422: the proof does not show that the tree begins with the one that was cosigned last.
    Inconsistent(String),
}

/// An answer that no witness gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no answer of a witness or a mirror: {0}")]
pub struct BadAnswer(String);

impl BadAnswer {
    pub(crate) fn new(status: u16, cause: &str) -> Self {
        Self(format!("status {status}, {cause}"))
    }
}

impl Outcome {
    /// The status, as HTTP numbers it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Cosigned(_) => 200,
            Self::Malformed(_) => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownLog => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent(_) => 422,
        }
    }

    /// The media type of the body.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "text/x.tlog.size",
            _ => "text/plain; charset=utf-8",
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Cosigned(lines) => lines.clone(),
            Self::Conflict { size } => format!("{size}\n"),
            Self::UnknownLog => "this log is not known here\n".to_owned(),
            Self::Malformed(cause) | Self::NotSigned(cause) | Self::Inconsistent(cause) => format!("{cause}\n"),
        }
    }

    /// Reads an answer back, on the log's side. The lines of a 200 are not verified yet.
    ///
    /// # Errors
    /// If no witness answers so.
    pub fn parse(status: u16, body: &[u8]) -> Result<Self, BadAnswer> {
        let bad = |cause: &str| BadAnswer::new(status, cause);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(bad("the body is too large"));
        }
        let body = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
        let line = || body.strip_suffix('\n').unwrap_or(body).to_owned();
        match status {
            200 if body.ends_with('\n') => Ok(Self::Cosigned(body.to_owned())),
            200 => Err(bad("the body is not lines")),
            400 => Ok(Self::Malformed(line())),
            403 => Ok(Self::NotSigned(line())),
            404 => Ok(Self::UnknownLog),
            409 => decimal(&line()).map(|size| Self::Conflict { size }).ok_or_else(|| bad("the body is not a size")),
            422 => Ok(Self::Inconsistent(line())),
            _ => Err(bad("which `add-checkpoint` does not know")),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosigned(_) => formatter.write_str("cosigned"),
            Self::UnknownLog => formatter.write_str("the witness does not know this log: enrol it there"),
            Self::Conflict { size } => write!(formatter, "the witness cosigned size {size} last"),
            Self::Malformed(cause) => write!(formatter, "the witness does not understand: {cause}"),
            Self::NotSigned(cause) => write!(formatter, "the witness does not trust the signature: {cause}"),
            Self::Inconsistent(cause) => write!(formatter, "the witness is not convinced: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_outcome_reads_back_from_its_status_and_body() {
        let outcomes = [
            (200, Outcome::Cosigned("— w AAAA\n".into())),
            (400, Outcome::Malformed("no blank line".into())),
            (403, Outcome::NotSigned("not signed by `a`".into())),
            (404, Outcome::UnknownLog),
            (409, Outcome::Conflict { size: 20_852_014 }),
            (422, Outcome::Inconsistent("no".into())),
        ];
        for (status, outcome) in outcomes {
            assert_eq!(outcome.status(), status);
            assert_eq!(Outcome::parse(status, outcome.body().as_bytes()), Ok(outcome));
        }
        let conflict = Outcome::Conflict { size: 0 };
        assert_eq!((conflict.body().as_str(), conflict.content_type()), ("0\n", "text/x.tlog.size"));
    }

    #[test]
    fn answers_that_no_witness_gives_are_refused() {
        for (status, body) in
            [(200, ""), (200, "— w AAAA"), (409, ""), (409, "01\n"), (409, "x\n"), (500, ""), (202, "")]
        {
            assert!(Outcome::parse(status, body.as_bytes()).is_err(), "{status} {body:?}");
        }
        assert!(Outcome::parse(400, &vec![b'a'; MAX_ANSWER_BYTES + 1]).is_err());
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(status in any::<u16>(), body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Outcome::parse(status, &body);
            for status in [200, 400, 403, 404, 409, 422] {
                let _ = Outcome::parse(status, &body);
            }
        }
    }
}
