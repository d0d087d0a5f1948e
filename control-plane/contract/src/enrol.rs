//! Enrolment and renewal: a certificate request goes in, an identity or a new certificate comes out, over HTTPS.
//!
//! | route | who | answer |
//! |---|---|---|
//! | `POST /v1/enrol` | a stranger with a code, an allowed key, or a request that an operator decides | [`EnrolResponse`] |
//! | `POST /v1/self/renew` | a device that shows its certificate | [`RenewResponse`] |
//! | `GET /v1/renew/nonce` | anybody | [`RenewNonce`] |
//! | `POST /v1/renew` | a device whose certificate has expired, by a signature of its key | [`RenewResponse`] |
//!
//! Every refusal has the form of [`EnrolRefusal`].

use serde::{Deserialize, Serialize};

use crate::{DeviceId, TenantId};

/// What a device asks for. The private key never leaves it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The one-time code that an operator made; empty for a device that comes with its key alone.
    pub code: String,
    /// PKCS #10 certificate request, PEM.
    pub certificate_request: String,
    /// The Ed25519 key that will sign the device's audit checkpoints, as a C2SP verifier key.
    pub audit_key: String,
    /// The agent's version.
    pub agent: String,
    /// The name that a device without a code would like to have; an operator decides. Empty if it has no wish.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wished_name: String,
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

/// Why there is no certificate; the body of a 4xx answer, and of 202 while an operator has not decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRefusal {
    /// `wrong_code`, `code_used`, `code_expired`, `bad_request`, `too_many_attempts`, `not_allowed` or `pending`; of a
    /// renewal `bad_request`, `too_many_attempts`, `renewal_refused` or `revoked`.
    pub code: String,
    /// What happened and the way out.
    pub message: String,
}

/// A device asks for a certificate for a new key, showing the certificate of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// PKCS #10 certificate request for the new key, PEM.
    pub certificate_request: String,
}

/// The new certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewResponse {
    /// Client certificate, PEM, then the chain.
    pub certificate: String,
}

/// A number that a device whose certificate has expired signs; good once and for minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewNonce {
    /// Hexadecimal.
    pub nonce: String,
}

/// A device whose certificate has expired asks for a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateRenewRequest {
    /// PKCS #10 certificate request for the new key, PEM.
    pub certificate_request: String,
    /// The certificate that has expired, PEM.
    pub certificate: String,
    /// What [`RenewNonce`] said.
    pub nonce: String,
    /// ECDSA P-256 with SHA-256 by the old key over [`LateRenewRequest::signed_bytes`]: DER, in hexadecimal.
    pub signature: String,
}

impl LateRenewRequest {
    /// What the old key signs: a word that no other signature begins with, the server's nonce, the digest of the request.
    #[must_use]
    pub fn signed_bytes(nonce: &str, certificate_request_sha256: &[u8; 32]) -> Vec<u8> {
        format!("outpost late renewal v1\n{nonce}\n{}\n", hex::encode(certificate_request_sha256)).into_bytes()
    }
}
