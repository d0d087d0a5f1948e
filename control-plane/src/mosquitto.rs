//! Configuration for Mosquitto, filled in for this fleet: it guarantees what the broker inside would.

use std::path::{Path, PathBuf};

use outpost_contract::limits::MQTT_PACKET_BYTES;

use crate::broker::{Dialect, Rules};
use crate::files::{self, failed};
use crate::fleet::{Fleet, FleetError};

const SETTINGS: &str = include_str!("../../cross/package/mosquitto/mosquitto.conf");

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

        files::write(&dir.join("acl"), self.broker_rules(Dialect::Mosquitto).as_bytes())?;
        let settings = SETTINGS
            .replace("@PORT@", &port.to_string())
            .replace("@PACKET_BYTES@", &MQTT_PACKET_BYTES.to_string())
            .replace("@CRL@", &revocation_list.to_string_lossy())
            .replace("@DIR@", &dir.to_string_lossy());
        let path = dir.join("mosquitto.conf");
        files::write(&path, settings.as_bytes())?;
        Ok(MosquittoFiles { settings: path, revocation_list })
    }

    /// The access rules of this fleet, in another broker's words.
    #[must_use]
    pub fn broker_rules(&self, dialect: Dialect) -> String {
        Rules::new(self.config().tenant.clone()).written_for(dialect)
    }
}
