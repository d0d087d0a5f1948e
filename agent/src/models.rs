//! The models of this device beside the one that its plan chose: what lies in the store, what is in memory, and what was
//! made of them by presets.
//!
//! A device in a fleet runs what was signed for it and nothing else: there the shelf stays empty.

pub(crate) mod hub;
pub(crate) mod presets;
pub(crate) mod residents;
pub(crate) mod shelf;
pub(crate) mod sources;

pub(crate) use presets::{Preset, Presets};
pub(crate) use residents::{Engine, InUse, Residents};
pub(crate) use shelf::{Entry, Shelf};
