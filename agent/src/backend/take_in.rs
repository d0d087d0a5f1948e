//! What somebody on this machine hands to the agent: a stick, to be taken in or to be written, or a build of the agent itself.

use std::path::Path;

use outpost_serve::BackendError;
use outpost_update::Refused;
use serde_json::{Map, Value};

use super::{LocalBackend, failed};
use crate::home::HomeError;
use crate::stick::{NotTaken, Port, facts};
use crate::updates;

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

    /// Takes in a build of the agent itself and starts again with it.
    pub(super) async fn take_build(&self, file: &Path, again: bool) -> Result<Map<String, Value>, BackendError> {
        let staged = self.updates.stage_file(file, again).await.map_err(|refused| {
            let detail = format!("{refused} (code `{}`)", refused.code());
            match refused {
                Refused::Busy { .. } | Refused::RolledBack { .. } | Refused::AlreadyHere { .. } => {
                    BackendError::Conflict { detail }
                }
                Refused::NotRecorded { .. } => failed(detail),
                _ => BackendError::Unsuitable { field: "file", detail },
            }
        })?;
        // The answer still gets its time.
        self.updates.start_again();
        Ok(updates::facts(&staged))
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
