//! The signed catalogue (TUF) and signed documents (DSSE): sign on one side, verify on the other.
//!
//! Two signatures must agree before a device does anything: the **catalogue** ([`catalogue`]), signed with keys that
//! never touch the server, says what may exist; the **desired state** ([`desired`]), signed online, says what one
//! device should run of it. A stolen server can only choose among released artefacts, and only forwards.
//!
//! Nothing here keeps state. What must never go down (versions, release counters, time) comes in as
//! [`catalogue::Floors`] and goes out the same way; the caller commits it together with what it guards.

pub mod answer;
pub mod catalogue;
pub mod command;
pub mod desired;
pub mod dsse;
pub mod keys;
pub mod sealed;

pub use catalogue::{Catalogue, CatalogueBundle, CatalogueError, ExpirationPolicy, Floors};
pub use desired::{Acceptance, Accepted, Agreed, Refusal};
pub use dsse::Envelope;
pub use keys::{SigningKey, VerifyingKey};
pub use sealed::{Signers, seal};

/// Highest version that any signed document may carry: the largest integer that every JSON reader and SQLite agree
/// on. A thief who signs a higher one locks nobody out.
pub const MOST_VERSION: u64 = (1 << 53) - 1;
