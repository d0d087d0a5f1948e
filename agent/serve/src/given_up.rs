//! Why an answer ends that nobody takes any more: its client left, unless it was given up with the others of its request.

use std::sync::{Arc, OnceLock};

use axum::http::StatusCode;

use crate::error::ApiError;

/// The status of somebody who left before the end.
pub(crate) const CLIENT_LEFT: u16 = 499;

/// Whether a request's answers were given up, shared by all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenUp(Arc<OnceLock<StatusCode>>);

impl GivenUp {
    /// One answer failed, and the request with it: the others are given up.
    pub(crate) fn with(&self, error: &ApiError) {
        // The first failure is the one that the caller is told of.
        let _ = self.0.set(error.status);
    }

    /// Status and reason for the record of an answer that is dropped now.
    pub(crate) fn reason(&self) -> (u16, &'static str) {
        match self.0.get() {
            Some(status) => (status.as_u16(), "choice_given_up"),
            None => (CLIENT_LEFT, "client_left"),
        }
    }
}
