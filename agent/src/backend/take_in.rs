//! A stick that somebody on this machine hands to the agent.

use std::path::Path;

use outpost_serve::BackendError;
use serde_json::{Map, Value};

use super::{LocalBackend, failed};
use crate::stick::{NotTaken, facts};

/// A stick takes a moment, its model longer.
const RETRY_AFTER_S: u32 = 10;

impl LocalBackend {
    /// Hands a stick to the task that reconciles, and says what is in force then.
    pub(super) async fn take_in(&self, directory: &Path) -> Result<Map<String, Value>, BackendError> {
        let Some(sticks) = &self.sticks else {
            let detail = "this device belongs to no fleet, so no stick is for it: `outpost enroll` makes it a member";
            return Err(BackendError::Conflict { detail: detail.to_owned() });
        };
        let standing = sticks.take(directory.to_owned()).await.map_err(|error| told(&error))?;
        Ok(facts(&standing))
    }
}

fn told(error: &NotTaken) -> BackendError {
    let detail = error.to_string();
    match error {
        NotTaken::Busy => BackendError::Busy { retry_after_s: RETRY_AFTER_S },
        NotTaken::Refused(_) => BackendError::Conflict { detail },
        NotTaken::Stopping => failed(detail),
        NotTaken::NoBundle(_) | NotTaken::Unreadable { .. } | NotTaken::Invalid(_) | NotTaken::Damaged(_) => {
            BackendError::Unsuitable { field: "directory", detail }
        }
    }
}
