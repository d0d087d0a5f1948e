//! The question that is put to the policies: who, does what, to what, in which situation.

use serde::{Deserialize, Serialize};

use crate::{Action, Context, ModelFacts};

/// Longest name in a question (a caller, a model, a device), bytes.
const NAME_BYTES: usize = 512;

/// Longest other text in a question (a licence, a family, a quantisation, an endpoint), bytes.
const TEXT_BYTES: usize = 256;

/// Most roles that one caller may come with.
const ROLES: usize = 64;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Who asks.
    pub principal: Principal,
    /// What for.
    pub action: Action,
    /// To what it would be done.
    pub resource: Resource,
    /// In which situation.
    pub context: Context,
}

impl Ask {
    /// What makes the question too large to be put, if anything does: Cedar itself sets no bounds.
    pub(crate) fn excess(&self) -> Option<String> {
        let mut texts = vec![("the endpoint", self.context.endpoint.as_str(), TEXT_BYTES)];
        texts.push(("the caller's name", &self.principal.id, NAME_BYTES));
        texts.push(("the resource's name", self.resource.id(), NAME_BYTES));
        if let Resource::Model(facts) = &self.resource {
            texts.push(("the model's licence", &facts.licence, TEXT_BYTES));
            texts.push(("the model's family", &facts.family, TEXT_BYTES));
            texts.push(("the model's quantisation", &facts.quantisation, TEXT_BYTES));
        }
        if self.principal.roles.len() > ROLES {
            return Some(format!("the caller comes with {} roles, more than {ROLES}", self.principal.roles.len()));
        }
        texts.extend(self.principal.roles.iter().map(|role| ("a role's name", role.as_str(), NAME_BYTES)));
        let long = texts.into_iter().find(|(_, text, most)| text.len() > *most);
        long.map(|(what, text, most)| format!("{what} has {} bytes, more than {most}", text.len()))
    }
}

/// Who asks, as identification found it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// What sort of caller.
    pub kind: PrincipalKind,
    /// Its name, unique within its kind.
    pub id: String,
    /// The roles it holds; those that the bundle does not declare count for nothing.
    pub roles: Vec<String>,
}

/// What sort of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program: a service account.
    Service,
    /// An account of this machine.
    LocalUser,
    /// Another device, by its certificate.
    Device,
}

impl PrincipalKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::User, Self::Service, Self::LocalUser, Self::Device];

    /// The word in audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::LocalUser => "local_user",
            Self::Device => "device",
        }
    }
}

/// To what something would be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A model, with what is known of it.
    Model(ModelFacts),
    /// This device.
    Device {
        /// Its name.
        id: String,
    },
    /// This device's audit log.
    AuditLog,
    /// This device's policies.
    PolicyStore,
    /// This device's API keys.
    KeyStore,
}

impl Resource {
    /// The sort of resource, as the schema spells it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Model(_) => "Model",
            Self::Device { .. } => "Device",
            Self::AuditLog => "AuditLog",
            Self::PolicyStore => "PolicyStore",
            Self::KeyStore => "KeyStore",
        }
    }

    /// Its name; the single resources of a device are all called `this`.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Model(facts) => &facts.id,
            Self::Device { id } => id,
            Self::AuditLog | Self::PolicyStore | Self::KeyStore => "this",
        }
    }
}
