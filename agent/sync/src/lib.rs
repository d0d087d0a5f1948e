//! The device's side of the fleet: MQTT link, outbox, desired and reported state, chunk transfer, enrolment.
//!
//! ```text
//! enrol ──► Identity ──► Link ──► LinkEvent::{Up, Desired, …}  ──► agent
//!                         ▲  └──► Outbox (sync.db)             ◄── agent: report
//!                         ├ MqttChunks: a second connection, only while something is being pulled
//!                         ├ HttpsChunks: the same chunks over HTTPS, from the control plane or from a neighbour
//!                         └ PeerServer: what this device holds, for its neighbours
//! ```
//!
//! Nothing here waits for the network on behalf of a request: the link comes and goes, the outbox keeps what is to be said,
//! the accepted slot keeps what was last agreed. The broker is treated as lossy: a snapshot leaves the outbox only when the
//! control plane says that it has stored it, or when a newer snapshot replaced it.

pub mod accepted;
pub mod commands;
mod database;
pub mod enrol;
pub mod events;
pub mod https;
pub mod identity;
pub mod link;
pub mod outbox;
pub mod peers;
pub mod renewal;
mod slots;
#[cfg(test)]
mod testing;
mod tls;
pub mod transfer;
mod web;

pub use accepted::{Accepted, AcceptedSlot};
pub use commands::{Commands, Left, Verdict};
pub use database::{SyncDatabase, SyncError};
pub use enrol::{EnrolError, Enrolment, Patience, device_fingerprint, enrol, enrol_patiently};
pub use events::Events;
pub use https::{HttpsChunks, HttpsOptions};
pub use identity::{BrokerAddress, Identity, IdentityError};
pub use link::{BackOff, Connectivity, Link, LinkConfig, LinkEvent, LinkHandle, Phase, Waits};
pub use outbox::{Backlog, Class, Outbox};
pub use peers::{Announcement, PeerLimits, PeerServer, PeerWitness, Revoked, Shelf, Vouch};
pub use renewal::{IdentityEvent, Renewal, RenewalError};
pub use tls::{FlooredTime, TlsError};
pub use transfer::{MqttChunks, TransferError, TransferOptions};
pub use web::WebError;
