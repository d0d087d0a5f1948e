//! Desired state: signed for one device, accepted if it is really for it and newer, obeyed if the catalogue agrees.

mod accept;
mod agree;

use outpost_contract::desired::PAYLOAD_TYPE;
use outpost_contract::{Desired, ReasonCode};

pub use accept::{Acceptance, Accepted, MOST_STEP, accept};
pub use agree::{Agreed, AgreedPolicy, agree};

use crate::dsse::DsseError;
use crate::{Envelope, SigningKey};

/// Why a desired state is not obeyed: a code for machines and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// For machines. What cannot even be read as an envelope counts as [`ReasonCode::BadSignature`]; what is signed
    /// but not understood as [`ReasonCode::Unloadable`].
    pub code: ReasonCode,
    /// For people: what is wrong and the way out.
    pub detail: String,
}

impl Refusal {
    fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// Signs a desired state; with the old and the new key while a director key is being changed.
///
/// # Errors
/// [`DsseError::TooLarge`] if no device would take it, [`DsseError::Malformed`] without a key.
pub fn sign(desired: &Desired, keys: &[&SigningKey]) -> Result<Envelope, DsseError> {
    let payload = serde_json::to_vec(desired).map_err(|error| DsseError::Malformed(error.to_string()))?;
    Envelope::sign(PAYLOAD_TYPE, &payload, keys)
}
