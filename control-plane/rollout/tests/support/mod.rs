//! What the histories are made of: a source of chance, orders at random, and a world that checks every step.

pub(crate) mod chance;
pub(crate) mod orders;
pub(crate) mod world;
