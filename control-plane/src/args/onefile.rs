//! `outpost-control apply`, `diff` and `export`.

use std::path::PathBuf;

use clap::Args;

/// What a fleet file may say, for `--help`.
pub(super) const FORM: &str = "A fleet file is TOML. `[fleet]` form = 1, tenant. `[[device]]` id, key (fingerprint), site, labels, \
model and minimum_context, or idle = true. `[[assign]]` where, and the same, for devices that say nothing themselves; two that \
disagree are a mistake. `[[group]]` name, description, where or members. `[[person]]` name, roles, disabled. `[[token]]` name, \
roles, scope. Everything is done or nothing. Nothing is taken away without `--prune`, and never of a kind that the file does not \
list (`group = []` lists that there are none).\n\n\
`export` writes the file. On an empty server `apply` has it all awaited: devices enrol again with the keys in the file, and get what \
they should run once the holders of the offline keys have released the models. Certificates, keys, the catalogue, passwords, secrets \
and logs are in no such file: for those there is `backup`.\n\n";

/// `outpost-control apply`
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The fleet file; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Take away what is not in the file: devices are revoked, labels, sites, groups, people and tokens removed
    #[arg(long)]
    pub(crate) prune: bool,
}

/// `outpost-control diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The fleet file; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// As `apply --prune` would do it
    #[arg(long)]
    pub(crate) prune: bool,
    /// Compare with what devices report, in the place of what they are told
    #[arg(long, conflicts_with = "prune")]
    pub(crate) reported: bool,
}

/// `outpost-control export`
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Where it is written, in the place of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
