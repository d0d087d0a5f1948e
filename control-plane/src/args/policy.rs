//! The command line of the policy desk.

use std::path::PathBuf;

use clap::Subcommand;

/// `outpost-control policy …`
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Save a draft and look at it: exit code 1 if it has errors
    #[command(
        after_help = "A folder holds `*.cedar`, `bundle.toml`, `limits.toml`, `models.toml`, `content.toml` and cases in any other \
                      `*.toml`. Without `version` in `bundle.toml` the bundle is one above the one in force.\n\n\
                      Examples: outpost-control policy draft night-shift --from my-bundle\n          \
                      outpost-control policy draft night-shift --from bundle.json\n          \
                      outpost-control policy draft night-shift --in-force"
    )]
    Draft {
        /// Its name
        name: String,
        /// A folder with the files of a bundle, or a bundle as JSON
        #[arg(long, value_name = "PATH", required_unless_present_any = ["in_force", "default"])]
        from: Option<PathBuf>,
        /// Begin with the policy in force
        #[arg(long, conflicts_with_all = ["from", "default"])]
        in_force: bool,
        /// Begin with the built-in policy
        #[arg(long, conflicts_with = "from")]
        default: bool,
    },
    /// List the policies of the catalogue, and the drafts
    #[command(after_help = "Example: outpost-control policy ls")]
    Ls,
    /// Show a draft: who wrote and approved it, its digest, what was found
    #[command(after_help = "Examples: outpost-control policy show night-shift\n          \
                      outpost-control policy show night-shift --out my-bundle\n          \
                      outpost-control policy show night-shift --bundle bundle.json")]
    Show {
        /// The draft
        name: String,
        /// Write its files into this folder, which must be empty or not there yet
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Write the bundle as it would be released, for `outpost seal policy` or `catalogue prepare --policy`
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Say in plain words and line by line what changes from the policy in force; exit code 1 if anybody may do more
    #[command(after_help = "Example: outpost-control policy diff night-shift")]
    Diff {
        /// The draft
        name: String,
    },
    /// Look at a draft and run its cases; exit code 1 if it has errors
    #[command(after_help = "Example: outpost-control policy lint night-shift")]
    Lint {
        /// The draft
        name: String,
    },
    /// Say who would have been refused or newly allowed, by what the devices recorded
    #[command(after_help = "What the records do not say is named and counted, not guessed.\n\n\
                      Example: outpost-control policy simulate night-shift --days 7 --where 'site=store-12'")]
    Simulate {
        /// The draft
        name: String,
        /// How far back, days
        #[arg(long, default_value_t = 7)]
        days: u32,
        /// Most records that are read, of all devices together
        #[arg(long, default_value_t = 100_000)]
        records: u64,
        /// Only devices that a selector means
        #[arg(long = "where", value_name = "SELECTOR")]
        selector: Option<String>,
    },
    /// Approve a draft that somebody else wrote, for exactly its digest
    #[command(after_help = "Example: outpost-control policy approve night-shift --digest 3f2a90c1b7de")]
    Approve {
        /// The draft
        name: String,
        /// The digest that `policy show` says, or its first 12 digits or more
        #[arg(long, value_name = "HEX")]
        digest: String,
    },
    /// Sign an approved draft with the offline keys and release it: for the fleet, or staged for a rollout
    #[command(
        after_help = "With `[policies] two_persons` (by default once there are two people) nothing is released that no second \
                      person approved, by this command or by `catalogue release`.\n\n\
                      Examples: outpost-control policy publish night-shift --keys /mnt/stick/outpost\n          \
                      outpost-control policy publish night-shift --keys /mnt/stick/outpost --staged"
    )]
    Publish {
        /// The draft
        name: String,
        /// Directory of the offline keys; more than once for more holders at one machine
        #[arg(long, value_name = "DIR", required = true)]
        keys: Vec<PathBuf>,
        /// Read a passphrase from a file, instead of asking at the terminal; more than once for more holders
        #[arg(long, value_name = "FILE")]
        passphrase_file: Vec<PathBuf>,
        /// The same bundle with people's signatures, where the policy in force asks for them
        #[arg(long, value_name = "FILE")]
        sealed: Option<PathBuf>,
        /// Only into the catalogue: a rollout brings it to devices, wave by wave
        #[arg(long)]
        staged: bool,
    },
    /// Forget a draft; what was released stays
    #[command(after_help = "Example: outpost-control policy drop night-shift")]
    Drop {
        /// The draft
        name: String,
    },
}
