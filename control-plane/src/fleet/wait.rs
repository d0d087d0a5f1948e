//! Waiting for what a device reports, without asking the database again and again.

use std::time::Duration;

use outpost_contract::{DeviceId, Reported};

use super::{Fleet, FleetError};
use crate::db::DeviceSummary;

impl Fleet {
    /// Waits until the newest report of a device satisfies `wanted`. `what` names it in the error.
    ///
    /// # Errors
    /// [`FleetError::TimedOut`] after `patience`.
    pub async fn wait_for_reported(
        &self,
        device: &DeviceId,
        what: &'static str,
        patience: Duration,
        wanted: impl Fn(&Reported) -> bool,
    ) -> Result<Reported, FleetError> {
        let seen = self.wait_for(device, what, patience, |summary| summary.reported.as_ref().is_some_and(&wanted));
        let reported = seen.await?.reported;
        reported.ok_or_else(|| FleetError::UnknownDevice(device.clone()))
    }

    /// Waits until a device (with its report and presence) satisfies `wanted`.
    ///
    /// # Errors
    /// [`FleetError::TimedOut`] after `patience`.
    pub async fn wait_for(
        &self,
        device: &DeviceId,
        what: &'static str,
        patience: Duration,
        wanted: impl Fn(&DeviceSummary) -> bool,
    ) -> Result<DeviceSummary, FleetError> {
        let mut news = self.inner.news.subscribe();
        let found = async {
            loop {
                // Seen before it is looked at: what comes meanwhile wakes us again.
                news.borrow_and_update();
                let name = device.clone();
                let summary = self.run(move |fleet| fleet.inner.database.device(&name)).await?;
                if let Some(summary) = summary.filter(|summary| wanted(summary)) {
                    return Ok(summary);
                }
                if news.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let timed_out = FleetError::TimedOut { device: device.clone(), what, seconds: patience.as_secs() };
        tokio::time::timeout(patience, found).await.unwrap_or(Err(timed_out))
    }
}
