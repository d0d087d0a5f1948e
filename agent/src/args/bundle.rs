//! `outpost bundle …`: what a stick carries to this box, and home.

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
    /// Write onto a stick what the control plane lacks: audit records, reported state, answers to commands, events
    #[command(
        after_help = "The audit records begin where the control plane is known to stand: by the link, or by the answer on the last \
                            stick that was imported here. `outpost-control bundle import` takes the stick in and says if it \
                            lacks earlier ones.\n\n\
                            Example: outpost bundle export /mnt/stick/outpost"
    )]
    Export {
        /// The directory, on a stick for example
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Begin with this audit record
        #[arg(long, value_name = "RECORD")]
        from: Option<u64>,
    },
}
