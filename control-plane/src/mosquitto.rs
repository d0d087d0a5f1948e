//! Configuration for Mosquitto, filled in for this fleet: it guarantees what the broker inside would.

use std::path::{Path, PathBuf};

use outpost_contract::limits::MQTT_PACKET_BYTES;
use outpost_contract::topic::Topic;
use outpost_contract::{DeviceId, Up};

use crate::broker::CONTROL_PLANE;
use crate::files::{self, failed};
use crate::fleet::{Fleet, FleetError};

const SETTINGS: &str = include_str!("../../cross/package/mosquitto/mosquitto.conf");
const RULES: &str = include_str!("../../cross/package/mosquitto/acl");

/// What a device says.
const SAYS: [Up; 8] = [
    Up::Hello,
    Up::Presence,
    Up::Reported,
    Up::Response,
    Up::Event,
    Up::BlobRequest,
    Up::AuditCheckpoint,
    Up::AuditEntries,
];

/// Files for Mosquitto that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MosquittoFiles {
    /// For `mosquitto -c`.
    pub settings: PathBuf,
    /// The revocation list that these settings name; `revocation_list` must be the same.
    pub revocation_list: PathBuf,
}

impl Fleet {
    /// Writes everything that Mosquitto needs into `dir`: settings, rules, authority, a key and certificate for the broker,
    /// and the revocation list.
    ///
    /// # Errors
    /// If `external_broker` is not set, or a file cannot be written.
    pub fn write_mosquitto(&self, dir: &Path) -> Result<MosquittoFiles, FleetError> {
        let config = self.config();
        let (host, port) = config.external_broker_parts().ok_or(FleetError::NoExternalBroker)?;
        std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        let dir = std::fs::canonicalize(dir).map_err(failed("find", dir))?;
        let mut names = vec![host.to_owned()];
        names.extend(config.names.iter().filter(|name| *name != host).cloned());
        self.inner.authority.issue_broker(&dir, &names, self.now_s())?;
        files::write(&dir.join("ca.pem"), self.authority_pem().as_bytes())?;
        let revocation_list = config.revocation_list.clone().unwrap_or_else(|| dir.join("crl.pem"));
        self.write_revocation_list(&revocation_list)?;

        files::write(&dir.join("acl"), self.rules().as_bytes())?;
        let settings = SETTINGS
            .replace("@PORT@", &port.to_string())
            .replace("@PACKET_BYTES@", &MQTT_PACKET_BYTES.to_string())
            .replace("@CRL@", &revocation_list.to_string_lossy())
            .replace("@DIR@", &dir.to_string_lossy());
        let path = dir.join("mosquitto.conf");
        files::write(&path, settings.as_bytes())?;
        Ok(MosquittoFiles { settings: path, revocation_list })
    }

    fn rules(&self) -> String {
        let tenant = &self.config().tenant;
        // The topics' form is known in one place; a device's name is put where the pattern goes.
        let stand_in: DeviceId = "stand-in".parse().expect("a valid name");
        let line = |up| {
            let topic = Topic::up(tenant, &stand_in, up).to_string();
            format!("pattern write {}", topic.replace("/d/stand-in/", "/d/%u/"))
        };
        let up = SAYS.map(line).join("\n");
        RULES.replace("@CONTROL_PLANE@", CONTROL_PLANE).replace("@TENANT@", tenant.as_str()).replace("@UP@", &up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_topic_of_devices_is_not_forgotten() {
        for up in SAYS {
            // Does this not compile? The new topic belongs into `SAYS`, or Mosquitto refuses it.
            match up {
                Up::Hello | Up::Presence | Up::Reported | Up::Response | Up::Event => {}
                Up::BlobRequest | Up::AuditCheckpoint | Up::AuditEntries => {}
            }
        }
        assert!(SAYS.iter().enumerate().all(|(at, up)| !SAYS[..at].contains(up)));
    }
}
