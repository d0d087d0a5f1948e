//! The framework's classes of models by their number of parameters.

use std::fmt;

/// A class of size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Below 100 million.
    Tiny,
    /// Below 1.45 billion.
    Micro,
    /// Below 14 billion.
    Small,
    /// Up to 30.5 billion.
    Medium,
    /// More.
    Large,
}

impl Class {
    /// All of them, the smallest first.
    pub const ALL: [Self; 5] = [Self::Tiny, Self::Micro, Self::Small, Self::Medium, Self::Large];

    /// The class of a model of so many parameters.
    #[must_use]
    pub fn of(parameters: u64) -> Self {
        match parameters {
            0..100_000_000 => Self::Tiny,
            100_000_000..1_450_000_000 => Self::Micro,
            1_450_000_000..14_000_000_000 => Self::Small,
            14_000_000_000..=30_500_000_000 => Self::Medium,
            _ => Self::Large,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Tiny => "Tiny",
            Self::Micro => "Micro",
            Self::Small => "Small",
            Self::Medium => "Medium",
            Self::Large => "Large",
        })
    }
}
