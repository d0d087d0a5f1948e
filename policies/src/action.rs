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
    /// Make what the audit log holds of somebody unreadable.
    EraseAudit,
    /// Fetch a model.
    PullModel,
    /// Serve another model: load it, unload it.
    SwitchModel,
    /// Remove a model.
    DeleteModel,
    /// Put other rules in force.
    ChangePolicy,
    /// Sign rules that somebody else proposes.
    ApprovePolicy,
    /// Make, list and revoke local API keys.
    ManageKeys,
    /// Restart the agent.
    Restart,
    /// Stop taking work, finish what runs.
    Drain,
    /// Use a sealed override.
    BreakGlass,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 16] = [
        Self::Infer,
        Self::Embed,
        Self::ListModels,
        Self::ReadStatus,
        Self::ReadAudit,
        Self::ExportAudit,
        Self::EraseAudit,
        Self::PullModel,
        Self::SwitchModel,
        Self::DeleteModel,
        Self::ChangePolicy,
        Self::ApprovePolicy,
        Self::ManageKeys,
        Self::Restart,
        Self::Drain,
        Self::BreakGlass,
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
            Self::EraseAudit => "erase_audit",
            Self::PullModel => "pull_model",
            Self::SwitchModel => "switch_model",
            Self::DeleteModel => "delete_model",
            Self::ChangePolicy => "change_policy",
            Self::ApprovePolicy => "approve_policy",
            Self::ManageKeys => "manage_keys",
            Self::Restart => "restart",
            Self::Drain => "drain",
            Self::BreakGlass => "break_glass",
        }
    }

    /// In plain words, as what somebody may do.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Infer => "ask models",
            Self::Embed => "have texts embedded",
            Self::ListModels => "see the models",
            Self::ReadStatus => "see the status",
            Self::ReadAudit => "read the audit log",
            Self::ExportAudit => "export the audit log",
            Self::EraseAudit => "erase from the audit log",
            Self::PullModel => "pull models",
            Self::SwitchModel => "load and unload models",
            Self::DeleteModel => "delete models",
            Self::ChangePolicy => "change the policy",
            Self::ApprovePolicy => "approve a policy",
            Self::ManageKeys => "manage keys",
            Self::Restart => "restart the agent",
            Self::Drain => "drain the agent",
            Self::BreakGlass => "break glass",
        }
    }

    /// The action that a word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }

    /// Whether a model works for it, so that tokens, tools and the like are in the context.
    #[must_use]
    pub fn is_inference(self) -> bool {
        matches!(self, Self::Infer | Self::Embed)
    }

    /// The sort of resource that it is done to, as the schema spells it.
    #[must_use]
    pub fn resource_kind(self) -> &'static str {
        match self {
            Self::Infer | Self::Embed | Self::PullModel | Self::SwitchModel | Self::DeleteModel => "Model",
            Self::ListModels | Self::ReadStatus | Self::Restart | Self::Drain | Self::BreakGlass => "Device",
            Self::ReadAudit | Self::ExportAudit | Self::EraseAudit => "AuditLog",
            Self::ChangePolicy | Self::ApprovePolicy => "PolicyStore",
            Self::ManageKeys => "KeyStore",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_stand_in_the_order_of_their_list_and_are_read_by_their_word() {
        for (place, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, place);
            assert_eq!(Action::from_word(action.word()), Some(action));
        }
    }
}
