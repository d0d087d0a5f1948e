//! What a mirror answers to a package: a status of HTTP and a body, over any transport.

use crate::checkpoint::decimal;
use crate::witness::{BadAnswer, MAX_ANSWER_BYTES};

/// A mirror's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// 200: kept under the head that came with it. Holds what comes next, and the cosignature lines over that head.
    Kept {
        /// Index of the record that comes next.
        next: u64,
        /// Signature lines, each with its newline.
        lines: String,
    },
    /// 202: kept aside, durably, until the head arrives.
    Waiting {
        /// Index of the record that comes next.
        next: u64,
    },
    /// 409: this is not what comes next.
    Elsewhere {
        /// Index of the record that comes next.
        next: u64,
    },
    /// 400, 403, 404 or 422: refused, and sending it again would not help. Holds why.
    Refused {
        /// The status.
        status: u16,
        /// Why, in words.
        cause: String,
    },
}

impl Receipt {
    /// The status, as HTTP numbers it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Kept { .. } => 200,
            Self::Waiting { .. } => 202,
            Self::Elsewhere { .. } => 409,
            Self::Refused { status, .. } => *status,
        }
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Kept { next, lines } => format!("{next}\n{lines}"),
            Self::Waiting { next } | Self::Elsewhere { next } => format!("{next}\n"),
            Self::Refused { cause, .. } => format!("{cause}\n"),
        }
    }

    /// Reads an answer back, on the log's side. The lines of a 200 are not verified yet.
    ///
    /// # Errors
    /// If no mirror answers so.
    pub fn parse(status: u16, body: &[u8]) -> Result<Self, BadAnswer> {
        let bad = |cause: &str| BadAnswer::new(status, cause);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(bad("the body is too large"));
        }
        let body = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8"))?;
        let (line, rest) = body.split_once('\n').ok_or_else(|| bad("the body is not lines"))?;
        let next = || decimal(line).ok_or_else(|| bad("the body does not begin with an index"));
        match status {
            200 => Ok(Self::Kept { next: next()?, lines: rest.to_owned() }),
            202 => Ok(Self::Waiting { next: next()? }),
            409 => Ok(Self::Elsewhere { next: next()? }),
            400 | 403 | 404 | 422 => Ok(Self::Refused { status, cause: line.to_owned() }),
            _ => Err(bad("which no mirror answers")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_receipt_reads_back_from_its_status_and_body() {
        for receipt in [
            Receipt::Kept { next: 20, lines: "— m AAAA\n".into() },
            Receipt::Waiting { next: 0 },
            Receipt::Elsewhere { next: u64::MAX },
            Receipt::Refused { status: 422, cause: "no".into() },
        ] {
            assert_eq!(Receipt::parse(receipt.status(), receipt.body().as_bytes()), Ok(receipt));
        }
        for (status, body) in [(200, ""), (202, "01\n"), (409, "x\n"), (500, "1\n"), (200, "1")] {
            assert!(Receipt::parse(status, body.as_bytes()).is_err(), "{status} {body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            for status in [200, 202, 400, 403, 404, 409, 422, 500] {
                let _ = Receipt::parse(status, &body);
            }
        }
    }
}
