//! What makes a power cut harmless: atomic files, numbered ledgers, a clock with a floor.
//!
//! A power cut is an ordinary event here. Everything small that must survive one goes through [`atomic`] or
//! [`ledger`]; a directory that two processes must not share is held by [`lock`]; time that must not run backwards
//! comes from [`clock`].

pub mod atomic;
pub mod clock;
pub mod error;
pub mod ledger;
pub mod lock;
pub mod secret;
pub mod space;

pub use clock::Clock;
pub use error::DiskError;
pub use ledger::Ledger;
pub use lock::StateLock;
pub use secret::Secret;
