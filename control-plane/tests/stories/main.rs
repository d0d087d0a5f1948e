//! What the running control plane does for devices and against strangers, over real sockets.

mod chunks;
mod desired;
mod enrolment;
mod link;
mod mosquitto;
mod site;
mod strangers;
