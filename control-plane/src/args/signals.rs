//! `outpost-control events` and `outpost-control webhook …`.

use clap::{Args, Subcommand};

/// `outpost-control events`
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only those after this number
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    pub(crate) after: i64,
    /// Only one kind (`device.lost`) or area (`device`, `audit`, `policy`, `catalogue`, `rollout`)
    #[arg(long, default_value = "")]
    pub(crate) kind: String,
    /// So many at most
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
}

/// `outpost-control webhook …`
#[derive(Debug, Subcommand)]
pub(crate) enum Webhook {
    /// Send what happens from now on to an address; prints the secret that signs, this once
    #[command(after_help = "Signed as standardwebhooks.com has it. Addresses that are not public are refused unless \
                      `[webhooks] allow` names their network.\n\n\
                      Example: outpost-control webhook add pager https://pager.example/outpost --kind 'device.*' \
                      --kind audit.incident")]
    Add {
        /// Its name
        name: String,
        /// Where to, https
        url: String,
        /// Only these: kinds, or areas as in `device.*`; may be given more than once [default: everything]
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
    },
    /// List webhooks: how far each has got, and what fails
    #[command(after_help = "Example: outpost-control webhook ls")]
    Ls,
    /// Forget a webhook, and what it has not got yet
    #[command(after_help = "Example: outpost-control webhook rm pager")]
    Rm {
        /// Its name
        name: String,
    },
    /// Send a webhook one event `webhook.test` now; exit code 1 unless it is taken
    #[command(after_help = "Example: outpost-control webhook test pager")]
    Test {
        /// Its name
        name: String,
    },
    /// Send a webhook nothing more until `webhook retry`; what happens meanwhile waits for it
    #[command(after_help = "Example: outpost-control webhook pause pager")]
    Pause {
        /// Its name
        name: String,
    },
    /// Try a webhook again at once, also one that was paused or answered `410 Gone`
    #[command(after_help = "Example: outpost-control webhook retry pager")]
    Retry {
        /// Its name
        name: String,
    },
    /// Show what a webhook got of late, and what was given up for it
    #[command(after_help = "Example: outpost-control webhook deliveries pager")]
    Deliveries {
        /// Its name
        name: String,
    },
}
