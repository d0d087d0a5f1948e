//! The Outpost agent: one edge device's measured, signed, recorded local inference.
//!
//! The binary `outpost` is [`cmd`] over [`app::Agent`]; the demo and the tests compose the same `Agent` in their own process.

mod access;
mod activation;
pub mod active;
pub mod app;
pub mod args;
mod attempts;
pub mod backend;
mod chunks;
pub mod client;
pub mod cmd;
mod collect;
mod commands;
pub mod config;
mod drain;
pub mod facts;
mod fleet;
mod gate;
mod governance;
mod housekeeping;
pub mod install;
mod key_watch;
pub mod keys;
pub mod logging;
mod measure;
mod membership;
mod models;
mod neighbours;
mod parts;
pub mod progress;
mod pulling;
mod reconcile;
mod report;
mod retention;
mod self_test;
pub mod site_witness;
mod standalone;
pub mod state;
mod status;
mod stick;
mod succession;
mod telemetry;
pub mod template_worker;
mod time_zone;
mod witnessing;
pub mod worker;
