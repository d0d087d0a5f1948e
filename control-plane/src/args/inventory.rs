//! `outpost-control group …` and `outpost-control plan`.

use clap::{Args, Subcommand};

/// What a selector may say, for `--help`.
pub(super) const SELECTORS: &str = "A selector compares what is known of a device: name, site, label.KEY, group, state, model, \
variant, wanted, cpu, feature, reason (text, `*` for anything); agent (version); memory, memory-available, disk (8GiB); cores, \
context, policy, backlog, dead-letters, speed (numbers); seen, enrolled, certificate (30d, 12h); online, revoked, assigned, drift, \
measured (true or false), with `=` `!=` `<` `<=` `>` `>=` `in (a, b)`, `and`, `or`, `not` and parentheses.\n\n\
Examples: outpost-control device ls --where 'site=store-12 and not online'\n          \
outpost-control device ls --where 'drift and label.role=till and memory<8GiB' --json";

/// `outpost-control group …`
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Make a group, or put it in the place of the one of that name
    #[command(after_help = "Examples: outpost-control group create canary --where 'label.stage=canary'\n          \
                      outpost-control group create lab till-1 till-2 --description 'under the desk'")]
    Create {
        /// Its name
        name: String,
        /// Its members
        #[arg(value_name = "DEVICE")]
        members: Vec<String>,
        /// Whom it means, in the place of members
        #[arg(long = "where", value_name = "SELECTOR", conflicts_with = "members")]
        selector: Option<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List groups
    #[command(after_help = "Example: outpost-control group ls")]
    Ls,
    /// Show a group, and whom it means now
    #[command(after_help = "Example: outpost-control group show canary")]
    Show {
        /// Its name
        name: String,
    },
    /// Forget a group
    #[command(after_help = "Example: outpost-control group rm canary")]
    Rm {
        /// Its name
        name: String,
    },
}

/// `outpost-control plan`
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The model
    #[arg(long)]
    pub(crate) model: String,
    /// Smallest context that is of use, tokens
    #[arg(long, default_value_t = 512)]
    pub(crate) context: u32,
    /// Slowest decoding that is of use; 0 for any
    #[arg(long, default_value_t = 0.0, value_name = "SPEED")]
    pub(crate) tokens_per_second: f64,
    /// Of which devices [default: of all]
    #[arg(long = "where", value_name = "SELECTOR")]
    pub(crate) selector: Option<String>,
}
