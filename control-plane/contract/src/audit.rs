//! The audit exchange over MQTT: a numbered line before the bodies that C2SP specifies for HTTP.
//!
//! ```text
//! up/audit/…     7            an `add-checkpoint` body, or a package of records
//!                <body>
//! down/audit/…   7 409        its answer: the number, a status of HTTP
//!                <body>
//! ```
//!
//! A request may arrive twice and an answer may come late: the number tells to which request it belongs.

use bytes::Bytes;

/// The longest first line: two numbers and a space.
const MAX_LINE_BYTES: usize = 32;

/// What a device asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditAsk {
    /// Counts requests of one start of the agent.
    pub number: u64,
    /// The body.
    pub body: Bytes,
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditAnswer {
    /// The request's.
    pub number: u64,
    /// As HTTP numbers it.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

impl AuditAsk {
    /// The message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        message(&self.number.to_string(), &self.body)
    }

    /// Reads a message; `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let (line, body) = split(bytes)?;
        Some(Self { number: decimal(line)?, body })
    }
}

impl AuditAnswer {
    /// The message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        message(&format!("{} {}", self.number, self.status), &self.body)
    }

    /// Reads a message; `None` if it is none.
    #[must_use]
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let (line, body) = split(bytes)?;
        let (number, status) = line.split_once(' ')?;
        Some(Self { number: decimal(number)?, status: decimal(status)?.try_into().ok()?, body })
    }
}

fn message(line: &str, body: &[u8]) -> Bytes {
    [line.as_bytes(), b"\n", body].concat().into()
}

fn split(bytes: &Bytes) -> Option<(&str, Bytes)> {
    let end = bytes.iter().take(MAX_LINE_BYTES + 1).position(|&byte| byte == b'\n')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, bytes.slice(end + 1..)))
}

fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_asked_and_answered_survives_a_round_trip(number: u64, status: u16, body: Vec<u8>) {
            let body = Bytes::from(body);
            let ask = AuditAsk { number, body: body.clone() };
            prop_assert_eq!(AuditAsk::parse(&ask.to_bytes()), Some(ask));
            let answer = AuditAnswer { number, status, body };
            prop_assert_eq!(AuditAnswer::parse(&answer.to_bytes()), Some(answer));
        }

        #[test]
        fn any_bytes_are_a_message_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60), line in "[0-9 +]{0,34}") {
            for bytes in [bytes.clone(), [line.as_bytes(), b"\n", &bytes].concat()] {
                let bytes = Bytes::from(bytes);
                if let Some(ask) = AuditAsk::parse(&bytes) {
                    prop_assert_eq!(ask.to_bytes(), bytes.clone());
                }
                if let Some(answer) = AuditAnswer::parse(&bytes) {
                    prop_assert_eq!(answer.to_bytes(), bytes);
                }
            }
        }
    }
}
