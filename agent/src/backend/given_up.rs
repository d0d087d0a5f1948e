//! Messages to the control plane that were given up: forgotten when somebody says so.

use std::sync::Arc;

use outpost_serve::BackendError;
use outpost_sync::Outbox;
use tokio::sync::Notify;

use super::{LocalBackend, failed};

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct GivenUp {
    pub(crate) outbox: Outbox,
    /// Asks for a report, which ends the alarm at the control plane.
    pub(crate) news: Arc<Notify>,
}

impl GivenUp {
    async fn clear(&self) -> Result<u64, BackendError> {
        let outbox = self.outbox.clone();
        let clearing = tokio::task::spawn_blocking(move || outbox.clear_dead_letters()).await;
        let cleared =
            clearing.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        self.news.notify_one();
        Ok(cleared)
    }
}

impl LocalBackend {
    /// Gives how many they were.
    pub(super) async fn forget_given_up(&self) -> Result<u64, BackendError> {
        let Some(given_up) = &self.given_up else {
            let detail = "this device belongs to no fleet, so it sends nothing that could be given up";
            return Err(BackendError::Conflict { detail: detail.to_owned() });
        };
        given_up.clear().await
    }
}

#[cfg(test)]
mod tests {
    use outpost_sync::SyncDatabase;

    use super::*;

    #[tokio::test]
    async fn clearing_asks_for_a_report_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let given_up = GivenUp { outbox: SyncDatabase::open(dir.path()).unwrap().outbox(), news: Arc::default() };
        assert_eq!(given_up.clear().await, Ok(0));
        given_up.news.notified().await;
    }
}
