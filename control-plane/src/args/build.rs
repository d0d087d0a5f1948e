//! `outpost-control build …`.

use std::path::PathBuf;

use clap::Subcommand;

/// `outpost-control build …`
#[derive(Debug, Subcommand)]
pub(crate) enum Build {
    /// Put a program of the agent into the catalogue, signed; a rollout with `--build` then has devices run it
    #[command(
        after_help = "One version has one program for each kind of machine; publish each, then start the rollout. A rollout can go \
                      back to the version that devices run now if that is in the catalogue as well.\n\n\
                      Examples: outpost-control build publish outpost --version 0.3.0 --target x86_64-unknown-linux-gnu --keys DIR\n          \
                      outpost-control build publish outpost-arm64 --version 0.3.0 --target aarch64-unknown-linux-gnu \
                      --out release.json"
    )]
    Publish {
        /// The program
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Its version, as `FILE --version` says; a device that reads another one refuses it
        #[arg(long, value_name = "VERSION")]
        version: String,
        /// What it was built for
        #[arg(long, value_name = "TRIPLE")]
        target: String,
        /// The form of the state directory that it writes
        #[arg(long, value_name = "NUMBER", default_value_t = 1)]
        state_format: u32,
        /// Directory of the offline keys; more than once for more holders at one machine
        #[arg(long, value_name = "DIR", required_unless_present = "out")]
        keys: Vec<PathBuf>,
        /// Read a passphrase from a file, instead of asking at the terminal; more than once for more holders
        #[arg(long, value_name = "FILE", requires = "keys")]
        passphrase_file: Vec<PathBuf>,
        /// Instead: write it for holders who sign it elsewhere, with `keys sign`; then `catalogue publish`
        #[arg(long, value_name = "FILE", conflicts_with = "keys")]
        out: Option<PathBuf>,
    },
    /// List the builds that are in the catalogue
    #[command(alias = "list", after_help = "Example: outpost-control build ls")]
    Ls,
}
