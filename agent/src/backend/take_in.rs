//! A stick that somebody on this machine hands to the agent: to be taken in, or to be written.

use std::path::Path;

use outpost_serve::BackendError;
use serde_json::{Map, Value};

use super::{LocalBackend, failed};
use crate::home::HomeError;
use crate::stick::{NotTaken, Port, facts};

/// A stick takes a moment, its model longer.
const RETRY_AFTER_S: u32 = 10;

impl LocalBackend {
    /// Hands a stick to the task that reconciles, and says what is in force then.
    pub(super) async fn take_in(&self, directory: &Path) -> Result<Map<String, Value>, BackendError> {
        let taken = self.port()?.take(directory.to_owned()).await.map_err(|error| told(&error))?;
        Ok(facts(&taken))
    }

    /// Writes onto a stick what the control plane lacks, and says what that was.
    pub(super) async fn send_home(
        &self,
        directory: &Path,
        from: Option<u64>,
    ) -> Result<Map<String, Value>, BackendError> {
        let sent = self.port()?.send(directory.to_owned(), from).await;
        let sent = sent.map_err(|error| match error {
            HomeError::From { .. } => BackendError::Unsuitable { field: "from", detail: error.to_string() },
            HomeError::Write { .. } | HomeError::InTheWay(_) | HomeError::Space(..) => {
                BackendError::Unsuitable { field: "directory", detail: error.to_string() }
            }
            _ => failed(error.to_string()),
        })?;
        match serde_json::to_value(sent) {
            Ok(Value::Object(facts)) => Ok(facts),
            other => Err(failed(format!("what was written cannot be told: {other:?}"))),
        }
    }

    fn port(&self) -> Result<&Port, BackendError> {
        let detail = "this device belongs to no fleet, so no stick is for it: `outpost enroll` makes it a member";
        self.sticks.as_ref().ok_or_else(|| BackendError::Conflict { detail: detail.to_owned() })
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
