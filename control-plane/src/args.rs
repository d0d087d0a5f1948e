//! The command line, in the order in which an admin meets it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Enrols devices, signs what they should run, keeps what they report.
#[derive(Debug, Parser)]
#[command(
    name = "outpost-control",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done · 1 failed · 2 wrong command line or settings"
)]
pub(crate) struct Cli {
    /// Directory that holds the fleet [default: $OUTPOST_CONTROL_STATE, else ~/.local/state/outpost-control]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Answer in JSON on standard output, for machines
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new fleet: authority, online keys, database, settings
    #[command(after_help = "Example: outpost-control init")]
    Init,
    /// Run the control plane: HTTPS API, MQTT broker, director
    #[command(after_help = "Example: outpost-control serve --state /srv/outpost")]
    Serve,
    /// Offline keys: they belong on a stick in a drawer
    #[command(subcommand, after_help = "Example: outpost-control keys create --keys /mnt/stick/outpost")]
    Keys(Keys),
    /// The signed catalogue of models and policies
    #[command(
        subcommand,
        after_help = "Example: outpost model inspect model-Q4_0.gguf --json > q4.json\n         outpost-control catalogue release --keys /mnt/stick/outpost --model q4.json --default-policy"
    )]
    Catalogue(Catalogue),
    /// Devices: enrolment codes, inventory, assignment, revocation
    #[command(subcommand, after_help = "Example: outpost-control device code till-7")]
    Device(Device),
    /// Audit logs of the devices: mirrors, cosignatures, evidence
    #[command(subcommand, after_help = "Example: outpost-control audit ls")]
    Audit(Audit),
    /// Files for a broker that is not the control plane's own
    #[command(subcommand, after_help = "Example: outpost-control broker config --mosquitto /etc/mosquitto/outpost")]
    Broker(Broker),
    /// People and services: tokens for the devices' APIs
    #[command(subcommand, after_help = "Example: outpost-control user token ada --role operator")]
    User(User),
}

/// `outpost-control keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make offline keys and sign the first root with them
    #[command(after_help = "Example: outpost-control keys create --keys /mnt/stick/outpost")]
    Create(KeyDirectory),
}

/// Where offline keys are.
#[derive(Debug, Args)]
pub(crate) struct KeyDirectory {
    /// Directory of the offline keys
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: PathBuf,
}

/// `outpost-control catalogue …`
#[derive(Debug, Subcommand)]
pub(crate) enum Catalogue {
    /// Import model files and a policy bundle, sign them, publish; assigned devices get a new desired state
    #[command(after_help = "Example: outpost-control catalogue release --keys DIR --model f16.json --model q4.json")]
    Release {
        /// Where the offline keys are
        #[command(flatten)]
        keys: KeyDirectory,
        /// What `outpost model inspect FILE --json` wrote about a file; may be given more than once
        #[arg(long = "model", value_name = "JSON")]
        models: Vec<PathBuf>,
        /// A policy bundle, as JSON or as `outpost seal policy` wrote it
        #[arg(long, value_name = "FILE", conflicts_with = "default_policy")]
        policy: Option<PathBuf>,
        /// People whose signatures count on every device from now on, in the place of those before: TOML with
        /// `[[signers]]` as in an agent's configuration
        #[arg(long, value_name = "FILE")]
        signers: Option<PathBuf>,
        /// Release the built-in policy bundle
        #[arg(long)]
        default_policy: bool,
    },
    /// List what is in the catalogue
    #[command(after_help = "Example: outpost-control catalogue ls")]
    Ls,
}

/// `outpost-control device …`
#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Make a one-time enrolment code for a device
    #[command(after_help = "Example: outpost-control device code till-7 --minutes 60")]
    Code {
        /// The name that the device will have
        device: String,
        /// How long the code is valid
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
    /// List devices
    #[command(after_help = "Example: outpost-control device ls --json")]
    Ls,
    /// Show one device with its newest report
    #[command(after_help = "Example: outpost-control device show till-7")]
    Show {
        /// The device
        device: String,
    },
    /// Say which model a device should run
    #[command(after_help = "Example: outpost-control device assign till-7 --model outpost-demo")]
    Assign {
        /// The device
        device: String,
        /// The model; without it, the device runs none
        #[arg(long)]
        model: Option<String>,
        /// Smallest context that is of use, tokens
        #[arg(long, default_value_t = 512)]
        minimum_context: u32,
    },
    /// Revoke a device: it is disconnected and gets nothing more
    #[command(after_help = "Example: outpost-control device revoke till-7")]
    Revoke {
        /// The device
        device: String,
    },
}

/// `outpost-control audit …`
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List the mirrored logs: how far they are mirrored, cosigned and reported, and what is held against them
    #[command(after_help = "`outpost audit show`, `export` and `report` read the directories that this names.\n\n\
                      Example: outpost-control audit ls")]
    Ls,
    /// Verify the mirrors of a device, every record
    #[command(after_help = "Example: outpost-control audit verify till-7")]
    Verify {
        /// The device
        device: String,
    },
    /// Show the public keys that cosign, for an auditor's policy file
    #[command(after_help = "Example: outpost-control audit keys")]
    Keys,
}

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
}

/// `outpost-control user …`
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Issue a token for a person or service; it is shown once
    #[command(after_help = "Example: outpost-control user token ada --role operator --hours 12")]
    Token {
        /// Who it is for
        name: String,
        /// `operator`, `admin` or `auditor`; may be given more than once
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// How long it is valid
        #[arg(long, default_value_t = 12)]
        hours: u32,
    },
}
