//! This device as a member of its fleet: its certificate is renewed, and it knows when it was revoked.

use std::sync::Arc;

use outpost_audit::{AuditLog, Kind, Record};
use outpost_contract::{EventKind, Reason, ReasonCode};
use outpost_policies::{InForce, WhenRevoked};
use outpost_sync::{Connectivity, Events, IdentityEvent, Renewal, SyncDatabase};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::install::Installer;

/// Events that may wait: there is one in months.
const EVENTS: usize = 4;

/// Whether this device was revoked, and what that means for whom it serves; clones ask the same database.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) database: SyncDatabase,
    pub(crate) policies: InForce,
}

impl Membership {
    /// When it was found out that this device was revoked, seconds since 1970-01-01 UTC.
    pub(crate) fn revoked_s(&self) -> Option<i64> {
        self.database.revoked_s().unwrap_or_else(|error| {
            tracing::warn!(%error, "whether this device was revoked is unknown");
            None
        })
    }

    /// Why nothing may serve, if the device was revoked and its policy wants it to stop. Worth another try: it may be let in
    /// again.
    pub(crate) fn stopped(&self) -> Option<Reason> {
        let stops = self.policies.now().fleet().when_revoked == WhenRevoked::Stop;
        (stops && self.revoked_s().is_some()).then(|| Reason {
            code: ReasonCode::Unavailable,
            subject: "fleet".into(),
            detail: "this device was revoked, and its policy says that it then serves nobody; ask the operator".into(),
        })
    }
}

/// Keeps the certificate renewed and acts on what becomes of the membership.
pub(crate) struct Keeping {
    pub(crate) renewal: Renewal,
    pub(crate) connectivity: watch::Receiver<Connectivity>,
    pub(crate) membership: Membership,
    pub(crate) installer: Arc<Installer>,
    pub(crate) audit: AuditLog,
    pub(crate) events: Events,
    pub(crate) stop: CancellationToken,
}

impl Keeping {
    /// Runs until it is told to stop.
    pub(crate) async fn run(self) {
        let Self { renewal, connectivity, membership, installer, audit, events, stop } = self;
        let (sender, mut happened) = mpsc::channel(EVENTS);
        // Why it was not renewed is told once, however often it is tried.
        let mut told = None;
        let tell = |kind, text: &str| {
            if let Err(error) = events.say(kind, text) {
                tracing::error!(%error, "an event could not be queued");
            }
        };
        let renewing = tokio::spawn(renewal.run(connectivity, sender, stop));
        while let Some(event) = happened.recv().await {
            let record = Record::new(Kind::DeviceEnrol);
            let record = match event {
                IdentityEvent::Renewed { fingerprint, not_after_s } => {
                    told = None;
                    tell(EventKind::Renewal, "the certificate was renewed, with a new key");
                    record
                        .detail("act", "renewed")
                        .detail("key", fingerprint.to_string())
                        .detail("not_after_s", not_after_s)
                }
                IdentityEvent::Revoked => {
                    if let Some(reason) = membership.stopped() {
                        installer.withhold(&reason).await;
                    }
                    tell(EventKind::Revoked, "this device was told that it is revoked");
                    record.detail("act", "revoked")
                }
                IdentityEvent::Admitted => record.detail("act", "admitted"),
                // No record: the old certificate is in force, and nothing has changed.
                IdentityEvent::NotRenewed { reason } => {
                    if told.as_ref() != Some(&reason) {
                        tell(EventKind::Renewal, &format!("the certificate could not be renewed: {reason}"));
                        told = Some(reason);
                    }
                    continue;
                }
            };
            if let Err(error) = audit.append(record).await {
                tracing::error!(%error, "a change of this device's identity could not be recorded");
            }
        }
        if let Err(error) = renewing.await {
            tracing::error!(%error, "the certificate is not renewed any more");
        }
    }
}
