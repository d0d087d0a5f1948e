//! Locks: who must not be served any more, whatever their credential says; a list that works without a network.
//!
//! A list is numbered, and a device takes only one with a higher number than its own. How old a list may be before it no
//! longer counts as known is the list's own word: `strict` refuses everybody once the list is older, `best_effort` goes
//! on with what it has. Signatures and storage are not here.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{Principal, PrincipalKind};

/// Most bytes of a list, and most locks in one.
pub const LOCKS_BYTES: usize = 1024 * 1024;
const LOCKS: usize = 16_384;

/// Longest name and reason in a lock, bytes.
const ID_BYTES: usize = 512;
const REASON_BYTES: usize = 512;

/// What a lock is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// A caller by its name, as identification gives it: a person, a service account or an account of a machine.
    User,
    /// Everybody who holds a role.
    Role,
    /// A device, by its name.
    Device,
    /// A local API key, by its id.
    Key,
    /// A signed token, by its id.
    Token,
}

impl LockKind {
    /// The word in lists and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
            Self::Device => "device",
            Self::Key => "key",
            Self::Token => "token",
        }
    }
}

/// One lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// What it is on.
    pub kind: LockKind,
    /// Which one.
    pub id: String,
    /// From when on, seconds since 1970-01-01 UTC; 0 is always.
    #[serde(default)]
    pub from_s: i64,
    /// Until when; `None` is for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<i64>,
    /// Why, for whoever is refused.
    pub reason: String,
}

/// What a list is worth when it is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Strictness {
    /// Nobody is served by a list that is older.
    Strict {
        /// Seconds.
        max_age_s: u64,
    },
    /// The newest list that there is counts, however old.
    BestEffort,
}

/// A list as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockList {
    /// Counts the lists; a device never goes back to a lower one.
    pub seq: u64,
    /// When it was issued, seconds since 1970-01-01 UTC: its age counts from then, not from when somebody brought it.
    pub issued_s: i64,
    /// What the list is worth when it is old.
    pub strictness: Strictness,
    /// The locks.
    pub locks: Vec<Lock>,
}

/// Bytes are no list of locks.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Too much.
    #[error("the list of locks has {size} {unit}, more than {most}: take away those that have ended")]
    TooLarge {
        /// How much came.
        size: usize,
        /// Of what.
        unit: &'static str,
        /// How much may come.
        most: usize,
    },
    /// Not the JSON of one.
    #[error("the list of locks cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A lock that says nothing.
    #[error("lock {number} on a {}: {what}", kind.word())]
    Lock {
        /// Which one, from 1.
        number: usize,
        /// What it is on.
        kind: LockKind,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Not newer than what is there.
    #[error("the list of locks has number {found}, which is not above {held}, the one in force: sign a newer one")]
    NotNewer {
        /// What came.
        found: u64,
        /// What is there.
        held: u64,
    },
}

/// By what a caller proved who it is, as far as a lock can be on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Credential<'a> {
    /// The id of the local API key.
    pub key: Option<&'a str>,
    /// The id (`jti`) of the token.
    pub token: Option<&'a str>,
    /// The name of the device that the call came from or through.
    pub device: Option<&'a str>,
}

/// Why somebody is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Locked {
    /// A lock is on them.
    #[error("the {} is locked{}: {reason}", kind.word(), until(*until_s))]
    By {
        /// What the lock is on.
        kind: LockKind,
        /// Why.
        reason: String,
        /// Until when, if not for ever.
        until_s: Option<i64>,
    },
    /// The list is too old to say.
    #[error(
        "the list of locks is {age_s} s old, and nobody is served by one older than {max_age_s} s: connect the device or \
         bring it a newer list"
    )]
    Stale {
        /// How old it is.
        age_s: u64,
        /// How old it may be.
        max_age_s: u64,
    },
}

fn until(until_s: Option<i64>) -> String {
    until_s.map_or_else(String::new, |until_s| format!(" until {}", crate::calendar::datetime(until_s)))
}

/// A list, checked and ready to be asked.
#[derive(Debug, Clone)]
pub struct Locks {
    seq: u64,
    issued_s: i64,
    strictness: Strictness,
    by_name: HashMap<LockKind, HashMap<String, Vec<Lock>>>,
}

impl Default for Locks {
    /// No list: nothing is locked, and any list is newer.
    fn default() -> Self {
        Self { seq: 0, issued_s: 0, strictness: Strictness::BestEffort, by_name: HashMap::new() }
    }
}

impl Locks {
    /// Reads a list. Its signature must have been checked before.
    ///
    /// # Errors
    /// If it is too large, not one, or has a lock that says nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, LockError> {
        if bytes.len() > LOCKS_BYTES {
            return Err(LockError::TooLarge { size: bytes.len(), unit: "bytes", most: LOCKS_BYTES });
        }
        Self::new(serde_json::from_slice(bytes)?)
    }

    /// Checks a list.
    ///
    /// # Errors
    /// If it has too many locks, or one that says nothing.
    pub fn new(list: LockList) -> Result<Self, LockError> {
        if list.locks.len() > LOCKS {
            return Err(LockError::TooLarge { size: list.locks.len(), unit: "locks", most: LOCKS });
        }
        let mut by_name: HashMap<LockKind, HashMap<String, Vec<Lock>>> = HashMap::new();
        for (number, lock) in (1..).zip(list.locks) {
            let kind = lock.kind;
            let refuse = |what| Err(LockError::Lock { number, kind, what });
            if lock.id.is_empty() || lock.id.len() > ID_BYTES {
                return refuse("its id is empty or longer than 512 bytes");
            }
            if lock.reason.trim().is_empty() || lock.reason.len() > REASON_BYTES {
                return refuse("it has no reason, or one longer than 512 bytes");
            }
            if lock.until_s.is_some_and(|until_s| until_s <= lock.from_s) {
                return refuse("it ends before it begins");
            }
            by_name.entry(kind).or_default().entry(lock.id.clone()).or_default().push(lock);
        }
        Ok(Self { seq: list.seq, issued_s: list.issued_s, strictness: list.strictness, by_name })
    }

    /// Its number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// When it was issued, seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn issued_s(&self) -> i64 {
        self.issued_s
    }

    /// What the list is worth when it is old.
    #[must_use]
    pub fn strictness(&self) -> Strictness {
        self.strictness
    }

    /// How many locks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.values().flat_map(HashMap::values).map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Puts a newer list in the place of this one.
    ///
    /// # Errors
    /// If it is not newer: an older list would open what a newer one locked.
    pub fn replace(&mut self, next: Self) -> Result<(), LockError> {
        if next.seq <= self.seq {
            return Err(LockError::NotNewer { found: next.seq, held: self.seq });
        }
        *self = next;
        Ok(())
    }

    /// Whether somebody may be served. `age_s` is how long ago the list was last known to be the newest.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        principal: &Principal,
        credential: Credential<'_>,
        now_s: i64,
        age_s: u64,
    ) -> Result<(), Locked> {
        let is_device = principal.kind == PrincipalKind::Device;
        let named = [
            (LockKind::User, (!is_device).then_some(principal.id.as_str())),
            (LockKind::Device, is_device.then_some(principal.id.as_str())),
            (LockKind::Device, credential.device),
            (LockKind::Key, credential.key),
            (LockKind::Token, credential.token),
        ];
        let roles = principal.roles.iter().map(|role| (LockKind::Role, Some(role.as_str())));
        for (kind, id) in named.into_iter().chain(roles).filter_map(|(kind, id)| Some((kind, id?))) {
            if let Some(lock) = self.holding(kind, id, now_s) {
                return Err(Locked::By { kind, reason: lock.reason.clone(), until_s: lock.until_s });
            }
        }
        match self.strictness {
            Strictness::Strict { max_age_s } if age_s > max_age_s => Err(Locked::Stale { age_s, max_age_s }),
            _ => Ok(()),
        }
    }

    fn holding(&self, kind: LockKind, id: &str, now_s: i64) -> Option<&Lock> {
        let locks = self.by_name.get(&kind)?.get(id)?;
        locks.iter().find(|lock| lock.from_s <= now_s && lock.until_s.is_none_or(|until_s| now_s < until_s))
    }
}

#[cfg(test)]
mod tests;
