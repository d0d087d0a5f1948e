//! The question that is put to the policies: who, does what, to what, in which situation.

use serde::{Deserialize, Serialize};

use crate::Action;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Who asks, as identification found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// What sort of caller.
    pub kind: PrincipalKind,
    /// Its name, unique within its kind.
    pub id: String,
    /// The roles it holds; those that the bundle does not declare count for nothing.
    pub roles: Vec<String>,
}

/// What sort of caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program.
    Service,
    /// An account of this machine.
    LocalUser,
}

impl PrincipalKind {
    /// The word in audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::LocalUser => "local_user",
        }
    }
}

/// To what something would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A model.
    Model {
        /// Its name.
        id: String,
        /// SPDX identifier of its licence; empty if unknown.
        licence: String,
    },
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
            Self::Model { .. } => "Model",
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
            Self::Model { id, .. } | Self::Device { id } => id,
            Self::AuditLog | Self::PolicyStore | Self::KeyStore => "this",
        }
    }
}

/// The situation of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Seconds since 1970-01-01 UTC, by the device's own clock with its floor.
    pub now_s: i64,
    /// Seconds since the fleet was last heard from; 0 on a device that belongs to none.
    pub offline_s: u64,
    /// Seconds since the bundle in force was last confirmed.
    pub policy_age_s: u64,
    /// How the caller proved who it is.
    pub auth_method: AuthMethod,
    /// From where the call came.
    pub network: Network,
    /// Tokens that the request asks for; `None` if it leaves that to the limit.
    pub max_tokens: Option<u32>,
}

/// How the caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// The kernel's word on a Unix socket.
    Socket,
    /// A local API key.
    ApiKey,
    /// A signed token.
    Token,
    /// A client certificate.
    Certificate,
}

impl AuthMethod {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Socket, Self::ApiKey, Self::Token, Self::Certificate];

    /// The word in policies and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::Certificate => "certificate",
        }
    }
}

/// From where a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// A Unix socket of this machine.
    Socket,
    /// This machine's loopback address.
    Loopback,
    /// Anywhere else; always over TLS.
    Remote,
}

impl Network {
    /// Every network.
    pub const ALL: [Self; 3] = [Self::Socket, Self::Loopback, Self::Remote];

    /// The word in policies and audit records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Loopback => "loopback",
            Self::Remote => "remote",
        }
    }
}
