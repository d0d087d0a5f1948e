//! The situation of a question: when, from where, how identified, over what kind of data.

use serde::{Deserialize, Serialize};

/// The situation. Name what is known, and take the rest from `Context::default()`, which is the least trusted that
/// there is: from elsewhere, by a token, with a clock that nobody vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Context {
    /// Seconds since 1970-01-01 UTC, by the device's own clock with its floor.
    pub now_s: i64,
    /// What local time is ahead of UTC, in seconds; 0 where the device has no time zone. Days and hours in policies and
    /// limits are local.
    pub utc_offset_s: i32,
    /// Whether something vouches for the clock (a time server, the fleet); false after a start without either.
    pub time_trusted: bool,
    /// Seconds since the fleet was last heard from; 0 on a device that belongs to none.
    pub offline_s: u64,
    /// Seconds since the bundle in force was last confirmed.
    pub policy_age_s: u64,
    /// How the caller proved who it is.
    pub auth_method: AuthMethod,
    /// From where the call came.
    pub network: Network,
    /// The path of the API that was called, as `/v1/chat/completions`; empty where there is none.
    pub endpoint: String,
    /// Tokens that the request asks for; `None` if it leaves that to the limit.
    pub max_tokens: Option<u32>,
    /// Whether the answer is wanted as a stream.
    pub stream: bool,
    /// Whether the request offers tools.
    pub tools: bool,
    /// What kind of data the caller says that it sends.
    pub data_class: DataClass,
    /// Tokens that the caller has had today, reserved ones included.
    pub tokens_today: u64,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            now_s: 0,
            utc_offset_s: 0,
            time_trusted: false,
            offline_s: 0,
            policy_age_s: 0,
            auth_method: AuthMethod::Token,
            network: Network::Remote,
            endpoint: String::new(),
            max_tokens: None,
            stream: false,
            tools: false,
            data_class: DataClass::Internal,
            tokens_today: 0,
        }
    }
}

impl Context {
    /// The day of the week in local time; 1 is Monday.
    #[must_use]
    pub fn weekday(&self) -> u8 {
        // 1970-01-01 was a Thursday, the fourth day.
        u8::try_from((self.local_s().div_euclid(86_400) + 3).rem_euclid(7) + 1).unwrap_or(1)
    }

    /// Minutes since midnight in local time, 0 to 1439.
    #[must_use]
    pub fn minute_of_day(&self) -> u16 {
        u16::try_from(self.local_s().rem_euclid(86_400) / 60).unwrap_or(0)
    }

    fn local_s(&self) -> i64 {
        self.now_s.saturating_add(i64::from(self.utc_offset_s))
    }
}

/// What kind of data a request carries, as its caller says. Data that nobody has labelled is `internal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataClass {
    /// For everybody.
    Public,
    /// For this house.
    #[default]
    Internal,
    /// For a few in this house.
    Confidential,
    /// About people.
    Personal,
    /// About people's health, faith, origin and the like.
    Special,
}

impl DataClass {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Public, Self::Internal, Self::Confidential, Self::Personal, Self::Special];

    /// The word in policies and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Personal => "personal",
            Self::Special => "special",
        }
    }
}

/// How the caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// The kernel's word on a Unix socket.
    Socket,
    /// A local API key.
    ApiKey,
    /// A signed token.
    Token,
    /// A client certificate.
    Certificate,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Socket, Self::ApiKey, Self::Token, Self::Certificate];

    /// The word in policies and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::Certificate => "certificate",
        }
    }
}

/// From where a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A Unix socket of this machine.
    Socket,
    /// This machine's loopback address.
    Loopback,
    /// Anywhere else; always over TLS.
    Remote,
}

impl Network {
    /// Every network.
    pub const ALL: [Self; 3] = [Self::Socket, Self::Loopback, Self::Remote];

    /// The word in policies and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Loopback => "loopback",
            Self::Remote => "remote",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now_s: i64, utc_offset_s: i32) -> (u8, u16) {
        let context = Context { now_s, utc_offset_s, ..Context::default() };
        (context.weekday(), context.minute_of_day())
    }

    #[test]
    fn the_week_begins_on_monday_and_days_are_local() {
        assert_eq!(at(0, 0), (4, 0));
        assert_eq!(at(1_796_083_200, 0), (2, 0), "2026-12-01 is a Tuesday");
        assert_eq!(at(1_796_083_200, -3600), (1, 23 * 60));
        assert_eq!(at(-60, 0), (3, 1439));
    }

    #[test]
    fn any_clock_has_a_day() {
        for now_s in [i64::MIN, i64::MAX] {
            for offset in [i32::MIN, 0, i32::MAX] {
                let (day, minute) = at(now_s, offset);
                assert!((1..=7).contains(&day) && minute < 1440);
            }
        }
    }
}
