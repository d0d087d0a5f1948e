//! The Outpost agent: one edge device's measured, signed, recorded local inference.
