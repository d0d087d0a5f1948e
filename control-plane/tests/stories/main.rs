//! What the running control plane does for devices and against strangers, over real sockets.

mod bundle;
mod chunks;
mod desired;
mod downloads;
mod enrolment;
mod keyed;
mod link;
mod mosquitto;
mod neighbours;
mod renewal;
mod revocation;
mod rollout;
mod site;
mod strangers;
mod wills;
