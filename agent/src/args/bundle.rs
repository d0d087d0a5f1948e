//! `outpost bundle …`: what a stick carries to this box.

use std::path::PathBuf;

use clap::Subcommand;

/// `outpost bundle …`
#[derive(Debug, Subcommand)]
pub enum Bundle {
    /// Obey what a stick brings for this device, as if it had come over the network
    #[command(
        after_help = "The running agent takes it in and goes on serving; where none runs, it is checked, kept and tried here, and \
                            serves from the next `outpost run` on. Signatures, versions and expiry count as over a \
                            network: an older stick, or one for others, changes nothing.\n\n\
                            Example: outpost bundle import /mnt/stick/outpost"
    )]
    Import {
        /// The directory that `outpost-control bundle export` wrote
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}
