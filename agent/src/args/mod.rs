//! The command line: what can be asked for, in the order a newcomer meets it.

mod bundle;
mod link;
mod model;
mod seal;
mod tune;
mod update;

use std::path::PathBuf;

pub use bundle::*;
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use link::*;
pub use model::*;
use outpost_audit::Kind;
use outpost_audit::export::Format;
use outpost_audit::leaf::Time;
pub use seal::*;
pub use tune::*;
pub use update::*;

/// Offline-first local inference: measured, signed, recorded.
#[derive(Debug, Parser)]
#[command(name = "outpost", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// Directory that holds everything this agent knows [default: $OUTPOST_STATE, else ~/.local/state/outpost]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Answer in JSON on standard output, for machines
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done · 1 failed · 2 wrong command line or configuration · 4 verification found a problem · 5 no agent runs on this state directory";

/// One subcommand; each has a file of its own in `cmd/`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent; not enrolled, it serves one box on its own
    #[command(after_help = "Example: outpost run --model qwen3-0.6b-Q4_0.gguf")]
    Run(Run),
    /// Enrol this device with a one-time code
    #[command(
        after_help = "Example: outpost enroll --server https://control:8790 --code 7F3K-… --ca ca.pem\n         \
                      outpost enroll --show-key\n         \
                      outpost enroll --server https://control:8790 --ca ca.pem --name till-7"
    )]
    Enroll(Enroll),
    /// Measure what this machine can give
    #[command(after_help = "Example: outpost probe --quick")]
    Probe(Probe),
    /// Say which variant this machine should run, and why not the others; without files, which well-known models it could
    #[command(after_help = "Examples: outpost plan model-f16.gguf model-Q8_0.gguf model-Q4_0.gguf\n          \
                            outpost plan\n          outpost plan qwen3-4b --minimum-speed 8")]
    Plan(Plan),
    /// Find how a model runs best here, by measuring variants and settings; or reuse what another box of the same class measured
    #[command(
        after_help = "Exit code 4 if evidence is refused. What was measured is kept: a run that was interrupted goes on.\n\n\
                      Examples: outpost tune model-f16.gguf --picture tune.html --out evidence.dsse\n          \
                      outpost tune model-f16.gguf --objective speed --minimum-agreement 95\n          \
                      outpost tune --show-key > box-1.key\n          \
                      outpost tune model-f16.gguf --evidence evidence.dsse --trust box-1.key"
    )]
    Tune(Box<Tune>),
    /// What the running agent does: model, policy, connection, audit log
    #[command(after_help = "Example: outpost status --json")]
    Status,
    /// Ask the model a question through the running agent, or straight from a file
    #[command(after_help = "Example: outpost chat \"How does a device enrol?\"")]
    Chat(Chat),
    /// Local API keys for a box on its own
    #[command(subcommand, after_help = "Example: outpost key create --name till --role operator")]
    Key(Key),
    /// Model files: list, import, inspect, quantise
    #[command(subcommand, after_help = "Example: outpost model quantize in-f16.gguf out-Q4_0.gguf --to Q4_0")]
    Model(Model),
    /// Newer builds of the agent itself: try one, see how they stand
    #[command(subcommand, after_help = "Example: outpost update install outpost-0.2.0")]
    Update(Update),
    /// Say what this build is and whether its kernels work on this processor; touches nothing
    #[command(after_help = "Exit code 4 if they do not.\n\nExample: outpost self-check --json")]
    SelfCheck,
    /// The audit log: verify it, read it, hand it to an auditor
    #[command(subcommand, after_help = "Example: outpost audit verify")]
    Audit(Audit),
    /// Policies: check a bundle, run its cases, explain a decision of the built-in one
    #[command(subcommand, after_help = "Example: outpost policy explain --role auditor --action infer")]
    Policy(Policy),
    /// Locks: who is not served any more, by a signed list that works without a network
    #[command(subcommand, after_help = "Example: outpost lock apply locks.sealed")]
    Lock(Lock),
    /// A sealed override for an emergency: open it, close it
    #[command(subcommand, after_help = "Example: outpost break-glass open fire-1.sealed")]
    BreakGlass(BreakGlass),
    /// A stick between a fleet and a box without a network
    #[command(subcommand, after_help = "Example: outpost bundle import /mnt/stick/outpost")]
    Bundle(Bundle),
    /// The link to the control plane: messages that were given up
    #[command(subcommand, after_help = "Example: outpost link dead-letters ls")]
    Link(Link),
    /// Sign documents that devices obey: policy bundles, lists of locks, overrides
    #[command(subcommand, after_help = "Example: outpost seal policy my-bundle/ --key ada.key --out bundle.sealed")]
    Seal(Seal),
}

/// `outpost run`
#[derive(Debug, Args)]
pub struct Run {
    /// Serve this GGUF file (overrides `model.path`)
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Address of the local API (overrides `api.listen`)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
}

/// `outpost enroll`
#[derive(Debug, Args)]
pub struct Enroll {
    /// Print the fingerprint of this device's key (made now, if there is none) and do nothing else
    #[arg(long, conflicts_with_all = ["server", "code", "ca", "name", "wait"])]
    pub show_key: bool,
    /// The control plane, as in `https://control.example:8790`
    #[arg(long, value_name = "URL", required_unless_present = "show_key")]
    pub server: Option<String>,
    /// The one-time code; `-` reads it from standard input. Without one, this device comes with its key alone: allowed
    /// before, or accepted by an operator
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// The control plane's authority, PEM: the only root that is trusted
    #[arg(long, value_name = "FILE", required_unless_present = "show_key")]
    pub ca: Option<PathBuf>,
    /// The name that an operator is asked for
    #[arg(long, conflicts_with = "code")]
    pub name: Option<String>,
    /// How long an operator's decision is waited for, minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60, conflicts_with = "code")]
    pub wait: u32,
    /// Succeed without doing anything if this device is enrolled already, for what runs at every start
    #[arg(long, conflicts_with = "show_key")]
    pub unless_enrolled: bool,
}

/// `outpost probe`
#[derive(Debug, Args)]
pub struct Probe {
    /// Measure for half a second instead of three
    #[arg(long)]
    pub quick: bool,
}

/// `outpost plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// GGUF files to choose among, or well-known models; none: all well-known models
    #[arg(value_name = "FILE|MODEL")]
    pub files: Vec<PathBuf>,
    /// Smallest context that is of use, tokens
    #[arg(long, default_value_t = 512)]
    pub minimum_context: u32,
    /// Slowest decoding that is of use, tokens per second; 0 for any [default: 5 for well-known models, else 0]
    #[arg(long, value_name = "TOKENS")]
    pub minimum_speed: Option<f64>,
    /// Lowest quality that is of use, bits per weight; 0 for any
    #[arg(long, value_name = "BITS", default_value_t = 0.0)]
    pub minimum_quality: f64,
    /// Conversations at once
    #[arg(long, default_value_t = 4)]
    pub slots: u32,
    /// What is best among those that fit
    #[arg(long, value_enum, default_value_t = Objective::Quality)]
    pub objective: Objective,
    /// Licences that may run, as in `apache-2.0`; all if none is named
    #[arg(long, value_name = "LICENCE")]
    pub licence: Vec<String>,
    /// Write a page with a picture of memory against context and the chosen point
    #[arg(long, value_name = "FILE.html", requires = "files")]
    pub picture: Option<PathBuf>,
}

/// What makes one fitting variant better than another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Objective {
    /// Closest to the original
    Quality,
    /// Most tokens per second
    Speed,
    /// Least memory
    Memory,
}

/// `outpost chat`
#[derive(Debug, Args)]
pub struct Chat {
    /// The question; none: a conversation on the terminal
    pub prompt: Option<String>,
    /// Answer from this GGUF file when no agent runs on the state directory; or from a well-known model (`qwen3-4b`) or one of a
    /// hub (`hf:OWNER/REPO`), which is fetched if it is not here and may be
    #[arg(long, value_name = "FILE|MODEL")]
    pub model: Option<PathBuf>,
    /// Most tokens in the answer
    #[arg(long, default_value_t = 256)]
    pub max_tokens: u32,
    /// 0 always answers the same
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
}

/// `outpost key …`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Make a key; it is shown once
    #[command(after_help = "Example: outpost key create --name till --role operator --days 90")]
    Create {
        /// Who it is for
        #[arg(long)]
        name: String,
        /// `operator`, `admin` or `auditor`; may be given more than once
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// Days until it expires
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Only for this model; may be given more than once
        #[arg(long = "model", value_name = "MODEL")]
        models: Vec<String>,
        /// Only for this action, as in `infer`; may be given more than once
        #[arg(long = "action", value_name = "ACTION")]
        actions: Vec<String>,
        /// Only for paths under this one, as in `/v1/embeddings`; may be given more than once
        #[arg(long = "endpoint", value_name = "PATH")]
        endpoints: Vec<String>,
    },
    /// Make a key in the place of another, which goes on for a while
    #[command(after_help = "Example: outpost key rotate 4f8a2c01 --grace-hours 24")]
    Rotate {
        /// The id that `list` shows
        id: String,
        /// Hours for which the old key still counts
        #[arg(long, default_value_t = 24)]
        grace_hours: u32,
    },
    /// List keys, without their secrets
    #[command(after_help = "Example: outpost key list --json")]
    List,
    /// Revoke a key at once
    #[command(after_help = "Example: outpost key revoke 4f8a2c01")]
    Revoke {
        /// The id that `list` shows
        id: String,
    },
}

/// `outpost audit …`
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check a log, an export or a proof: every record, the tree, the signatures; names the record that is wrong
    #[command(
        after_help = "Exit code 4 if anything is wrong.\n\nExamples: outpost audit verify /mnt/copy/audit --key audit.vkey\n          \
                            outpost audit verify 17.tlog-proof --key audit.vkey"
    )]
    Verify {
        /// An audit directory, an export of any format, or a proof; the state directory's own log by default
        path: Option<PathBuf>,
        /// The log's verifier key, or a file that holds it, from elsewhere: the one beside the log detects damage only
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// A signed checkpoint that was kept from an earlier visit; may be given more than once
        #[arg(long = "checkpoint", value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
        /// A policy of witnesses (c2sp.org/tlog-policy): its quorum must vouch for the log or the proof. `outpost-control
        /// audit keys --policy` writes one
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// The record of a proof [default: the file beside it that ends in `json`]
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
    },
    /// Show records, newest last
    #[command(
        after_help = "Example: outpost audit show --last 20 --kind infer.denied --who p:9c1e\n\nWhere there are more, \
                            standard error says how to ask for the next page."
    )]
    Show(Show),
    /// Write the log for somebody else to check or to read; the act is itself recorded
    #[command(
        after_help = "Example: outpost audit export --format tiles --out audit-tiles\n\n`tiles` is the whole log in the form of \
                            c2sp.org/tlog-tiles. The others are records with a signed manifest, by which `outpost audit verify` \
                            shows that none of the range is missing."
    )]
    Export {
        /// An audit directory; the state directory's own by default
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// tiles, jsonl, csv, ocsf, cef or syslog
        #[arg(long, value_parser = format)]
        format: Format,
        /// The folder to make; it must not exist
        #[arg(long, value_name = "PATH")]
        out: PathBuf,
        /// First index
        #[arg(long, value_name = "N")]
        from: Option<u64>,
        /// First index that is not wanted any more
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// A file with an auditor's API key, for while the agent runs: its own account is an admin, and admins do not read
        /// the record
        #[arg(long, value_name = "FILE")]
        auditor_key: Option<PathBuf>,
    },
    /// Write a proof that one record is in the log, to be checked anywhere without the log; the act is itself recorded
    #[command(
        after_help = "Example: outpost audit prove 17 --out 17.tlog-proof\n\nThe record is written beside it, as 17.json. The form is \
                            c2sp.org/tlog-proof."
    )]
    Prove {
        /// The record's index
        #[arg(value_name = "N")]
        index: u64,
        /// An audit directory; the state directory's own by default
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A file with an auditor's API key, as for `export`
        #[arg(long, value_name = "FILE")]
        auditor_key: Option<PathBuf>,
    },
    /// Show the key by which this device vouches for the logs of its neighbours, for an auditor's policy file
    #[command(after_help = "Example: outpost audit witness-key")]
    WitnessKey,
    /// Tell between which times a record came to be, by what witnesses signed and not by the device's clock
    #[command(
        after_help = "Example: outpost audit when 17 --policy witnesses.policy\n\nWithout a policy, the keys are used that this \
                            device was given when it enrolled."
    )]
    When {
        /// The record's index
        #[arg(value_name = "N")]
        index: u64,
        /// An audit directory; the state directory's own by default
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
        /// A policy (c2sp.org/tlog-policy) that names the log and the witnesses
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Write one page for people: can the log be believed, who used what, what was refused, changed, erased; the act is
    /// itself recorded
    #[command(
        after_help = "Exit code 4 if the log does not verify; the page says so first.\n\nExample: outpost audit report --out \
                            report.html --since 2026-11-01 --before 2026-12-01\n\nThe page is one HTML file without scripts that \
                            asks for nothing else; a browser prints it as a PDF."
    )]
    Report(Report),
    /// Show what was sealed with one record, where a rule asked to keep it; the act is itself recorded
    #[command(
        after_help = "Example: outpost audit content 17 --auditor-key auditor.key\n\nA rule asks by `@audit(\"request\")` or \
                            `@audit(\"request_and_response\")`; what was asked lies with `infer.start`, the answer with `infer.end`."
    )]
    Content {
        /// The record's index
        #[arg(value_name = "N")]
        index: u64,
        /// A file with an auditor's API key, as for `export`
        #[arg(long, value_name = "FILE")]
        auditor_key: Option<PathBuf>,
    },
    /// Destroy what was sealed of one subject, for good; the log still verifies
    #[command(
        after_help = "Example: outpost audit erase --subject 'https://login.example|ada' --basis \"case 7\" --key eraser.key\n\nThe \
                            name becomes a pseudonym here and goes nowhere else; with `--subject -` it is read from standard \
                            input, so that the shell keeps it in no history. While the agent runs, whoever asks needs \
                            `erase_audit`, which no default rule gives."
    )]
    Erase(Erase),
    /// Destroy sealed content that is past its time, as the agent does by itself
    #[command(after_help = "Example: outpost audit prune --dry-run")]
    Prune {
        /// Only say what would be destroyed
        #[arg(long)]
        dry_run: bool,
        /// A file with the API key of somebody who may, for while the agent runs
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

/// `outpost audit report`
#[derive(Debug, Args)]
pub struct Report {
    /// An audit directory; the state directory's own by default
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The file to write; it replaces what was there
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Only from this moment on (UTC), as 2026-11-23 or 2026-11-23T05:40:10Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Time>,
    /// Only before this moment
    #[arg(long, value_name = "TIME")]
    pub before: Option<Time>,
    /// The log's verifier key, or a file that holds it, as for `verify`
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// A witness's key, or a file that holds it, to check cosignatures with; may be given more than once
    #[arg(long = "witness", value_name = "KEY")]
    pub witnesses: Vec<String>,
    /// A file with an auditor's API key, as for `export`
    #[arg(long, value_name = "FILE")]
    pub auditor_key: Option<PathBuf>,
}

/// `outpost audit erase`
#[derive(Debug, Args)]
pub struct Erase {
    /// Whose: `ISSUER|SUBJECT` of a token, `key:ID`, `uid:NUMBER`, a pseudonym `p:…`, or `-` to read it from standard input
    #[arg(long, value_name = "WHO")]
    pub subject: String,
    /// On what basis, as the number of a case; recorded for good, so it must not say who the subject is
    #[arg(long)]
    pub basis: String,
    /// Who approved it, if not whoever asks
    #[arg(long, value_name = "WHO")]
    pub approver: Option<String>,
    /// A file with the API key of somebody who may, for while the agent runs
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
}

/// `outpost audit show`
#[derive(Debug, Args)]
pub struct Show {
    /// An audit directory; the state directory's own by default
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The newest so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, conflicts_with = "first")]
    pub last: usize,
    /// The oldest so many instead
    #[arg(long, value_name = "COUNT")]
    pub first: Option<usize>,
    /// From this index
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,
    /// Up to this index, which is not shown any more
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Only from this moment on (UTC), as 2026-11-23 or 2026-11-23T05:40:10Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Time>,
    /// Only before this moment
    #[arg(long, value_name = "TIME")]
    pub before: Option<Time>,
    /// Only records of this type; may be given more than once
    #[arg(long = "kind", value_name = "TYPE", value_parser = kind)]
    pub kinds: Vec<Kind>,
    /// Only records of this pseudonym
    #[arg(long, value_name = "PSEUDONYM")]
    pub who: Option<String>,
    /// Only records about this model
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
}

fn kind(name: &str) -> Result<Kind, String> {
    let known = || Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    Kind::from_name(name).ok_or_else(|| format!("it is not a type of records; known are {}", known()))
}

fn format(name: &str) -> Result<Format, String> {
    let known = || Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
    Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| format!("it is none of {}", known()))
}

/// `outpost lock …`
#[derive(Debug, Subcommand)]
pub enum Lock {
    /// Have the running agent put a newer, sealed list of locks in force
    #[command(after_help = "Example: outpost lock apply locks.sealed")]
    Apply {
        /// What `outpost seal locks` wrote
        document: PathBuf,
    },
}

/// `outpost break-glass …`
#[derive(Debug, Subcommand)]
pub enum BreakGlass {
    /// Have the running agent open a sealed override; it is on record before it counts
    #[command(after_help = "Example: outpost break-glass open fire-1.sealed")]
    Open {
        /// What `outpost seal break-glass` wrote
        document: PathBuf,
    },
    /// Close the override that is open, for good
    #[command(after_help = "Example: outpost break-glass close")]
    Close,
}

/// `outpost policy …`. A bundle is a folder with its files or one JSON file; the built-in one by default.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check a bundle as strictly as a device does, and look for what its author hardly meant
    #[command(after_help = "Exit code 4 if anything is found.\n\nExample: outpost policy check my-bundle/")]
    Check {
        /// A bundle
        bundle: Option<PathBuf>,
    },
    /// Run a bundle's own cases, one line each
    #[command(after_help = "Exit code 4 if a case fails.\n\nExample: outpost policy test my-bundle/")]
    Test {
        /// A bundle
        bundle: Option<PathBuf>,
    },
    /// Say whether somebody may do something, which rules decide, and what would have to be different
    #[command(after_help = "Example: outpost policy explain my-bundle/ --role operator --action infer \
                            --given max_tokens=9000 --given network=remote\n\nWhat can be given is what a case can say: \
                            model, licence, class, approved, weekday, time, offline_s, auth, network, data_class, …")]
    Explain {
        /// A bundle
        bundle: Option<PathBuf>,
        /// A role; several by repeating it
        #[arg(long = "role")]
        roles: Vec<String>,
        /// The action, as in `infer` or `read_audit`
        #[arg(long)]
        action: String,
        /// Something that is not usual, as `offline_s=400000`
        #[arg(long = "given", value_name = "NAME=VALUE")]
        given: Vec<String>,
    },
    /// Say in plain words what changes from one bundle to another: who gains what, who loses what
    #[command(after_help = "Exit code 4 if anybody may do more than before.\n\nExample: outpost policy diff old/ new/")]
    Diff {
        /// The bundle in force
        old: PathBuf,
        /// The bundle that would follow it
        new: PathBuf,
    },
    /// Have the running agent put a bundle in force, on a box of its own
    #[command(
        after_help = "Where the bundle in force asks for approvals, a sealed one is needed: see `outpost seal policy`.\n\n\
                            Example: outpost policy activate bundle.sealed"
    )]
    Activate {
        /// A bundle, or what `outpost seal policy` wrote
        bundle: PathBuf,
    },
    /// Have the running agent go back to the bundle before
    #[command(after_help = "Example: outpost policy rollback")]
    Rollback,
    /// Say who can do what, by which rule, and when not
    #[command(after_help = "Example: outpost policy review my-bundle/ --who ada=operator,auditor")]
    Review {
        /// A bundle
        bundle: Option<PathBuf>,
        /// Somebody with roles; every role by default
        #[arg(long = "who", value_name = "NAME=ROLE,ROLE")]
        who: Vec<String>,
    },
}
