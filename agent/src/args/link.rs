//! `outpost link …`: the wire to the control plane.

use clap::Subcommand;

/// `outpost link …`
#[derive(Debug, Subcommand)]
pub enum Link {
    /// Messages to the control plane that could not be sent at all and were given up: an alarm until they are cleared
    #[command(subcommand, after_help = "Example: outpost link dead-letters ls")]
    DeadLetters(DeadLetters),
}

/// `outpost link dead-letters …`
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List them, newest first, each with the reason
    #[command(after_help = "Example: outpost link dead-letters ls --json")]
    Ls,
    /// Forget them, once their reason is gone; that is recorded, and the alarm ends with the next report
    #[command(after_help = "Example: outpost link dead-letters clear")]
    Clear,
}
