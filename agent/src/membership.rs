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
    pub(crate) events: Events,
    pub(crate) membership: Membership,
    pub(crate) installer: Arc<Installer>,
    pub(crate) audit: AuditLog,
    pub(crate) stop: CancellationToken,
}

impl Keeping {
    /// Runs until it is told to stop.
    pub(crate) async fn run(self) {
        let Self { renewal, connectivity, events: said, membership, installer, audit, stop } = self;
        let (sender, mut events) = mpsc::channel(EVENTS);
        let mut told = Trouble::default();
        let renewing = tokio::spawn(renewal.run(connectivity, sender, stop));
        while let Some(event) = events.recv().await {
            if let Some((kind, text)) = told.of(&event)
                && let Err(error) = said.say(kind, &text)
            {
                tracing::error!(%error, kind = kind.name(), "an event could not be queued");
            }
            let record = Record::new(Kind::DeviceEnrol);
            let record = match event {
                IdentityEvent::Renewed { fingerprint, not_after_s } => record
                    .detail("act", "renewed")
                    .detail("key", fingerprint.to_string())
                    .detail("not_after_s", not_after_s),
                IdentityEvent::Revoked => {
                    if let Some(reason) = membership.stopped() {
                        installer.withhold(&reason).await;
                    }
                    record.detail("act", "revoked")
                }
                IdentityEvent::Admitted => record.detail("act", "admitted"),
                // In the operations log; the old certificate is in force, and nothing has changed.
                IdentityEvent::NotRenewed { .. } => continue,
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

/// Whether it was told that the certificate is not renewed: each try that fails is no news.
#[derive(Debug, Default)]
struct Trouble {
    is_told: bool,
}

impl Trouble {
    /// What an operator is told of this, if anything.
    fn of(&mut self, event: &IdentityEvent) -> Option<(EventKind, String)> {
        match event {
            IdentityEvent::NotRenewed { .. } if std::mem::replace(&mut self.is_told, true) => None,
            IdentityEvent::NotRenewed { reason } => {
                let text = format!("the certificate was not renewed, and it is tried again: {reason}");
                Some((EventKind::Renewal, text))
            }
            IdentityEvent::Renewed { fingerprint, not_after_s } => {
                self.is_told = false;
                let text =
                    format!("the certificate was renewed: key {fingerprint}, until {not_after_s} (seconds since 1970)");
                Some((EventKind::Renewal, text))
            }
            IdentityEvent::Revoked => {
                Some((EventKind::Revoked, "this device was revoked: it gets nothing new from its fleet".to_owned()))
            }
            IdentityEvent::Admitted => {
                Some((EventKind::Revoked, "this device is let in again after it was revoked".to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_that_fails_again_and_again_is_told_once_until_one_succeeds() {
        let mut told = Trouble::default();
        let failed = |reason: &str| IdentityEvent::NotRenewed { reason: reason.into() };
        let text = told.of(&failed("no route")).unwrap().1;
        assert_eq!(text, "the certificate was not renewed, and it is tried again: no route");
        assert_eq!(told.of(&failed("still none")), None);
        let renewed = IdentityEvent::Renewed { fingerprint: "00".repeat(32).parse().unwrap(), not_after_s: 7 };
        assert_eq!(told.of(&renewed).unwrap().0, EventKind::Renewal);
        assert!(told.of(&failed("no route")).is_some());
        assert_eq!(told.of(&IdentityEvent::Revoked).unwrap().0, EventKind::Revoked);
        assert!(told.of(&IdentityEvent::Admitted).unwrap().1.contains("let in again"));
    }
}
