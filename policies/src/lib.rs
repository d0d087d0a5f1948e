//! Who may do what: Cedar schema, strict evaluation, lint and cases.
//!
//! A [`Bundle`] (rules, limits, cases) becomes [`Policies`] only if every rule passes the strict validator without a
//! warning and every case comes out as written. [`Policies::authorize`] is the only place that makes a [`Permit`].
//! Cedar skips a rule whose evaluation fails, so that a failing `forbid` would let everything through; here any such
//! error denies, and the denial names it.

mod action;
mod ask;
mod bundle;
mod case;
mod compile;
mod finding;
mod in_force;
mod permit;
mod policies;
mod text;
mod words;

pub use action::Action;
pub use ask::{Ask, AuthMethod, Context, Network, Principal, PrincipalKind, Resource};
pub use bundle::{BUNDLE_BYTES, Bundle, BundleError, RoleLimits};
pub use case::{Case, Expect, Roles};
pub use finding::Finding;
pub use in_force::InForce;
pub use permit::{Denial, Permit};
pub use policies::{Policies, Rule};
