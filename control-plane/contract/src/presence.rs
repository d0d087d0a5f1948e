//! Hello, its answer, and presence: who is connected, since when, and what each side has seen.

use serde::{Deserialize, Serialize};

use crate::{BootId, DeviceId};

/// Device to control plane on each connect (`up/hello`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Version of this form; 1.
    pub v: u32,
    /// The device; must equal the topic's.
    pub device: DeviceId,
    /// The start that counters are counted in.
    pub boot: BootId,
    /// Counts connections within the boot, from 1.
    pub connection: u64,
    /// The agent's version.
    pub agent: String,
    /// Highest desired version accepted.
    pub desired_version: u64,
    /// Where it stands, and whether it serves its neighbours; absent if it was told nothing about neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<Neighbour>,
}

/// A device among the devices of its site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The site: devices of one name are near each other.
    pub site: String,
    /// `address:port` where it serves chunks; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<String>,
}

/// Control plane to device (`down/hello-ack`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelloAck {
    /// Version of this form; 1.
    pub v: u32,
    /// The hello that is answered.
    pub boot: BootId,
    /// The hello that is answered.
    pub connection: u64,
    /// Newest desired version that the control plane has for the device.
    pub desired_version: u64,
    /// Sequence of the newest reported snapshot of this boot that it has stored; 0 if none.
    pub reported_sequence: u64,
    /// The control plane's clock, seconds since 1970-01-01 UTC.
    pub server_time_s: i64,
    /// `address:port` of online devices of the same site that serve chunks, at most
    /// [`PEERS`](crate::limits::PEERS). Hints: what a peer sends is checked like everything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// The devices that were revoked last, at most [`REVOKED`](crate::limits::REVOKED): peers refuse them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<DeviceId>,
}

/// Retained, and the broker's will when a device vanishes (`up/presence`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// Version of this form; 1.
    pub v: u32,
    /// True while connected.
    pub online: bool,
    /// The start that `connection` counts in.
    pub boot: BootId,
    /// The connection this is about: an old will must not hide a newer connection.
    pub connection: u64,
}
