//! The command line of `outpost update`.

use std::path::PathBuf;

use clap::Subcommand;

/// `outpost update …`
#[derive(Debug, Subcommand)]
pub enum Update {
    /// Try another build of the agent; the one before it runs again by itself if it does not prove healthy
    #[command(
        after_help = "The running agent takes the file in, checks that it is for this box and works on its processor, and starts \
                            again with it; where none runs, the next `outpost run` does. It is kept once it answers, has the model \
                            and the control plane that were there before, and has stayed so for `update.trial_seconds`. After two \
                            starts that did not come so far, what ran before runs again. Only administrators may; it is on record.\n\n\
                            Example: outpost update install outpost-0.2.0"
    )]
    Install {
        /// The program
        file: PathBuf,
        /// Take a build that was rolled back on this box
        #[arg(long)]
        again: bool,
    },
    /// Say which build runs, which is on trial, and what was rolled back and why
    #[command(after_help = "Example: outpost update show")]
    Show,
}
