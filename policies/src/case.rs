//! A case: who does what, and what must come of it. A bundle activates only if all of its cases hold.

use serde::{Deserialize, Serialize};

use crate::{Action, Ask, AuthMethod, Context, Network, Principal, PrincipalKind, Resource};

/// 2026-12-01, a moment at which cases happen; the same everywhere, so that a case never depends on the day.
const CASE_NOW_S: i64 = 1_796_083_200;

/// One case, as `cases/*.toml` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The case in words.
    pub title: String,
    /// The role or roles of the caller.
    pub who: Roles,
    /// What the caller does.
    pub does: Action,
    /// What must come of it.
    pub expect: Expect,
    /// The rule that must be among those that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Tokens asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The model's licence; `Apache-2.0` unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Seconds offline; 0 unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_s: Option<u64>,
    /// Age of the policy in seconds; 0 unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_age_s: Option<u64>,
    /// How the caller was identified; a token unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthMethod>,
    /// From where; loopback unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
}

/// One role, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Roles {
    /// One.
    One(String),
    /// Several, or none.
    Many(Vec<String>),
}

impl Roles {
    fn to_vec(&self) -> Vec<String> {
        match self {
            Self::One(role) => vec![role.clone()],
            Self::Many(roles) => roles.clone(),
        }
    }
}

/// What must come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// A permit.
    Allow,
    /// A denial.
    Deny,
}

impl Case {
    /// The question that the case puts.
    #[must_use]
    pub fn ask(&self) -> Ask {
        Ask {
            principal: Principal { kind: PrincipalKind::User, id: "case".to_owned(), roles: self.who.to_vec() },
            action: self.does,
            resource: self.resource(),
            context: Context {
                now_s: CASE_NOW_S,
                offline_s: self.offline_s.unwrap_or(0),
                policy_age_s: self.policy_age_s.unwrap_or(0),
                auth_method: self.auth.unwrap_or(AuthMethod::Token),
                network: self.network.unwrap_or(Network::Loopback),
                max_tokens: self.max_tokens,
            },
        }
    }

    fn resource(&self) -> Resource {
        match self.does {
            Action::Infer | Action::Embed | Action::PullModel | Action::SwitchModel | Action::DeleteModel => {
                let licence = self.licence.clone().unwrap_or_else(|| "Apache-2.0".to_owned());
                Resource::Model { id: "model".to_owned(), licence }
            }
            Action::ListModels | Action::ReadStatus | Action::Restart | Action::Drain => {
                Resource::Device { id: "device".to_owned() }
            }
            Action::ReadAudit | Action::ExportAudit => Resource::AuditLog,
            Action::ChangePolicy => Resource::PolicyStore,
            Action::ManageKeys => Resource::KeyStore,
        }
    }
}
