//! Mirroring: a second copy of a log, kept by somebody else, that verifies, is read and exported like the first.
//!
//! ```text
//! device                                                     mirror (the control plane)
//!  records from `first` on, compressed,      ──────────────►  is `first` what comes next here?
//!  and the signed head that they lead to                      do the records lead to the signed root?
//!                                                             one transaction, fsynced, then
//!  `cosig` record of the mirror's line       ◄──────────────  what comes next, and a cosignature: "I keep these"
//! ```
//!
//! * [`next_package`] cuts what to send; [`Package`] is its form on the wire; nothing here does any networking.
//! * [`Mirror`] takes packages in. What it keeps under a head is a log directory as the device has it.
//! * [`Receipt`] is its answer. A package that comes twice is answered with what comes next, so nothing is kept twice,
//!   and a sender that lost its place finds it.
//!
//! Records that do not fit one package before their head wait aside, durable, until the head arrives: an upload goes on at
//! the package where it broke off. The cosignature is by another key than a witness's: it promises that the records are
//! kept, c2sp.org/tlog-mirror.

mod cut;
mod package;
mod receipt;
mod store;

pub use self::cut::{Cut, next_package};
pub use self::package::{BadPackage, MAX_PACKAGE_BYTES, Package};
pub use self::receipt::Receipt;
pub use self::store::{Mirror, Taken, head, newest};

#[cfg(test)]
mod tests;
