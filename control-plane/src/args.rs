//! The command line, in the order in which an admin meets it.

mod audit;
mod broker;
mod build;
mod catalogue;
mod inventory;
mod model;
mod onefile;
mod policy;
mod rollout;
mod signals;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use audit::{Audit, OwnAudit, Report, Search};
pub(crate) use broker::{Broker, BrokerName};
pub(crate) use build::Build;
pub(crate) use catalogue::{Catalogue, Described, Fetch, ReleaseContent};
use inventory::SELECTORS;
pub(crate) use inventory::{Group, Plan};
pub(crate) use model::{Bom, Model};
pub(crate) use onefile::{Apply, Diff, Export};
pub(crate) use policy::Policy;
pub(crate) use rollout::{Rollout, Start, WhenItFails};
pub(crate) use signals::{Events, Webhook};

/// Enrols devices, signs what they should run, keeps what they report.
#[derive(Debug, Parser)]
#[command(
    name = "outpost-control",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done · 1 failed · 2 wrong command line, settings or fleet file · 3 `diff` found a difference"
)]
pub(crate) struct Cli {
    /// Directory that holds the fleet [default: $OUTPOST_CONTROL_STATE, else ~/.local/state/outpost-control]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// A PostgreSQL in the place of the file in the state directory, `postgres://USER@HOST/DATABASE`, without a password:
    /// that is in PGPASSWORD, in PGPASSFILE or in a file that the settings name [default: `[database]` of the settings]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database: Option<String>,
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
    /// Models: approvals, withdrawals
    #[command(subcommand, after_help = "Example: outpost-control model approvals")]
    Model(Model),
    /// Builds of the agent: in the catalogue, for rollouts
    #[command(subcommand, after_help = "Example: outpost-control build ls")]
    Build(Build),
    /// Bills of materials (CycloneDX 1.6): which models, of which licence and origin, run where
    #[command(subcommand, after_help = "Example: outpost-control bom fleet > fleet.cdx.json")]
    Bom(Bom),
    /// Devices: enrolment by code, key or request, inventory, assignment, revocation
    #[command(subcommand, after_help = "Example: outpost-control device code till-7")]
    Device(Device),
    /// Groups of devices: those that a selector means, or fixed members
    #[command(subcommand, after_help = "Example: outpost-control group ls")]
    Group(Group),
    /// What if: which devices could hold a model, and what the others lack
    #[command(after_help = "Asks each device's planner with what its machine measured last; nothing is sent.\n\n\
                      Example: outpost-control plan --model qwen3-0.6b --context 8192 --tokens-per-second 8")]
    Plan(Plan),
    /// Policies: drafts, differences, what they would have decided, approval by a second person, release
    #[command(subcommand, after_help = "Example: outpost-control policy draft night-shift --in-force")]
    Policy(Policy),
    /// Make the fleet what a file says: devices, groups, people, tokens; all of it or nothing
    #[command(after_help = format!("{}Example: outpost-control apply -f fleet.toml --dry-run", onefile::FORM))]
    Apply(Apply),
    /// Say how the fleet differs from a file; exit code 3 if it does
    #[command(after_help = format!("{}Example: outpost-control diff -f fleet.toml --reported", onefile::FORM))]
    Diff(Diff),
    /// Write the fleet as a file
    #[command(after_help = format!("{}Example: outpost-control export --out fleet.toml", onefile::FORM))]
    Export(Export),
    /// Rollouts: a change that reaches the fleet wave by wave, and goes back by itself where it does not do well
    #[command(subcommand, after_help = "Example: outpost-control rollout start march --model outpost-demo")]
    Rollout(Rollout),
    /// Audit logs of the devices: mirrors, cosignatures, evidence
    #[command(subcommand, after_help = "Example: outpost-control audit ls")]
    Audit(Audit),
    /// What happened in the fleet, in order
    #[command(after_help = "Example: outpost-control events --kind device.lost --after 1200")]
    Events(Events),
    /// Webhooks: programs that are sent what happens, signed
    #[command(subcommand, after_help = "Example: outpost-control webhook add pager https://pager.example/outpost")]
    Webhook(Webhook),
    /// Sticks for boxes without a network
    #[command(subcommand, after_help = "Example: outpost-control bundle export /mnt/stick/outpost")]
    Bundle(Bundle),
    /// Backups of the whole fleet: keys, database, models, mirrors
    #[command(subcommand, after_help = "Example: outpost-control backup create /mnt/backup/monday")]
    Backup(Backup),
    /// Files and access rules for a broker that is not the control plane's own
    #[command(subcommand, after_help = "Example: outpost-control broker config --mosquitto /etc/mosquitto/outpost")]
    Broker(Broker),
    /// People and services: tokens for the devices' APIs
    #[command(subcommand, after_help = "Example: outpost-control user token ada --role operator")]
    User(User),
    /// People who administer the fleet: roles, first sign-in, authenticators, sessions
    #[command(subcommand, after_help = "Example: outpost-control person add ada --role operator")]
    Person(Person),
    /// API tokens of programs: scoped, expiring
    #[command(subcommand, after_help = "Example: outpost-control token create --name ci --role viewer --days 30")]
    Token(Token),
}

/// `outpost-control keys …`
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make offline keys: with a holder's name his own, without one those of a small fleet, with its first root
    #[command(after_help = "Example: outpost-control keys create --keys /mnt/stick/outpost\n         \
                      outpost-control keys create --holder ada --keys /mnt/ada")]
    Create {
        /// Directory of the offline keys
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// Who holds them: needs no fleet, and writes NAME.pub.json for `keys root`
        #[arg(long, value_name = "NAME")]
        holder: Option<String>,
        /// The keys are there already: only write NAME.pub.json
        #[arg(long, requires = "holder", conflicts_with = "passphrase")]
        existing: bool,
        /// Lock them with a passphrase, which is asked for twice
        #[arg(long)]
        passphrase: bool,
        /// Read the passphrase from a file instead: that of the new keys, or of those that are there already
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Set, change or remove the passphrase of offline keys; needs no fleet and no network
    #[command(after_help = "Examples: outpost-control keys passphrase --keys /mnt/ada\n          \
                      outpost-control keys passphrase --keys /mnt/ada --remove")]
    Passphrase {
        /// Directory of the offline keys
        #[arg(long, value_name = "DIR")]
        keys: PathBuf,
        /// Leave them without one
        #[arg(long, conflicts_with = "new_passphrase_file")]
        remove: bool,
        /// Read the passphrase that they have from a file; more than once if a change was interrupted
        #[arg(long, value_name = "FILE")]
        passphrase_file: Vec<PathBuf>,
        /// Read the new passphrase from a file, instead of asking for it twice
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Plan a root: whose keys count. It counts when enough holders have signed it and it is installed
    #[command(after_help = "Example: outpost-control keys root --holder ada.pub.json --holder bo.pub.json \
                      --holder cy.pub.json --threshold 2 --plan root.json")]
    Root {
        /// A holder's NAME.pub.json; once for each of them, those who stay included
        #[arg(long = "holder", value_name = "FILE", required_unless_present = "same")]
        holders: Vec<PathBuf>,
        /// How many of them must sign
        #[arg(long, default_value_t = 1)]
        threshold: u64,
        /// The same holders and threshold: for a new online key, or before the root expires
        #[arg(long, conflicts_with_all = ["holders", "threshold"])]
        same: bool,
        /// Where the plan is written, for the holders to sign
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
    },
    /// Sign a root or a release as a holder; needs no fleet and no network. Says first what is signed
    #[command(after_help = "Example: outpost-control keys sign root.json --keys /mnt/ada")]
    Sign {
        /// What `keys root` or `catalogue prepare` wrote; the signature is added to it
        file: PathBuf,
        /// The holder's keys; more than once for more holders at one machine
        #[arg(long, value_name = "DIR", required = true)]
        keys: Vec<PathBuf>,
        /// Read a passphrase from a file, instead of asking at the terminal; more than once for more holders
        #[arg(long, value_name = "FILE")]
        passphrase_file: Vec<PathBuf>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Put a root in force that enough holders have signed; the server must be stopped
    #[command(after_help = "Example: outpost-control keys install root.json")]
    Install {
        /// The signed root; copies that different holders signed are put together
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show whose keys count, how many must sign, and what expires first
    #[command(after_help = "Example: outpost-control keys show")]
    Show,
    /// Replace a key of the server; the server must be stopped
    #[command(after_help = "Example: outpost-control keys rotate director --stolen")]
    Rotate {
        /// Which key
        key: ServerKeyName,
        /// Somebody else has it: the next release does not list it any more
        #[arg(long)]
        stolen: bool,
    },
    /// Forget the key that was replaced, once every device knows the new one; the server must be stopped
    #[command(after_help = "Example: outpost-control keys retire director")]
    Retire {
        /// Which key
        key: ServerKeyName,
        /// Also if a device has not followed: it must be enrolled again
        #[arg(long)]
        force: bool,
    },
}

/// A key of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServerKeyName {
    /// Signs snapshot and timestamp
    Online,
    /// Signs desired states
    Director,
    /// Signs tokens
    Tokens,
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
    /// Make a one-time enrolment code for each device of a list: all or none
    #[command(after_help = "The list: a name per line, or CSV whose first column is the name.\n\n\
                      Example: outpost-control device codes --file names.csv --minutes 1440 > codes.txt")]
    Codes {
        /// The list; `-` reads it from standard input
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// How long the codes are valid
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
    /// Let a device enrol by its key, without a code; with a list, many: all or none
    #[command(after_help = "`outpost enroll --show-key` prints the fingerprint on the device.\n\
                      The list: CSV of name and fingerprint.\n\n\
                      Example: outpost-control device allow till-7 --key-sha256 3f2a-…\n         \
                      outpost-control device allow --file keys.csv")]
    Allow {
        /// The name that the device will have
        #[arg(required_unless_present = "file", requires = "key_sha256")]
        device: Option<String>,
        /// Fingerprint of its key
        #[arg(long, value_name = "HEX", requires = "device")]
        key_sha256: Option<String>,
        /// The list; `-` reads it from standard input
        #[arg(long, value_name = "FILE", conflicts_with_all = ["device", "key_sha256"])]
        file: Option<PathBuf>,
    },
    /// List devices that ask to enrol (with `accept_requests = true` in the settings)
    #[command(after_help = "Compare each fingerprint with the one that the device shows.\n\n\
                      Example: outpost-control device requests")]
    Requests,
    /// Say yes to a device that asks to enrol
    #[command(after_help = "Example: outpost-control device accept 3f2a-… --name till-7")]
    Accept {
        /// Fingerprint of its key
        fingerprint: String,
        /// The name that it will have
        #[arg(long)]
        name: String,
    },
    /// Say no to a device that asks to enrol
    #[command(after_help = "Example: outpost-control device reject 3f2a-…")]
    Reject {
        /// Fingerprint of its key
        fingerprint: String,
    },
    /// List devices: where, connected, state, memory, what runs, desired state in force, why not further
    #[command(after_help = SELECTORS)]
    Ls {
        /// Only those that a selector means
        #[arg(long = "where", value_name = "SELECTOR")]
        selector: Option<String>,
    },
    /// Attach words to a device, to select it by, or take them away; without any, show them
    #[command(after_help = "Examples: outpost-control device label till-7 role=till stage=canary\n          \
                      outpost-control device label till-7 --remove stage")]
    Label {
        /// The device
        device: String,
        /// KEY=VALUE
        #[arg(value_name = "KEY=VALUE")]
        labels: Vec<String>,
        /// Take this one away; may be given more than once
        #[arg(long, value_name = "KEY")]
        remove: Vec<String>,
    },
    /// Show one device with its newest report
    #[command(after_help = "Example: outpost-control device show till-7")]
    Show {
        /// The device
        device: String,
    },
    /// Say which model devices should run: all of those named, or none
    #[command(after_help = "Examples: outpost-control device assign till-7 --model outpost-demo\n          \
                      outpost-control device assign --all --model outpost-demo")]
    Assign {
        /// The devices
        #[arg(required_unless_present = "all", value_name = "DEVICE")]
        devices: Vec<String>,
        /// All devices that are enrolled
        #[arg(long, conflicts_with = "devices")]
        all: bool,
        /// The model; without it, the device runs none
        #[arg(long)]
        model: Option<String>,
        /// Smallest context that is of use, tokens
        #[arg(long, default_value_t = 512)]
        minimum_context: u32,
    },
    /// Say which site a device is at: the devices of a site share its line
    #[command(after_help = "Example: outpost-control device site till-7 store-12")]
    Site {
        /// The device
        device: String,
        /// The site; without it, the device is at none
        site: Option<String>,
    },
    /// Ask devices to do something now: status, restart, drain, collect-diagnostics, rescan, probe or erase
    #[command(
        after_help = "What a device obeys is for its policy bundle to say: `[fleet] commands` in `bundle.toml`.\n\n\
                      Examples: outpost-control device command till-7 restart --wait\n          \
                      outpost-control device command till-7 till-8 drain --seconds 600\n          \
                      outpost-control device command --all status"
    )]
    Command {
        /// The devices, then what they are to do
        #[arg(required = true, value_name = "DEVICE… OPERATION")]
        words: Vec<String>,
        /// All devices that are enrolled
        #[arg(long)]
        all: bool,
        /// Wait for the last answer; exit code 1 unless every device has done it
        #[arg(long)]
        wait: bool,
        /// A device that is out of reach for longer does not do it, 1 to 1440
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// For `drain`: for how long; 0 takes questions again
        #[arg(long, default_value_t = 600)]
        seconds: u32,
        /// For `erase`: the pseudonym
        #[arg(long, default_value = "")]
        subject: String,
        /// For `erase`: why, for the device's audit log
        #[arg(long, default_value = "")]
        basis: String,
        /// Who asks, for both logs [default: $USER]
        #[arg(long = "as", value_name = "NAME")]
        asked_by: Option<String>,
    },
    /// List the commands that a device was given, and what it answered
    #[command(after_help = "Example: outpost-control device commands till-7 --id 0f… --out till-7.zst")]
    Commands {
        /// The device
        device: String,
        /// Only this one, in full
        #[arg(long)]
        id: Option<String>,
        /// Write what this one collected to a file
        #[arg(long, value_name = "FILE", requires = "id")]
        out: Option<PathBuf>,
    },
    /// List what happened on a device, newest first
    #[command(after_help = "Example: outpost-control device events till-7")]
    Events {
        /// The device
        device: String,
    },
    /// Revoke a device: it is disconnected and gets nothing more
    #[command(after_help = "Example: outpost-control device revoke till-7")]
    Revoke {
        /// The device
        device: String,
    },
}

/// `outpost-control bundle …`
#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Write what devices should run, with everything they need for it, into a directory; one that is there is brought up
    /// to date
    #[command(after_help = "Example: outpost-control bundle export /mnt/stick/outpost --device till-7")]
    Export {
        /// The directory, on a stick for example
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// For this device alone; may be given more than once [default: every device that has an assignment]
        #[arg(long = "device", value_name = "DEVICE")]
        devices: Vec<String>,
        /// Leave the model files out
        #[arg(long)]
        without_models: bool,
    },
    /// Take in what boxes sent home on a stick: audit records, reported state, answers to commands, events. What they are
    /// told of it goes onto the next stick
    #[command(after_help = "Example: outpost-control bundle import /mnt/stick/outpost")]
    Import {
        /// The directory that `outpost bundle export` wrote
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// `outpost-control backup …`
#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Copy everything, while the server runs, and verify the copy. It holds every key of the server: keep it as one
    #[command(after_help = "Example: outpost-control backup create /mnt/backup/monday")]
    Create {
        /// An empty directory, or one that is not there yet
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Read every file of a backup and compare it with what was copied
    #[command(after_help = "Example: outpost-control backup verify /mnt/backup/monday")]
    Verify {
        /// What `backup create` wrote
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Make a state directory out of a backup; `--state` says which, and it must be empty. Codes and allowed keys that
    /// were open let nobody in any more; devices that were revoked since are to be revoked again
    #[command(after_help = "Example: outpost-control backup restore /mnt/backup/monday --state /srv/outpost")]
    Restore {
        /// What `backup create` wrote
        #[arg(value_name = "DIR")]
        directory: PathBuf,
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

/// `outpost-control person …`
#[derive(Debug, Subcommand)]
pub(crate) enum Person {
    /// Enter a person; prints the code with which they set their password at `/login/first`
    #[command(after_help = "Example: outpost-control person add ada --role operator")]
    Add {
        /// Their name
        name: String,
        /// `administrator`, `operator`, `approver`, `auditor` or `viewer`; may be given more than once
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
    },
    /// List people
    #[command(after_help = "Example: outpost-control person ls")]
    Ls,
    /// Give a person these roles in the place of those before
    #[command(after_help = "Example: outpost-control person role ada --role approver")]
    Role {
        /// Their name
        name: String,
        /// The roles
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
    },
    /// Make a new code with which a person sets a new password
    #[command(after_help = "Example: outpost-control person reset ada")]
    Reset {
        /// Their name
        name: String,
    },
    /// Ask for an authenticator's codes; prints the address that the authenticator reads
    #[command(after_help = "Example: outpost-control person totp ada")]
    Totp {
        /// Their name
        name: String,
        /// Ask for none any more
        #[arg(long)]
        off: bool,
    },
    /// Let a person in no longer: their sessions end at once
    #[command(after_help = "Example: outpost-control person disable ada")]
    Disable {
        /// Their name
        name: String,
    },
    /// Let a person in again
    #[command(after_help = "Example: outpost-control person enable ada")]
    Enable {
        /// Their name
        name: String,
    },
    /// Forget a person; what they did stays on record
    #[command(after_help = "Example: outpost-control person remove ada")]
    Remove {
        /// Their name
        name: String,
    },
    /// List the browsers that are signed in
    #[command(after_help = "Example: outpost-control person sessions")]
    Sessions,
    /// End all sessions of a person
    #[command(after_help = "Example: outpost-control person sign-out ada")]
    SignOut {
        /// Their name
        name: String,
    },
}

/// `outpost-control token …`
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token; it is shown once
    #[command(after_help = "Example: outpost-control token create --name ci --role viewer --scope see --days 30")]
    Create {
        /// Its name, for records
        #[arg(long)]
        name: String,
        /// A role of its carrier; may be given more than once
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// An act that it is good for, such as `see` or `assign` [default: all that the roles allow]
        #[arg(long = "scope", value_name = "ACT")]
        scope: Vec<String>,
        /// How long it is valid
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// List tokens, without their secrets
    #[command(after_help = "Example: outpost-control token ls")]
    Ls,
    /// Let the carrier of a token in no longer
    #[command(after_help = "Example: outpost-control token revoke ci")]
    Revoke {
        /// Its name
        name: String,
    },
}
