//! The command line about brokers that are not the control plane's own.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// `outpost-control broker …`
#[derive(Debug, Subcommand)]
pub(crate) enum Broker {
    /// Write configuration and certificates for the broker that `external_broker` names
    #[command(after_help = "Example: outpost-control broker config --mosquitto /etc/mosquitto/outpost")]
    Config {
        /// Directory for Mosquitto's files; what is there is replaced, its key too
        #[arg(long, value_name = "DIR")]
        mosquitto: PathBuf,
    },
    /// Write the access rules for a broker to standard output: what the broker inside enforces, in the other's words
    #[command(
        after_help = "The user of a connection must be the common name of its certificate: `use_identity_as_username true`, \
                      `mqtt.peer_cert_as_username = cn`.\n\n\
                      Examples: outpost-control broker rules --for mosquitto > acl\n          \
                      outpost-control broker rules --for emqx > acl.conf"
    )]
    Rules {
        /// Whose words
        #[arg(long = "for", value_name = "BROKER")]
        dialect: BrokerName,
    },
}

/// A broker that reads access rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BrokerName {
    /// An `acl_file`
    Mosquitto,
    /// An `acl.conf` of EMQX 5.1.1 or newer
    Emqx,
}
