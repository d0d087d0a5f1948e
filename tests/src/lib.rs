//! The whole house at once: what the demo, the stories and the campaigns share.

pub mod bad_wire;
pub mod builds;
pub mod centre;
#[path = "../../agent/hub/src/tests/fake.rs"]
pub mod fake_hub;
pub mod fleet;
pub mod group;
pub mod hosts;
pub mod postgres;
pub mod process;
pub mod question;
pub mod simulated;
pub mod single;
pub mod small;
pub mod tamper;
pub mod transfer;
pub mod usage;
