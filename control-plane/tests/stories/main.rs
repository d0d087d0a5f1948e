//! What the running control plane does for devices and against strangers, over real sockets.

mod bundle;
mod chunks;
mod client;
mod desired;
mod downloads;
mod enrolment;
mod keyed;
mod link;
mod mosquitto;
mod mosquitto_shipped;
mod neighbours;
mod renewal;
mod revocation;
mod rollout;
mod site;
#[expect(unreachable_pub, reason = "it is a module of another crate, too")]
#[path = "../../../tests/src/small.rs"]
mod small;
mod strangers;
mod wills;
