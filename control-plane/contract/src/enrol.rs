//! Enrolment: a one-time code and a certificate request go in, an identity comes out. HTTPS `POST /v1/enrol`.

use serde::{Deserialize, Serialize};

use crate::{DeviceId, TenantId};

/// What a device asks for. The private key never leaves it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The one-time code that an operator made.
    pub code: String,
    /// PKCS #10 certificate request, PEM.
    pub certificate_request: String,
    /// The Ed25519 key that will sign the device's audit checkpoints, as a C2SP verifier key.
    pub audit_key: String,
    /// The agent's version.
    pub agent: String,
}

impl std::fmt::Debug for EnrolRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("EnrolRequest").field("code", &"…").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// What a device gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolResponse {
    /// The name that the operator gave the device.
    pub device: DeviceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Client certificate, PEM, then the chain.
    pub certificate: String,
    /// The authority that signs the broker's and the control plane's certificates, PEM.
    pub authority: String,
    /// TUF root that the catalogue starts from (JSON text).
    pub trusted_root: String,
    /// Director keys to begin with; the catalogue's authority document rules from then on.
    pub director_keys: Vec<String>,
    /// `host:port` of the broker (MQTT 5 over TLS).
    pub broker: String,
    /// The key that cosigns checkpoints of the audit log, as a C2SP verifier key; empty if nobody does.
    #[serde(default)]
    pub audit_witness: String,
    /// The key that cosigns what the mirror of the audit log keeps; empty if there is none.
    #[serde(default)]
    pub audit_mirror: String,
}

/// Why enrolment was refused; the body of a 4xx answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRefusal {
    /// `wrong_code`, `code_used`, `code_expired`, `bad_request` or `too_many_attempts`.
    pub code: String,
    /// What happened and the way out.
    pub message: String,
}
