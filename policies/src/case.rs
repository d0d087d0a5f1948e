//! A case: who does what, and what must come of it. A bundle activates only if all of its cases hold.

use serde::{Deserialize, Serialize};

use crate::{
    Action, Ask, AuthMethod, ClockTime, Context, DataClass, ModelClass, ModelFacts, Network, Principal, PrincipalKind,
    Resource, Weekday,
};

/// 2026-12-01, a Tuesday, at midnight UTC: when cases happen; the same everywhere, so that a case never depends on the
/// day.
pub(crate) const CASE_NOW_S: i64 = 1_796_083_200;

/// One case, as `cases/*.toml` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The case in words.
    pub title: String,
    /// The role or roles of the caller.
    pub who: Roles,
    /// What the caller does; of several acts each is tried.
    pub does: Actions,
    /// What must come of it.
    pub expect: Expect,
    /// The rule that must be among those that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// In which situation, as far as it matters.
    #[serde(flatten)]
    pub given: Given,
}

/// The situation of a case; what is not said is usual.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Given {
    /// What sort of caller; a user unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<PrincipalKind>,
    /// Tokens asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Tokens that the caller has had today.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_today: Option<u64>,
    /// The model's name; `model` unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's licence; `Apache-2.0` unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The model's parameter class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ModelClass>,
    /// The model's family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The model's quantisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantisation: Option<String>,
    /// Whether the model is approved; what `models.toml` says of it counts before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<bool>,
    /// The day of the week, in the week of 2026-12-01; Tuesday unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weekday: Option<Weekday>,
    /// The time of day; `00:00` unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<ClockTime>,
    /// Whether the clock is vouched for; yes unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_trusted: Option<bool>,
    /// Seconds offline; 0 unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline_s: Option<u64>,
    /// Age of the policy in seconds; 0 unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_age_s: Option<u64>,
    /// How the caller was identified; a token unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthMethod>,
    /// From where; loopback unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The path of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether the answer is wanted as a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Whether tools are offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// What kind of data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_class: Option<DataClass>,
}

impl Given {
    /// The question of somebody with these roles.
    #[must_use]
    pub fn ask(&self, roles: Vec<String>, action: Action) -> Ask {
        let kind = self.kind.unwrap_or(PrincipalKind::User);
        Ask {
            principal: Principal { kind, id: "case".to_owned(), roles },
            action,
            resource: self.resource(action),
            context: Context {
                now_s: self.now_s(),
                utc_offset_s: 0,
                time_trusted: self.time_trusted.unwrap_or(true),
                offline_s: self.offline_s.unwrap_or(0),
                policy_age_s: self.policy_age_s.unwrap_or(0),
                auth_method: self.auth.unwrap_or(AuthMethod::Token),
                network: self.network.unwrap_or(Network::Loopback),
                endpoint: self.endpoint.clone().unwrap_or_default(),
                max_tokens: self.max_tokens,
                stream: self.stream.unwrap_or(false),
                tools: self.tools.unwrap_or(false),
                data_class: self.data_class.unwrap_or_default(),
                tokens_today: self.tokens_today.unwrap_or(0),
            },
        }
    }

    fn now_s(&self) -> i64 {
        let days = self.weekday.map_or(0, |day| i64::from(day.number()) - i64::from(Weekday::Tue.number()));
        CASE_NOW_S + days * 86_400 + self.time.map_or(0, |time| i64::from(time.minutes()) * 60)
    }

    fn resource(&self, action: Action) -> Resource {
        match action.resource_kind() {
            "Model" => Resource::Model(ModelFacts {
                id: self.model.clone().unwrap_or_else(|| "model".to_owned()),
                licence: self.licence.clone().unwrap_or_else(|| "Apache-2.0".to_owned()),
                class: self.class.unwrap_or_default(),
                family: self.family.clone().unwrap_or_default(),
                quantisation: self.quantisation.clone().unwrap_or_default(),
                approved: self.approved.unwrap_or(false),
                approved_until_s: None,
            }),
            "AuditLog" => Resource::AuditLog,
            "PolicyStore" => Resource::PolicyStore,
            "KeyStore" => Resource::KeyStore,
            _ => Resource::Device { id: "device".to_owned() },
        }
    }
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
    /// All of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<String> {
        match self {
            Self::One(role) => vec![role.clone()],
            Self::Many(roles) => roles.clone(),
        }
    }
}

/// One action, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Actions {
    /// One.
    One(Action),
    /// Several.
    Many(Vec<Action>),
}

impl Actions {
    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Action] {
        match self {
            Self::One(action) => std::slice::from_ref(action),
            Self::Many(actions) => actions,
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
    /// The questions that the case puts, one for each act.
    pub fn asks(&self) -> impl Iterator<Item = Ask> {
        self.does.as_slice().iter().map(|action| self.given.ask(self.who.to_vec(), *action))
    }
}
