//! What every request needs: the agent's parts, the ceilings, and what has to outlive a request.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use outpost_audit::{AuditLog, Moment, Pseudonyms, Retention};
use outpost_policies::InForce;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gate::Gate;
use crate::given_up::CLIENT_LEFT;
use crate::identify::{Failures, Identities};
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::quota::Quotas;
use crate::tls::Tls;
use crate::{Backend, Governance, Limits};

/// What the agent brings.
#[derive(Clone)]
pub struct Serving {
    /// The device's name, for policies and status.
    pub device: String,
    /// Where everything is recorded.
    pub audit: AuditLog,
    /// How long sealed content is kept.
    pub retention: Retention,
    /// How callers are called in the record.
    pub pseudonyms: Pseudonyms,
    /// Who may do what.
    pub policies: InForce,
    /// Who callers are.
    pub identities: Arc<Identities>,
    /// What answers.
    pub backend: Arc<dyn Backend>,
    /// What takes signed documents.
    pub governance: Arc<dyn Governance>,
    /// The time and the device's situation, asked at each request.
    pub circumstances: Arc<dyn Fn() -> Circumstances + Send + Sync>,
}

/// The time and the device's situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Circumstances {
    /// Seconds since 1970-01-01 UTC, by the device's clock with its floor.
    pub now_s: i64,
    /// What local time is ahead of UTC, in seconds; 0 where the machine names no time zone.
    pub utc_offset_s: i32,
    /// Seconds since the fleet was last heard from; 0 on a device that belongs to none.
    pub offline_s: u64,
    /// Seconds since the policy in force was last confirmed.
    pub policy_age_s: u64,
}

impl fmt::Debug for Serving {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Serving").field("device", &self.device).finish_non_exhaustive()
    }
}

/// The running server's state.
pub(crate) struct App {
    pub(crate) serving: Serving,
    pub(crate) limits: Limits,
    pub(crate) gate: Gate,
    pub(crate) failures: Failures,
    /// Responses that are kept for their callers.
    pub(crate) responses: crate::api::openai::Responses,
    /// Whose turn it is.
    pub(crate) queue: Arc<Queue>,
    /// What everybody has used.
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) metrics: Metrics,
    /// Tasks that still have something to record.
    pub(crate) tasks: TaskTracker,
    /// No more time: what is being generated is given up, and recorded as such.
    pub(crate) giving_up: CancellationToken,
    pub(crate) router: Router<Arc<App>>,
    pub(crate) tls: Option<Arc<Tls>>,
}

impl App {
    pub(crate) fn circumstances(&self) -> Circumstances {
        (self.serving.circumstances)()
    }

    /// Status and code, for records, of a call that is dropped now.
    pub(crate) fn left(&self) -> (u16, &'static str) {
        if self.giving_up.is_cancelled() { (503, "shutdown") } else { (CLIENT_LEFT, "client_left") }
    }

    /// Now, as limits count it: the wall clock shows local time, since their days are local.
    pub(crate) fn moment(&self) -> Moment {
        let now = self.serving.audit.moment();
        let ahead_ms = i64::from(self.circumstances().utc_offset_s) * 1000;
        Moment { wall_ms: now.wall_ms.saturating_add(ahead_ms), ..now }
    }

    /// What is in force beside the policies: locks, an open override, and a certificate that could not be renewed.
    pub(crate) fn access_status(&self) -> serde_json::Value {
        let identities = &self.serving.identities;
        let locks = identities.locks().map(|(seq, confirmed_s)| json!({ "seq": seq, "confirmed_s": confirmed_s }));
        let glass = identities.break_glass(self.circumstances().now_s);
        let glass = glass.map(|glass| json!({ "id": glass.id, "roles": glass.roles, "until_s": glass.until_s }));
        let problem = self.tls.as_ref().and_then(|tls| tls.problem());
        json!({ "locks": locks, "break_glass": glass, "tls_problem": problem })
    }
}
