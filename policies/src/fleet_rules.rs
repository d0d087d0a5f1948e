//! What a bundle says of the fleet: which commands of its control plane a device obeys, and whether one that its fleet has
//! revoked goes on.

use serde::{Deserialize, Serialize};

/// What a revoked device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenRevoked {
    /// It serves on as it was last told; it gets nothing new.
    #[default]
    Serve,
    /// It serves nobody until it is let in again.
    Stop,
}

/// `[fleet]` of `bundle.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetRules {
    /// Commands that are obeyed; others are refused and recorded.
    pub commands: Vec<FleetCommand>,
    /// What a device does once it hears that it was revoked.
    pub when_revoked: WhenRevoked,
}

/// A command of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetCommand {
    /// Say how it is.
    Status,
    /// Start the agent again.
    Restart,
    /// Take no new questions for a while.
    Drain,
    /// Send what helps to find out what is wrong.
    CollectDiagnostics,
    /// Compare stored files with their digests.
    Rescan,
    /// Measure the machine again.
    Probe,
    /// Destroy the sealed content of one subject.
    Erase,
}

impl FleetCommand {
    /// Every command.
    pub const ALL: [Self; 7] =
        [Self::Status, Self::Restart, Self::Drain, Self::CollectDiagnostics, Self::Rescan, Self::Probe, Self::Erase];

    /// As bundles write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Restart => "restart",
            Self::Drain => "drain",
            Self::CollectDiagnostics => "collect_diagnostics",
            Self::Rescan => "rescan",
            Self::Probe => "probe",
            Self::Erase => "erase",
        }
    }
}

impl Default for FleetRules {
    /// Everything but what destroys.
    fn default() -> Self {
        let harmless = FleetCommand::ALL.into_iter().filter(|command| *command != FleetCommand::Erase);
        Self { commands: harmless.collect(), when_revoked: WhenRevoked::default() }
    }
}

impl FleetRules {
    /// Whether they are what holds without a word.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a command of this name is obeyed.
    #[must_use]
    pub fn allows(&self, command: &str) -> bool {
        self.commands.iter().any(|allowed| allowed.word() == command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bundle;

    #[test]
    fn without_a_word_everything_is_obeyed_but_what_destroys() {
        let rules = Bundle::default_bundle().fleet;
        for command in FleetCommand::ALL {
            assert_eq!(rules.allows(command.word()), command != FleetCommand::Erase, "{}", command.word());
        }
        assert!(!rules.allows("format_disk"));
    }

    #[test]
    fn a_bundle_says_which_commands_are_obeyed_and_a_wrong_word_is_refused() {
        let read = |text: &str| Bundle::from_files(1, [("bundle.toml", text)]);
        let bundle = read("[fleet]\ncommands = [\"status\", \"erase\"]\n").unwrap();
        assert!(bundle.fleet.allows("erase") && !bundle.fleet.allows("restart"));
        let again: Bundle = serde_json::from_slice(&bundle.to_bytes()).unwrap();
        assert_eq!(again.fleet, bundle.fleet);
        assert!(!read("[fleet]\ncommands = []\n").unwrap().fleet.allows("status"));
        assert!(read("[fleet]\ncommands = [\"reboot\"]\n").is_err());
        assert!(read("[fleet]\ncommand = [\"status\"]\n").is_err());
    }
}
