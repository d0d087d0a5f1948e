//! Plain facts about the running agent, for `GET /outpost/status` and `outpost status`.

use std::sync::Arc;

use outpost_audit::AuditLog;
use outpost_disk::Clock;
use outpost_policies::InForce;
use outpost_sync::LinkHandle;
use outpost_update::Builds;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::active::Active;
use crate::backend::StatusSource;
use crate::membership::Membership;
use crate::pressure;
use crate::pulling::Pulling;
use crate::updates;
use crate::witnessing::Standing;

/// Where the facts come from.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) device: String,
    pub(crate) active: Arc<Active>,
    pub(crate) policies: InForce,
    pub(crate) audit: AuditLog,
    pub(crate) link: Option<LinkHandle>,
    pub(crate) pulling: Arc<Pulling>,
    /// How far others vouch for the log; none on a box that belongs to no fleet.
    pub(crate) vouched: Option<watch::Receiver<Standing>>,
    /// Whether this device was revoked; none on a box that belongs to no fleet.
    pub(crate) membership: Option<Membership>,
    pub(crate) pressed: watch::Receiver<pressure::Standing>,
    pub(crate) builds: Builds,
    pub(crate) clock: Clock,
}

/// The newest messages that were given up, each with the reason.
fn given_up(link: &LinkHandle) -> Value {
    let letters = link.events().dead_letters().unwrap_or_else(|error| {
        tracing::warn!(%error, "the outbox cannot be read");
        Vec::new()
    });
    let told =
        |(class, bytes, because): (String, u64, String)| json!({ "class": class, "bytes": bytes, "because": because });
    letters.into_iter().map(told).collect()
}

impl StatusSource for Status {
    fn status(&self) -> Value {
        let model = self.active.current().map(|loaded| {
            let card = &loaded.card;
            json!({
                "id": card.model, "variant": card.variant, "sha256": card.sha256,
                "context_tokens": card.context_tokens, "slots": card.slots, "threads": card.threads,
                "backend": loaded.worker.model().backend(),
                "self_test_tokens_per_second": card.tokens_per_second_milli / 1000,
            })
        });
        let fleet = self.link.as_ref().map(|link| {
            let connectivity = link.connectivity();
            let now = connectivity.borrow();
            let revoked_s = self.membership.as_ref().and_then(Membership::revoked_s);
            let state = match (revoked_s, now.is_online()) {
                (Some(_), _) => "revoked",
                (None, true) => "online",
                (None, false) => "offline",
            };
            let mut told = json!({
                "state": state, "online": now.is_online(), "offline_s": now.offline_s(self.clock.now_s()),
                "reason": now.reason, "revoked_s": revoked_s,
            });
            if let Ok(health) = link.events().health() {
                told["dead_letters"] = health.dead_letters.into();
                if health.dead_letters > 0 {
                    told["given_up"] = given_up(link);
                }
                told["backlog"] = health.backlog.into();
                told["events_dropped"] = health.events_dropped.into();
            }
            told
        });
        let transfer = self.pulling.look().map(|(transfer, slow)| {
            json!({
                "target": transfer.target, "progress": transfer.to_string(), "done_bytes": transfer.done_bytes,
                "total_bytes": transfer.total_bytes, "bytes_per_second": transfer.bytes_per_second,
                "source": transfer.source, "slow": slow.map(|reason| reason.detail),
            })
        });
        let space = self.audit.space();
        json!({
            "device": self.device,
            "agent": env!("CARGO_PKG_VERSION"),
            "build": updates::standing(&self.builds),
            "model": model,
            "policy_version": self.policies.now().version(),
            "fleet": fleet,
            "transfer": transfer,
            "audit_records": self.audit.size(),
            "audit_root": hex::encode(self.audit.root()),
            "audit_room": {
                "level": space.level.name(), "free_bytes": space.free_bytes, "whole_bytes": space.whole_bytes,
                "when_critical": space.mode.name(),
            },
            "pressure": self.pressed.borrow().clone(),
            "audit_vouched": self.vouched.as_ref().map(|vouched| vouched.borrow().clone()),
        })
    }
}
