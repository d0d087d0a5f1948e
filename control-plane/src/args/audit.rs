//! `outpost-control audit …`: mirrors, evidence, search, reports, and the own log.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `outpost-control audit …`
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List the mirrored logs: how far they are mirrored, cosigned and reported, and what is held against them
    #[command(after_help = "`outpost audit show`, `export` and `report` read the directories that this names.\n\n\
                      Example: outpost-control audit ls")]
    Ls,
    /// Verify the mirrors of a device, every record
    #[command(after_help = "Example: outpost-control audit verify till-7")]
    Verify {
        /// The device
        device: String,
    },
    /// Look for records in the mirrors: by device, person, act, effect, time
    #[command(
        after_help = "People are pseudonyms as the device writes them. A search reads a bounded number of records;                       what it did not look at, and where to go on, stands on standard error.\n\n\
                      Example: outpost-control audit search --effect deny --since 2026-11-01 --device till-7"
    )]
    Search(Search),
    /// Write a report as one HTML page: on the whole fleet, or on the logs of a device
    #[command(
        after_help = "Examples: outpost-control audit report --fleet --out november.html --since 2026-11-01\n          \
                      outpost-control audit report --device till-7 --out till-7.html"
    )]
    Report(Report),
    /// List what was found against the logs of a device, and write the evidence into a directory
    #[command(after_help = "Example: outpost-control audit incidents till-7 --out evidence")]
    Incidents {
        /// The device
        device: String,
        /// Write the files of each into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// The control plane's own log: who did what to what
    #[command(name = "self", subcommand, after_help = "Example: outpost-control audit self show --last 20")]
    Own(OwnAudit),
    /// Show the public keys that cosign; with a device, as the policy file that an auditor checks its log by
    #[command(
        after_help = "Example: outpost-control audit keys --policy till-7 > witnesses.policy\n         outpost audit verify \
                      DIR --policy witnesses.policy"
    )]
    Keys {
        /// Write a policy (c2sp.org/tlog-policy) for this device's log
        #[arg(long, value_name = "DEVICE")]
        policy: Option<String>,
    },
}

/// `outpost-control audit self …`
#[derive(Debug, Subcommand)]
pub(crate) enum OwnAudit {
    /// Show the newest records; with `--json` whole
    #[command(after_help = "Example: outpost-control audit self show --last 20")]
    Show {
        /// How many
        #[arg(long, default_value_t = 50)]
        last: usize,
    },
    /// Verify every record, and every signed head
    #[command(after_help = "Example: outpost-control audit self verify")]
    Verify,
    /// Write the whole log as tiles, which any C2SP tool reads and `outpost audit verify` verifies
    #[command(after_help = "Example: outpost-control audit self export own-log")]
    Export {
        /// A directory that is not there yet
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// `outpost-control audit search`
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Only this device
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// By whom: a pseudonym, or its first eight characters or more
    #[arg(long, value_name = "PSEUDONYM")]
    pub(crate) who: Option<String>,
    /// What was done (`chat`), or the type of the record (`infer.denied`)
    #[arg(long)]
    pub(crate) act: Option<String>,
    /// `allow` or `deny`
    #[arg(long)]
    pub(crate) effect: Option<String>,
    /// From then on, by the device's clock: a day, or a time as in 2026-11-27T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<i64>,
    /// Before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) before: Option<i64>,
    /// So many at most
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// Go on where the search before ended
    #[arg(long, value_name = "PLACE")]
    pub(crate) after: Option<String>,
}

/// `outpost-control audit report`
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// On the whole fleet
    #[arg(long, required_unless_present = "device")]
    pub(crate) fleet: bool,
    /// On the newest log of one device
    #[arg(long, conflicts_with = "fleet")]
    pub(crate) device: Option<String>,
    /// Where it is written
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Only records from then on: a day, or a time as in 2026-11-27T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<i64>,
    /// Only records before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) before: Option<i64>,
    /// Verify every record of every mirror for it; takes as long as reading them
    #[arg(long, conflicts_with = "device")]
    pub(crate) verify: bool,
}

/// Milliseconds since 1970 of a day's beginning or of a time, UTC.
fn moment(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let day = text.parse::<jiff::civil::Date>();
    let time = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC));
    time.map(|time| time.timestamp().as_millisecond())
        .map_err(|_| "expected as in 2026-11-27 or 2026-11-27T08:00:00Z".to_owned())
}
