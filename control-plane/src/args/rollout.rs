//! `outpost-control rollout …`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `outpost-control rollout …`
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Start one: from a file, or with what is said here
    #[command(
        after_help = "A file says the same in TOML, and more (waves by number or selector, windows, every gate):\n\n  \
                      name = \"march\"\n  for = \"label.role=till\"\n  model = \"outpost-demo\"\n  soak_s = 600\n  \
                      on_failure = \"roll_back_all\"      # or roll_back_wave, pause\n  [[waves]]\n  \
                      where = \"label.stage=canary\"      # or percent = 5, count = 3\n  approvals = 1\n  [gates]\n  \
                      speed_percent_of_before = 90\n  [[windows]]\n  days = [\"saturday\"]\n  from = \"22:00\"\n  \
                      to = \"05:00\"\n\n\
                      Examples: outpost-control rollout start march --model outpost-demo --for 'label.role=till' --waves 5,20,75\n          \
                      outpost-control rollout start agents --build 0.3.0 --waves 5,20,75 --on-failure pause\n          \
                      outpost-control rollout start -f march.toml"
    )]
    Start(Box<Start>),
    /// List rollouts, the newest first
    #[command(after_help = "Example: outpost-control rollout ls")]
    Ls {
        /// How many
        #[arg(long, default_value_t = 50)]
        last: usize,
    },
    /// Show one: its waves as a picture, who failed, what happened
    #[command(after_help = "Example: outpost-control rollout show march --devices failed")]
    Show {
        /// Its name
        name: String,
        /// List its devices as well: all, or those of one status
        #[arg(long, value_name = "STATUS", num_args = 0..=1, default_missing_value = "")]
        devices: Option<String>,
    },
    /// Agree to the opening of a wave, as another person than its author
    #[command(after_help = "Example: outpost-control rollout approve march --wave 2")]
    Approve {
        /// Its name
        name: String,
        /// Which wave, from 1 [default: the one that waits]
        #[arg(long)]
        wave: Option<usize>,
    },
    /// Stop it for a while: no other device is changed
    #[command(after_help = "Example: outpost-control rollout pause march")]
    Pause {
        /// Its name
        name: String,
    },
    /// Let it go on
    #[command(after_help = "Example: outpost-control rollout resume march")]
    Resume {
        /// Its name
        name: String,
    },
    /// End it: devices that were changed get back what they had
    #[command(after_help = "Examples: outpost-control rollout abort march\n          \
                      outpost-control rollout abort march --keep")]
    Abort {
        /// Its name
        name: String,
        /// Devices that were changed stay so
        #[arg(long)]
        keep: bool,
    },
    /// Let the devices that failed try again
    #[command(after_help = "Example: outpost-control rollout retry march")]
    Retry {
        /// Its name
        name: String,
    },
    /// Follow it until it ends; exit code 1 unless it completed
    #[command(after_help = "Example: outpost-control rollout watch march")]
    Watch {
        /// Its name
        name: String,
    },
}

impl Rollout {
    /// Which one it is about.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Ls { .. } => "",
            Self::Start(start) => start.name.as_deref().unwrap_or("from a file"),
            Self::Show { name, .. }
            | Self::Approve { name, .. }
            | Self::Pause { name }
            | Self::Resume { name }
            | Self::Abort { name, .. }
            | Self::Retry { name }
            | Self::Watch { name } => name,
        }
    }
}

/// What a rollout is started with.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Its name
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<String>,
    /// Read it from a file
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["name", "model", "policy", "build", "selector", "waves", "approvals",
        "soak", "deadline", "success", "errors", "on_failure", "slower", "self_test"])]
    pub(crate) file: Option<PathBuf>,
    /// The new model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Smallest context that is of use, tokens
    #[arg(long, default_value_t = 512)]
    pub(crate) minimum_context: u32,
    /// The new policy bundle: its target in the catalogue
    #[arg(long, value_name = "TARGET")]
    pub(crate) policy: Option<String>,
    /// The new version of the agent: each device takes the build for its own kind of machine
    #[arg(long, value_name = "VERSION")]
    pub(crate) build: Option<String>,
    /// Whom it is for; who comes under it later joins
    #[arg(long = "for", value_name = "SELECTOR", default_value = "all")]
    pub(crate) selector: String,
    /// Hundredths of the devices in each wave; those left over come in one more
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,…")]
    pub(crate) waves: Vec<u8>,
    /// How many people must agree before each wave opens; never its author
    #[arg(long, default_value_t = 0)]
    pub(crate) approvals: u8,
    /// For how long a wave must do well: 90s, 10m, 2h, 1d
    #[arg(long, default_value = "10m", value_parser = seconds, value_name = "TIME")]
    pub(crate) soak: u32,
    /// When a device that does not say how it ended has failed
    #[arg(long, default_value = "1d", value_parser = seconds, value_name = "TIME")]
    pub(crate) deadline: u32,
    /// A gate passes when so many hundredths of its wave do well
    #[arg(long, default_value_t = 90, value_name = "PERCENT")]
    pub(crate) success: u8,
    /// It stops when more hundredths of a wave failed
    #[arg(long, default_value_t = 10, value_name = "PERCENT")]
    pub(crate) errors: u8,
    /// What happens then
    #[arg(long, value_enum, default_value_t = WhenItFails::RollBackAll)]
    pub(crate) on_failure: WhenItFails,
    /// A device fails if it has fewer hundredths of its speed before
    #[arg(long = "speed", value_name = "PERCENT")]
    pub(crate) slower: Option<u16>,
    /// A device fails if its self-test does not pass
    #[arg(long)]
    pub(crate) self_test: bool,
}

/// What happens when a gate fails or too many devices do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenItFails {
    /// All devices that were changed get back what they had
    RollBackAll,
    /// Those of the wave that failed do
    RollBackWave,
    /// It stands still until a person decides
    Pause,
}

/// `90s`, `10m`, `2h`, `1d` as seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("write a number and `s`, `m`, `h` or `d`, as in `10m`".to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| "write a number and `s`, `m`, `h` or `d`, as in `10m`".to_owned())?;
    number.checked_mul(unit_s).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(["90s", "10m", "2h", "1d"].map(seconds), [Ok(90), Ok(600), Ok(7200), Ok(86_400)]);
        for text in ["", "m", "10", "1w", "-1s", "99999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
