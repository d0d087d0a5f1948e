//! Answers what devices ask in the audit exchange, one after the other, off the connection that hears them.

use bytes::Bytes;
use outpost_contract::topic::Topic;
use outpost_contract::{AuditAnswer, AuditAsk, DeviceId, Down, Up};
use tokio::sync::mpsc;

use crate::fleet::{Fleet, FleetError};
use crate::link::Sender;

/// One question of a device.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) device: DeviceId,
    /// About a checkpoint or about records.
    pub(crate) up: Up,
    pub(crate) payload: Bytes,
}

/// Where questions are answered.
pub(crate) struct Desk {
    pub(crate) fleet: Fleet,
    pub(crate) sender: Sender,
}

impl Desk {
    /// Runs until nobody hands anything over any more.
    pub(crate) async fn run(self, mut requests: mpsc::Receiver<Request>) {
        while let Some(request) = requests.recv().await {
            let (device, down) = (request.device.clone(), down(request.up));
            let answer = self.fleet.run(move |fleet| answer(fleet, &request)).await;
            match answer {
                Ok(Some(answer)) => {
                    let topic = Topic::down(&self.fleet.config().tenant, &device, down);
                    // If it gets lost, the device asks again, minutes later: it is worth waiting for room.
                    let sent = self.sender.send(&topic, answer.to_bytes(), None).await;
                    tracing::debug!(%device, status = answer.status, sent, "an audit log was answered");
                }
                Ok(None) => {
                    tracing::warn!(%device, "a message about an audit log was ignored: it cannot be read, or the device was revoked")
                }
                Err(error) => tracing::error!(%device, %error, "an audit log is not answered; the device asks again"),
            }
        }
    }
}

fn down(up: Up) -> Down {
    if up == Up::AuditCheckpoint { Down::AuditCheckpoint } else { Down::AuditEntries }
}

fn answer(fleet: &Fleet, request: &Request) -> Result<Option<AuditAnswer>, FleetError> {
    let Some(AuditAsk { number, body }) = AuditAsk::parse(&request.payload) else { return Ok(None) };
    let Some(audit_key) = fleet.inner.database.audit_key(&request.device)? else { return Ok(None) };
    let keeper = &fleet.inner.audit;
    let (status, body) = if request.up == Up::AuditCheckpoint {
        let outcome = keeper.witness(&audit_key, &body, fleet.now_s())?;
        (outcome.status(), outcome.body())
    } else {
        let receipt = keeper.mirror(&request.device, &audit_key, &body, fleet.now_s())?;
        (receipt.status(), receipt.body())
    };
    Ok(Some(AuditAnswer { number, status, body: body.into() }))
}
