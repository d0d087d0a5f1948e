//! The Outpost agent: one edge device's measured, signed, recorded local inference.
//!
//! The binary `outpost` is [`cmd`] over [`app::Agent`]; the demo and the tests compose the same `Agent` in their own process.

mod access;
pub mod active;
pub mod app;
pub mod args;
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
mod governance;
pub mod install;
mod key_watch;
pub mod keys;
pub mod logging;
mod measure;
mod models;
mod parts;
pub mod progress;
mod reconcile;
mod report;
mod retention;
mod self_test;
mod standalone;
pub mod state;
mod status;
mod succession;
mod telemetry;
pub mod template_worker;
mod time_zone;
mod witnessing;
pub mod worker;
