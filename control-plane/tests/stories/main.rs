//! What the running control plane does for devices and against strangers, over real sockets.

mod bundle;
mod chunks;
mod desired;
mod enrolment;
mod link;
mod site;
mod strangers;
