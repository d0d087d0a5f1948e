//! Who may do what, how much of it, and what must not pass: Cedar schema, strict evaluation, limits, content rules, lint
//! and cases.
//!
//! A [`Bundle`] (rules, limits, models, content rules, cases) becomes [`Policies`] only if every rule passes the strict
//! validator without a warning and every case comes out as written. [`Policies::authorize`] is the only place that makes a
//! [`Permit`]. Cedar skips a rule whose evaluation fails, so that a failing `forbid` would let everything through; here
//! any such error denies, and the denial names it.

mod action;
mod ask;
mod audit_level;
mod audit_rules;
mod break_glass;
mod bundle;
mod calendar;
mod case;
mod compile;
pub mod content;
mod context;
mod control;
mod diff;
mod explain;
mod files;
mod finding;
mod fleet_rules;
mod guard;
mod holder;
mod hours;
mod in_force;
mod judge;
mod limits;
mod lines;
mod lint;
mod lock;
mod model_facts;
mod permit;
mod policies;
mod replay;
mod review;
mod situation;
mod span;
mod text;
mod transfer_rules;
mod words;

pub use action::Action;
pub use ask::{Ask, Principal, PrincipalKind, Resource};
pub use audit_level::AuditLevel;
pub use audit_rules::{AuditRules, CriticalRoom};
pub use break_glass::{BREAK_GLASS_BYTES, BREAK_GLASS_S, BreakGlass, BreakGlassError};
pub use bundle::{BUNDLE_BYTES, Bundle, BundleError, SCHEMA_VERSION};
pub use case::{Actions, Case, Expect, Given, Roles};
pub use context::{AuthMethod, Context, DataClass, Network};
pub use control::{CONTROL_RULES_BYTES, ControlAsk, ControlPrincipal, ControlRules, ControlRulesError, ControlVerdict};
pub use diff::{Change, Diff, diff};
pub use explain::{Explanation, Spoke};
pub use files::{BundleFiles, Checked, FilesError, Found};
pub use finding::Finding;
pub use fleet_rules::{FleetCommand, FleetRules, WhenRevoked};
pub use hours::{ClockTime, Hours, Weekday};
pub use in_force::InForce;
pub use limits::{Limits, Priority, RoleLimits};
pub use lines::{Fate, FileDiff, Hunk, Line, lines};
pub use lint::lint;
pub use lock::{Credential, LOCKS_BYTES, Lock, LockError, LockKind, LockList, Locked, Locks, Strictness};
pub use model_facts::{ModelClass, ModelEntry, ModelFacts};
pub use permit::{Denial, Permit};
pub use policies::{Policies, Rule, TriedCase};
pub use replay::{Blank, Recorded, Rejudged, Replay};
pub use review::{Cell, Exception, Review, Row, review};
pub use span::Span;
pub use transfer_rules::{DailyHours, TransferRules};
