//! `outpost-control audit search` and `report`.

use std::path::PathBuf;

use clap::Args;

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
