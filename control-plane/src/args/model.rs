//! `outpost-control model …`.

use clap::Subcommand;

/// `outpost-control model …`
#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Approve the variants of a model that are in the catalogue now, for some devices, until a date
    #[command(
        after_help = "What must be approved is for the settings to say: `[models]` and `[licences]` in outpost-control.toml.\n\n\
                      Examples: outpost-control model approve qwen3-0.6b --until 2027-06-30 --where 'label.role=till'\n          \
                      outpost-control model approve qwen3-0.6b --until 90d --note 'read by the lawyers'"
    )]
    Approve {
        /// The model
        model: String,
        /// A day (its end, UTC) or a time from now, as in `90d`
        #[arg(long, value_name = "DATE|TIME")]
        until: String,
        /// For which devices [default: for all]
        #[arg(long = "where", value_name = "SELECTOR")]
        selector: Option<String>,
        /// What it rests on
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Take an approval back: nothing is newly assigned by it; what runs goes on
    #[command(after_help = "Example: outpost-control model revoke 3f2a9c01d4e5")]
    Revoke {
        /// The approval's name, as `model approvals` shows it
        id: String,
    },
    /// List approvals, and how each stands
    #[command(after_help = "Example: outpost-control model approvals qwen3-0.6b")]
    Approvals {
        /// Only of this model
        model: Option<String>,
    },
    /// Withdraw a model: no new assignment, and devices that hear of it stop serving it at the deadline, reachable or not
    #[command(
        after_help = "A device that never heard of it goes on; `device ls --where 'model=NAME'` shows who serves it.\n\n\
                      Examples: outpost-control model withdraw qwen3-0.6b --reason 'leaks its prompt' --deadline 24h\n          \
                      outpost-control model withdraw qwen3-0.6b --variant qwen3-0.6b.Q4_0 --reason 'broken file'"
    )]
    Withdraw {
        /// The model
        model: String,
        /// Why; devices and their callers read it
        #[arg(long)]
        reason: String,
        /// Time until the deadline, as in `24h`; `0s` stops at once
        #[arg(long, default_value = "0s", value_name = "TIME")]
        deadline: String,
        /// Only this variant, by its name in the catalogue: devices go on with the next
        #[arg(long, value_name = "TARGET")]
        variant: Option<String>,
    },
    /// Take the withdrawal of a model back
    #[command(after_help = "Example: outpost-control model restore qwen3-0.6b")]
    Restore {
        /// The model
        model: String,
    },
    /// List what is withdrawn
    #[command(after_help = "Example: outpost-control model withdrawals")]
    Withdrawals,
}

/// `outpost-control bom …`
#[derive(Debug, Subcommand)]
pub(crate) enum Bom {
    /// What one device runs
    #[command(after_help = "Example: outpost-control bom device till-7 > till-7.cdx.json")]
    Device {
        /// The device
        device: String,
    },
    /// What all devices run together
    #[command(after_help = "Example: outpost-control bom fleet > fleet.cdx.json")]
    Fleet,
}
