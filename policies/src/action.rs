//! What a caller may ask to do: the closed list, spelled as in `schema.cedarschema`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something that needs a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Have a model answer.
    Infer,
    /// Have a model turn text into vectors.
    Embed,
    /// See which models there are.
    ListModels,
    /// See how the device is.
    ReadStatus,
    /// Read the audit log.
    ReadAudit,
    /// Take a copy of the audit log away.
    ExportAudit,
    /// Fetch a model.
    PullModel,
    /// Serve another model.
    SwitchModel,
    /// Remove a model.
    DeleteModel,
    /// Put other rules in force.
    ChangePolicy,
    /// Make, list and revoke local API keys.
    ManageKeys,
    /// Restart the agent.
    Restart,
    /// Stop taking work, finish what runs.
    Drain,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 13] = [
        Self::Infer,
        Self::Embed,
        Self::ListModels,
        Self::ReadStatus,
        Self::ReadAudit,
        Self::ExportAudit,
        Self::PullModel,
        Self::SwitchModel,
        Self::DeleteModel,
        Self::ChangePolicy,
        Self::ManageKeys,
        Self::Restart,
        Self::Drain,
    ];

    /// The word in policies, cases and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Embed => "embed",
            Self::ListModels => "list_models",
            Self::ReadStatus => "read_status",
            Self::ReadAudit => "read_audit",
            Self::ExportAudit => "export_audit",
            Self::PullModel => "pull_model",
            Self::SwitchModel => "switch_model",
            Self::DeleteModel => "delete_model",
            Self::ChangePolicy => "change_policy",
            Self::ManageKeys => "manage_keys",
            Self::Restart => "restart",
            Self::Drain => "drain",
        }
    }

    /// Whether the context carries `max_tokens`.
    pub(crate) fn asks_for_tokens(self) -> bool {
        matches!(self, Self::Infer | Self::Embed)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}
