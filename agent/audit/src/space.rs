//! What the log does as its room runs out: it warns, then keeps less, then refuses new work, then everything but ends.
//!
//! ```text
//! free of the whole   level       content   new requests                              everything else   ends, and what makes room
//! 25 % and more       enough      kept      recorded                                  recorded          recorded
//! below 25 %          low         kept      recorded                                  recorded          recorded
//! below 10 %          scarce      –         recorded                                  recorded          recorded
//! below 5 %           critical    –         strict: refused; availability: counted    recorded          recorded
//! 0                   exhausted   –         refused                                   refused           recorded, in the reserve
//! ```
//!
//! A level is left for a better one only with a fifth more than it takes to be in it, so that none of them flaps. Each
//! change is one `audit.capacity` record. No level ever writes over a record.

mod gauge;

use std::fmt;
use std::path::PathBuf;

pub(crate) use gauge::{Gauge, SpacePace, make_room_to_open};

use crate::{EndedLogs, Kind};

/// Room that is kept back for the last records, by default.
pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Without a quota, a larger disk counts as one of this size: a twentieth of a terabyte is no reason to refuse anybody.
pub const WHOLE_BYTES: u64 = 1024 * 1024 * 1024;

/// How much room there is for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SpaceLevel {
    /// A quarter or more.
    #[default]
    Enough,
    /// Less than a quarter: somebody had better know.
    Low,
    /// Less than a tenth: records are kept, content is not.
    Scarce,
    /// Less than a twentieth: nothing new begins, or it is only counted; see [`CapacityMode`].
    Critical,
    /// None: what began is brought to its end, in the reserve.
    Exhausted,
}

impl SpaceLevel {
    /// Every level, from best to worst.
    pub const ALL: [Self; 5] = [Self::Enough, Self::Low, Self::Scarce, Self::Critical, Self::Exhausted];

    /// As records and people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enough => "enough",
            Self::Low => "low",
            Self::Scarce => "scarce",
            Self::Critical => "critical",
            Self::Exhausted => "exhausted",
        }
    }

    /// Whether content is sealed beside records.
    #[must_use]
    pub fn keeps_content(self) -> bool {
        self < Self::Scarce
    }

    /// What becomes of a record of this type.
    #[must_use]
    pub fn admits(self, mode: CapacityMode, kind: Kind) -> Admission {
        match (self, Class::of(kind)) {
            (Self::Enough | Self::Low | Self::Scarce, _) | (_, Class::Always) => Admission::Leaf,
            (Self::Critical, Class::Start | Class::End) if mode == CapacityMode::Availability => Admission::Counted,
            (Self::Critical, Class::Start) | (Self::Exhausted, Class::Start | Class::Ordinary) => Admission::Refused,
            (Self::Critical, Class::Ordinary | Class::End) | (Self::Exhausted, Class::End) => Admission::Leaf,
        }
    }
}

impl fmt::Display for SpaceLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It becomes a leaf.
    Leaf,
    /// It is counted durably, and the next `summary` holds the count. The end of what has a leaf becomes a leaf itself.
    Counted,
    /// It is refused.
    Refused,
}

/// What a record does to the room that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The log's own, and what makes room.
    Always,
    /// Begins what costs at least two records.
    Start,
    /// Ends what began.
    End,
    Ordinary,
}

impl Class {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Boot | Kind::Shutdown | Kind::Capacity | Kind::Integrity | Kind::Summary | Kind::TimeStep => {
                Self::Always
            }
            Kind::AuditPrune | Kind::AuditErase => Self::Always,
            Kind::InferStart => Self::Start,
            Kind::InferEnd | Kind::InferAborted => Self::End,
            _ => Self::Ordinary,
        }
    }
}

/// What matters more once room is critical. A choice for [`Availability`](Self::Availability) is made anew in each run,
/// and is a record itself: [`AuditLog::choose_capacity_mode`](crate::AuditLog::choose_capacity_mode).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CapacityMode {
    /// That every request has its records: new ones are refused.
    #[default]
    Strict,
    /// That requests are answered: they are counted by type, and no more is known of each.
    Availability,
}

impl CapacityMode {
    /// As policy and records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Availability => "availability",
        }
    }

    /// The mode with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Strict, Self::Availability].into_iter().find(|mode| mode.name() == name)
    }
}

/// How the log stands for room, as it was measured last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// How much there is.
    pub level: SpaceLevel,
    /// What is left for records: of the quota or of the disk without the reserve, whichever is less.
    pub free_bytes: u64,
    /// What the level is a part of.
    pub whole_bytes: u64,
    /// The quota, if there is one.
    pub quota_bytes: Option<u64>,
    /// Whether the reserve is set aside.
    pub has_reserve: bool,
    /// What happens once room is critical.
    pub mode: CapacityMode,
}

/// How much room a log may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpaceOptions {
    /// The most that its database may have, in bytes; by default what the disk gives.
    pub quota_bytes: Option<u64>,
    /// What is set aside on the disk for the last records, in bytes; of a small disk, an eighth at most.
    pub reserve_bytes: u64,
}

impl Default for SpaceOptions {
    fn default() -> Self {
        Self { quota_bytes: None, reserve_bytes: RESERVE_BYTES }
    }
}

/// What a log is opened with, beside its name and its author.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// How much room it may take.
    pub space: SpaceOptions,
    /// Where the root key of its vault lies; none for a log that keeps no content.
    pub vault: Option<PathBuf>,
    /// Where the logs lie that came before it and were set aside; none if there never can be one.
    pub ended: Option<EndedLogs>,
}

#[cfg(test)]
mod tests;
