//! `outpost-control catalogue …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `outpost-control catalogue …`
#[derive(Debug, Subcommand)]
pub(crate) enum Catalogue {
    /// Import model files and a policy bundle, sign them, publish; assigned devices get a new desired state
    #[command(after_help = "Example: outpost-control catalogue release --keys DIR --model f16.json --model q4.json")]
    Release {
        /// Directory of the offline keys; more than once for more holders at one machine
        #[arg(long, value_name = "DIR", required = true)]
        keys: Vec<PathBuf>,
        /// Read a passphrase from a file, instead of asking at the terminal; more than once for more holders
        #[arg(long, value_name = "FILE")]
        passphrase_file: Vec<PathBuf>,
        /// What is in it
        #[command(flatten)]
        content: ReleaseContent,
    },
    /// Fetch model files from a Hugging Face hub or a mirror, checked, and hold them for a release
    #[command(
        after_help = "`HF_ENDPOINT` names a mirror; a token is read from `HF_TOKEN` or the token file, never from the command line. \
                      What broke off goes on when it is run again.\n\n\
                      Examples: outpost-control catalogue fetch hf:Qwen/Qwen3-0.6B-GGUF --file '*Q8_0*'\n          \
                      outpost-control catalogue fetch hf:Qwen/Qwen3-0.6B-GGUF@main --out models"
    )]
    Fetch(Fetch),
    /// Hold all model files of a directory for a release
    #[command(after_help = "Example: outpost-control catalogue add models")]
    Add {
        /// The directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// What is said about them
        #[command(flatten)]
        described: Described,
    },
    /// List the model files that are held, and where they came from
    #[command(after_help = "Example: outpost-control catalogue held")]
    Held,
    /// Hold a model file no longer
    #[command(after_help = "Example: outpost-control catalogue drop qwen3-0.6b.Q8_0")]
    Drop {
        /// Its name, as `catalogue held` shows it
        target: String,
    },
    /// Prepare the same for holders who sign it elsewhere, with `keys sign`
    #[command(after_help = "Example: outpost-control catalogue prepare --model q4.json --out release.json")]
    Prepare {
        /// Where it is written
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// What is in it
        #[command(flatten)]
        content: ReleaseContent,
    },
    /// Publish what enough holders have signed
    #[command(after_help = "Example: outpost-control catalogue publish release.json")]
    Publish {
        /// The signed release; copies that different holders signed are put together
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List what is in the catalogue
    #[command(
        after_help = "A filter compares model, target, class, family, licence, quantisation (text, `*` for anything); parameters (4B), \
                      bits (per weight), context (32k), size (2GiB), speed (median tokens/s over the fleet), golden, joined by `and`.\n\n\
                      Examples: outpost-control catalogue ls\n          \
                      outpost-control catalogue ls --where 'class=Small and licence=apache-2.0 and bits<=5 and speed>=8'"
    )]
    Ls {
        /// Only variants that a filter means, with what the fleet measured of them
        #[arg(long = "where", value_name = "FILTER")]
        filter: Option<String>,
    },
    /// Put two or three variants side by side
    #[command(after_help = "Example: outpost-control catalogue compare qwen3-0.6b.Q8_0 qwen3-0.6b.Q4_0")]
    Compare {
        /// Their names in the catalogue
        #[arg(required = true, num_args = 2..=3, value_name = "TARGET")]
        targets: Vec<String>,
    },
}

/// `outpost-control catalogue fetch`
#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// `hf:OWNER/REPO`, or with a branch, tag or commit `hf:OWNER/REPO@REVISION`
    pub(crate) source: String,
    /// Only files of such names; may be given more than once [default: *.gguf]
    #[arg(long = "file", value_name = "GLOB")]
    pub(crate) files: Vec<String>,
    /// Where they are kept [default: `holding` in the state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Larger files are not fetched, GiB
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) most_gib: u32,
    /// What is said about them
    #[command(flatten)]
    pub(crate) described: Described,
}

/// What is said about model files that are held.
#[derive(Debug, Args)]
pub(crate) struct Described {
    /// The model that they are variants of [default: as each file says]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Their licence, where file and card say none, or not the same
    #[arg(long, value_name = "SPDX")]
    pub(crate) licence: Option<String>,
    /// The agent's program, which reads the files [default: `outpost` beside this one, or on the path]
    #[arg(long, value_name = "FILE")]
    pub(crate) inspector: Option<PathBuf>,
}

/// What a release adds or replaces.
#[derive(Debug, Args)]
pub(crate) struct ReleaseContent {
    /// What `outpost model inspect FILE --json` wrote about a file; may be given more than once
    #[arg(long = "model", value_name = "JSON")]
    pub(crate) models: Vec<PathBuf>,
    /// Every model file that is held (`catalogue held`)
    #[arg(long)]
    pub(crate) held: bool,
    /// A policy bundle, as JSON or as `outpost seal policy` wrote it
    #[arg(long, value_name = "FILE", conflicts_with = "default_policy")]
    pub(crate) policy: Option<PathBuf>,
    /// People whose signatures count on every device from now on, in the place of those before: TOML with
    /// `[[signers]]` as in an agent's configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) signers: Option<PathBuf>,
    /// Release the built-in policy bundle
    #[arg(long)]
    pub(crate) default_policy: bool,
    /// Nothing new: sign what is there once more, after keys changed or before it expires
    #[arg(long)]
    pub(crate) again: bool,
}
