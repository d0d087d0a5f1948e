//! Why a model is not assigned, approved or withdrawn, and the way out.

use axum::http::StatusCode;
use outpost_contract::DeviceId;

/// Something about a model cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Nobody approved it for the device, or not any more.
    #[error(
        "`{model}` may not be assigned to `{device}`: {because}; whoever may approve models can: \
         `outpost-control model approve {model} --until 90d --where 'name={device}'`"
    )]
    NotApproved {
        /// The model.
        model: String,
        /// The device.
        device: DeviceId,
        /// What is missing.
        because: String,
    },
    /// Its licence is refused.
    #[error(
        "`{model}` may not be assigned: its licence `{licence}` is on the list `deny` of `[licences]` in \
         `outpost-control.toml`; choose another model, or change the list"
    )]
    LicenceDenied {
        /// The model.
        model: String,
        /// Its licence.
        licence: String,
    },
    /// It was withdrawn.
    #[error(
        "`{model}` was withdrawn by {person}: {reason}; choose another model, or take that back with \
         `outpost-control model restore {model}`"
    )]
    Withdrawn {
        /// The model.
        model: String,
        /// By whom.
        person: String,
        /// Why.
        reason: String,
    },
    /// A filter, an approval or a withdrawal is written wrongly.
    #[error("{0}")]
    Invalid(String),
    /// One field of an approval or a withdrawal is written wrongly.
    #[error("{why}")]
    Field {
        /// The field, as the request names it.
        field: &'static str,
        /// What is wrong with it, and the way out.
        why: String,
    },
    /// There is no such approval that counts.
    #[error("there is no approval `{}` that counts; `outpost-control model approvals` shows those that are", .0.escape_debug())]
    NoApproval(String),
    /// The model was not withdrawn.
    #[error("`{}` was not withdrawn; `outpost-control model withdrawals` shows what was", .0.escape_debug())]
    NotWithdrawn(String),
}

impl ModelError {
    /// How the API tells it.
    pub(crate) fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotApproved { .. } => (StatusCode::FORBIDDEN, "not_approved"),
            Self::LicenceDenied { .. } => (StatusCode::FORBIDDEN, "licence_denied"),
            Self::Withdrawn { .. } => (StatusCode::CONFLICT, "withdrawn"),
            Self::Invalid(_) | Self::Field { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::NoApproval(_) => (StatusCode::NOT_FOUND, "unknown_approval"),
            Self::NotWithdrawn(_) => (StatusCode::NOT_FOUND, "not_withdrawn"),
        }
    }
}
