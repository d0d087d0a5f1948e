//! `outpost seal …`: what people who sign documents ask for, on any computer.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `outpost seal …`. Needs no agent and no state: signing is done where the key is.
#[derive(Debug, Subcommand)]
pub enum Seal {
    /// Make a key to sign with, and show its public half for `signers`
    #[command(after_help = "Example: outpost seal key ada.key")]
    Key {
        /// The file to make; it is secret
        out: PathBuf,
    },
    /// Seal a policy bundle that would be activated
    #[command(after_help = "Example: outpost seal policy my-bundle/ --key ada.key --out bundle.sealed")]
    Policy {
        /// A bundle: a folder with its files or one JSON file
        bundle: PathBuf,
        /// Key and result
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Seal a list of locks
    #[command(after_help = "The list: {\"seq\": 7, \"strictness\": \"best_effort\", \"locks\": [{\"kind\": \"user\", \
                            \"id\": \"uid:1001\", \"reason\": \"left the house\"}]}; `issued_s` is now unless it is said.\n\n\
                            Example: outpost seal locks locks.json --key ada.key --out locks.sealed")]
    Locks {
        /// The list, as JSON
        list: PathBuf,
        /// Key and result
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Seal an override for an emergency, from now on
    #[command(
        after_help = "Example: outpost seal break-glass --id fire-1 --role admin --hours 4 --reason \"nobody can be \
                            reached\" --by ada --key ada.key --out fire-1.sealed"
    )]
    BreakGlass {
        /// Which one; every record of its use names it
        #[arg(long)]
        id: String,
        /// A role that it gives; may be given more than once
        #[arg(long = "role", required = true)]
        roles: Vec<String>,
        /// Hours that it lasts, 1 to 24
        #[arg(long)]
        hours: u8,
        /// What for
        #[arg(long)]
        reason: String,
        /// The one caller that it is for, as records of this device name callers; everybody who may break glass by default
        #[arg(long)]
        user: Option<String>,
        /// The one device that it is for; every device by default
        #[arg(long)]
        device: Option<String>,
        /// Who seals it, as `signers` names them; everybody who is named must sign
        #[arg(long = "by", required = true)]
        sealed_by: Vec<String>,
        /// Key and result
        #[command(flatten)]
        sealing: Sealing,
    },
    /// Add a signature to a sealed document
    #[command(after_help = "Example: outpost seal again bundle.sealed --key grace.key")]
    Again {
        /// The sealed document; it is replaced
        document: PathBuf,
        /// The key to sign with
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// Key and result of one sealing.
#[derive(Debug, Args)]
pub struct Sealing {
    /// The key to sign with
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}
