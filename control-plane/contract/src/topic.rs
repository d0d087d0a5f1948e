//! Topics: one place that knows how they are spelled.
//!
//! `op/1/<tenant>/d/<device>/down/…` is for the device, `…/up/…` is by the device. `1` is the wire version.
//!
//! ```
//! # use outpost_contract::{topic::{Topic, Up}, DeviceId, TenantId};
//! let topic = Topic::up(&"acme".parse()?, &"till-7".parse()?, Up::Reported);
//! assert_eq!(topic.to_string(), "op/1/acme/d/till-7/up/reported");
//! assert_eq!("op/1/acme/d/till-7/up/reported".parse::<Topic>(), Ok(topic));
//! # Ok::<(), outpost_contract::ids::InvalidName>(())
//! ```

use std::fmt;
use std::str::FromStr;

use crate::{DeviceId, TenantId};

/// From the control plane to one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// The signed desired state; retained, QoS 1.
    Desired,
    /// The answer to a hello; QoS 1.
    HelloAck,
    /// Chunks of one transfer; QoS 0.
    Blob(u32),
    /// What the witness says to a checkpoint; QoS 1.
    AuditCheckpoint,
    /// What the mirror says to records; QoS 1.
    AuditEntries,
    /// A signed command, until its deadline; QoS 1.
    Command,
    /// Which answers and events are stored; QoS 1.
    Stored,
}

/// From one device to the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// On each connect; QoS 1.
    Hello,
    /// Online or not; retained, and the will; QoS 1.
    Presence,
    /// The whole reported state; QoS 1.
    Reported,
    /// A request for chunks; QoS 1.
    BlobRequest,
    /// A checkpoint of the audit log, to be cosigned; QoS 1.
    AuditCheckpoint,
    /// Records of the audit log, to be kept; QoS 1.
    AuditEntries,
    /// What the device says to a command; QoS 1.
    Response,
    /// Something happened; QoS 1.
    Event,
}

/// The last part of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// To the device.
    Down(Down),
    /// By the device.
    Up(Up),
}

/// A topic of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Whose device.
    pub tenant: TenantId,
    /// Which device.
    pub device: DeviceId,
    /// What about.
    pub leaf: Leaf,
}

/// A text is none of our topics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a topic of this protocol")]
pub struct UnknownTopic(pub String);

impl Topic {
    /// A topic that the device writes.
    #[must_use]
    pub fn up(tenant: &TenantId, device: &DeviceId, up: Up) -> Self {
        Self { tenant: tenant.clone(), device: device.clone(), leaf: Leaf::Up(up) }
    }

    /// A topic that the device reads.
    #[must_use]
    pub fn down(tenant: &TenantId, device: &DeviceId, down: Down) -> Self {
        Self { tenant: tenant.clone(), device: device.clone(), leaf: Leaf::Down(down) }
    }

    /// The filter that a device subscribes to: all that is for it.
    #[must_use]
    pub fn down_filter(tenant: &TenantId, device: &DeviceId) -> String {
        format!("op/1/{tenant}/d/{device}/down/#")
    }

    /// The filter that the control plane subscribes to: all that any device says.
    #[must_use]
    pub fn up_filter() -> &'static str {
        "op/1/+/d/+/up/#"
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "op/1/{}/d/{}/", self.tenant, self.device)?;
        match self.leaf {
            Leaf::Down(Down::Desired) => formatter.write_str("down/desired"),
            Leaf::Down(Down::HelloAck) => formatter.write_str("down/hello-ack"),
            Leaf::Down(Down::Blob(transfer)) => write!(formatter, "down/blob/{transfer}"),
            Leaf::Down(Down::AuditCheckpoint) => formatter.write_str("down/audit/checkpoint"),
            Leaf::Down(Down::AuditEntries) => formatter.write_str("down/audit/entries"),
            Leaf::Up(Up::Hello) => formatter.write_str("up/hello"),
            Leaf::Up(Up::Presence) => formatter.write_str("up/presence"),
            Leaf::Up(Up::Reported) => formatter.write_str("up/reported"),
            Leaf::Up(Up::BlobRequest) => formatter.write_str("up/blob/req"),
            Leaf::Up(Up::AuditCheckpoint) => formatter.write_str("up/audit/checkpoint"),
            Leaf::Up(Up::AuditEntries) => formatter.write_str("up/audit/entries"),
            Leaf::Down(Down::Command) => formatter.write_str("down/cmd"),
            Leaf::Down(Down::Stored) => formatter.write_str("down/ack"),
            Leaf::Up(Up::Response) => formatter.write_str("up/res"),
            Leaf::Up(Up::Event) => formatter.write_str("up/event"),
        }
    }
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        let unknown = || UnknownTopic(text.chars().take(200).collect());
        let rest = text.strip_prefix("op/1/").ok_or_else(unknown)?;
        let (tenant, rest) = rest.split_once("/d/").ok_or_else(unknown)?;
        let (device, leaf) = rest.split_once('/').ok_or_else(unknown)?;
        let leaf = match leaf {
            "down/desired" => Leaf::Down(Down::Desired),
            "down/hello-ack" => Leaf::Down(Down::HelloAck),
            "up/hello" => Leaf::Up(Up::Hello),
            "up/presence" => Leaf::Up(Up::Presence),
            "up/reported" => Leaf::Up(Up::Reported),
            "up/blob/req" => Leaf::Up(Up::BlobRequest),
            "down/audit/checkpoint" => Leaf::Down(Down::AuditCheckpoint),
            "down/audit/entries" => Leaf::Down(Down::AuditEntries),
            "up/audit/checkpoint" => Leaf::Up(Up::AuditCheckpoint),
            "up/audit/entries" => Leaf::Up(Up::AuditEntries),
            "down/cmd" => Leaf::Down(Down::Command),
            "down/ack" => Leaf::Down(Down::Stored),
            "up/res" => Leaf::Up(Up::Response),
            "up/event" => Leaf::Up(Up::Event),
            other => {
                let transfer = other.strip_prefix("down/blob/").ok_or_else(unknown)?;
                let number: u32 = transfer.parse().map_err(|_| unknown())?;
                if number.to_string() != transfer {
                    return Err(unknown());
                }
                Leaf::Down(Down::Blob(number))
            }
        };
        Ok(Self {
            tenant: tenant.parse().map_err(|_| unknown())?,
            device: device.parse().map_err(|_| unknown())?,
            leaf,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_topic_survives_a_round_trip(tenant in "[a-z0-9][a-z0-9-]{0,20}", device in "[a-z0-9][a-z0-9-]{0,20}", transfer: u32, which in 0usize..15) {
            let leaf = [
                Leaf::Down(Down::Desired), Leaf::Down(Down::HelloAck), Leaf::Down(Down::Blob(transfer)),
                Leaf::Up(Up::Hello), Leaf::Up(Up::Presence), Leaf::Up(Up::Reported), Leaf::Up(Up::BlobRequest),
                Leaf::Down(Down::AuditCheckpoint), Leaf::Down(Down::AuditEntries), Leaf::Up(Up::AuditCheckpoint),
                Leaf::Up(Up::AuditEntries), Leaf::Down(Down::Command), Leaf::Down(Down::Stored), Leaf::Up(Up::Response),
                Leaf::Up(Up::Event),
            ][which];
            let topic = Topic { tenant: tenant.parse().unwrap(), device: device.parse().unwrap(), leaf };
            prop_assert_eq!(topic.to_string().parse::<Topic>(), Ok(topic));
        }

        #[test]
        fn any_text_is_a_topic_or_refused_without_panic(text in ".{0,120}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
