//! Who may say and hear what, as data: the guard of the broker inside obeys it, and other brokers' access rules are written
//! from it.
//!
//! Nothing is allowed but what stands here. A device is who its certificate's common name says.

use std::fmt::Write as _;

use outpost_contract::topic::Topic;
use outpost_contract::{DeviceId, TenantId, Up};

use super::CONTROL_PLANE;

/// What a device says. `true`: the broker may keep it for those who come later.
pub(super) const SAYS: [(Up, bool); 8] = [
    (Up::Hello, false),
    (Up::Presence, true),
    (Up::Reported, false),
    (Up::Response, false),
    (Up::Event, false),
    (Up::BlobRequest, false),
    (Up::AuditCheckpoint, false),
    (Up::AuditEntries, false),
];

/// In whose words rules are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Mosquitto's `acl_file`.
    Mosquitto,
    /// EMQX's `acl.conf`.
    Emqx,
}

/// The rules of one tenant.
#[derive(Debug, Clone)]
pub struct Rules {
    tenant: TenantId,
}

impl Rules {
    /// The rules for the devices of a tenant.
    #[must_use]
    pub fn new(tenant: TenantId) -> Self {
        Self { tenant }
    }

    /// Everything of the tenant's devices, as the control plane says and hears it.
    fn everything(&self) -> String {
        format!("op/1/{}/d/#", self.tenant)
    }

    /// What is for a device, up to the level at which its topics begin to differ.
    fn heard_by(&self, device: &str) -> String {
        format!("op/1/{}/d/{device}/down/", self.tenant)
    }

    /// The topics that a device says, and whether each may be kept.
    fn said_by(&self, device: &str) -> impl Iterator<Item = (String, bool)> {
        // The topics' form is known in one place; the name is put where the stand-in's was.
        let stand_in: DeviceId = "stand-in".parse().expect("a valid name");
        let (tenant, device) = (self.tenant.clone(), device.to_owned());
        SAYS.into_iter().map(move |(up, kept)| {
            let topic = Topic::up(&tenant, &stand_in, up).to_string();
            (topic.replace("/d/stand-in/", &format!("/d/{device}/")), kept)
        })
    }

    /// Whether a device may say this, and have it kept.
    #[must_use]
    pub fn may_publish(&self, device: &DeviceId, topic: &str, retain: bool) -> bool {
        let Ok(Topic { tenant, device: of, leaf: outpost_contract::topic::Leaf::Up(up) }) = topic.parse::<Topic>()
        else {
            return false;
        };
        let is_said = SAYS.into_iter().any(|(said, kept)| said == up && (kept || !retain));
        is_said && tenant == self.tenant && of == *device
    }

    /// Whether a device may hear what this filter names. Wildcards cannot lead out of a literal prefix.
    #[must_use]
    pub fn may_subscribe(&self, device: &DeviceId, filter: &str) -> bool {
        filter.starts_with(&self.heard_by(device.as_str()))
    }

    /// The rules in another broker's words.
    #[must_use]
    pub fn written_for(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Mosquitto => self.mosquitto(),
            Dialect::Emqx => self.emqx(),
        }
    }

    fn mosquitto(&self) -> String {
        let mut text = format!(
            "# Who may say and hear what, written by `outpost-control broker rules --for mosquitto`. `%u` is the common name of the\n\
             # client's certificate.\n\n\
             # The control plane: the authority gives this name to no device.\n\
             user {CONTROL_PLANE}\ntopic readwrite {}\n\n\
             # A device: what is under its own name, in its own direction. The list is closed, so what it can leave retained is\n\
             # bounded.\n\
             pattern read {}#\n",
            self.everything(),
            self.heard_by("%u"),
        );
        for (topic, _) in self.said_by("%u") {
            line(&mut text, format_args!("pattern write {topic}"));
        }
        text
    }

    fn emqx(&self) -> String {
        const USER: &str = "${username}";
        let list = |kept: bool| {
            let topics = self.said_by(USER).filter(|(_, may_be_kept)| *may_be_kept == kept);
            topics.map(|(topic, _)| format!("\n    \"{topic}\"")).collect::<Vec<_>>().join(",")
        };
        let mut text = String::from(
            "%% Who may say and hear what, written by `outpost-control broker rules --for emqx`, for EMQX 5.1.1 or newer. The user is\n\
             %% the common name of the client's certificate: `mqtt.peer_cert_as_username = cn`.\n\n",
        );
        line(
            &mut text,
            format_args!(
                "%% The control plane: the authority gives this name to no device. It hears every tenant's devices by one filter."
            ),
        );
        line(
            &mut text,
            format_args!("{{allow, {{username, \"{CONTROL_PLANE}\"}}, all, [\"{}\"]}}.", self.everything()),
        );
        line(
            &mut text,
            format_args!("{{allow, {{username, \"{CONTROL_PLANE}\"}}, subscribe, [\"{}\"]}}.\n", Topic::up_filter()),
        );
        line(
            &mut text,
            format_args!("%% A device: what is under its own name, in its own direction. Only its presence is kept."),
        );
        line(&mut text, format_args!("{{allow, all, subscribe, [\"{}#\"]}}.", self.heard_by(USER)));
        line(&mut text, format_args!("{{allow, all, publish, [{}\n]}}.", list(true)));
        line(&mut text, format_args!("{{allow, all, {{publish, [{{retain, false}}]}}, [{}\n]}}.\n", list(false)));
        line(&mut text, format_args!("%% Nothing else."));
        line(&mut text, format_args!("{{deny, all}}."));
        text
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a text does not fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests;
