//! Who may connect, say what, and hear what. A device has its own prefix and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use outpost_contract::limits::{AUDIT_PACKAGE_BYTES, DOCUMENT_BYTES};
use outpost_contract::topic::{Leaf, Topic};
use outpost_contract::{DeviceId, TenantId, Up};
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType};
use rmqtt::types::{AuthResult, ConnectInfo, LastWill, PublishAclResult, SubscribeAclResult};

use super::{BULK_SUFFIX, PROOF_SUFFIX, Rules};

/// Common name and client id of the control plane's own connections. No device may be called so.
pub const CONTROL_PLANE: &str = "control-plane";

/// The version of MQTT that is spoken here.
const MQTT_5: u8 = 5;

/// Who wants to connect: a device that has shown a certificate of our authority.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// The device.
    pub device: DeviceId,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    /// Whether it only proves that it can connect: then the certificate does not count as used yet.
    pub is_proof: bool,
}

/// Says whether a device is enrolled and not revoked, and its certificate not replaced. Asked once for each connection.
pub type Admission = Arc<dyn Fn(&Entrant) -> bool + Send + Sync>;

/// The rules. Every connection and every message passes here.
#[derive(Clone)]
pub struct Guard {
    rules: Rules,
    admission: Admission,
}

/// A client that has shown its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Client {
    ControlPlane,
    Device(DeviceId),
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guard").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Guard {
    /// Rules for the devices of one tenant.
    #[must_use]
    pub fn new(tenant: TenantId, admission: Admission) -> Self {
        Self { rules: Rules::new(tenant), admission }
    }

    /// The client behind a certificate's common name and a client id, if the two belong together.
    fn identify(common_name: &str, client_id: &str) -> Option<Client> {
        let own = Self::name_of(client_id) == common_name;
        own.then(|| Self::of_client_id(client_id)).flatten()
    }

    /// The client of a session that was let in.
    fn of_client_id(client_id: &str) -> Option<Client> {
        let name = Self::name_of(client_id);
        if name == CONTROL_PLANE {
            return Some(Client::ControlPlane);
        }
        name.parse().ok().map(Client::Device)
    }

    /// The name in a client id: without the suffix of a second connection.
    fn name_of(client_id: &str) -> &str {
        let suffixes = [BULK_SUFFIX, PROOF_SUFFIX];
        suffixes.iter().find_map(|suffix| client_id.strip_suffix(suffix)).unwrap_or(client_id)
    }

    fn may_publish(&self, client: &Client, topic: &str, retain: bool, bytes: usize) -> bool {
        let Client::Device(device) = client else { return true };
        // Retained messages stay with the broker: only presence may, or a device could fill its memory.
        let is_package = topic.parse().is_ok_and(|topic: Topic| topic.leaf == Leaf::Up(Up::AuditEntries));
        let most = if is_package { AUDIT_PACKAGE_BYTES } else { DOCUMENT_BYTES };
        bytes <= most && self.rules.may_publish(device, topic, retain)
    }

    fn may_subscribe(&self, client: &Client, filter: &str) -> bool {
        let Client::Device(device) = client else { return true };
        self.rules.may_subscribe(device, filter)
    }

    /// What it says to a client of this name, whatever its size.
    #[cfg(test)]
    pub(super) fn lets(&self, name: &str, writes: bool, topic: &str, retain: bool) -> bool {
        let client = Self::of_client_id(name).expect("a client");
        if writes { self.may_publish(&client, topic, retain, 0) } else { self.may_subscribe(&client, topic) }
    }

    async fn admit(&self, info: &ConnectInfo) -> Option<Client> {
        let common_name = info.cert()?.common_name.as_ref()?;
        let client = Self::identify(common_name, info.client_id())?;
        if info.proto_ver() != MQTT_5 {
            return None;
        }
        // The library publishes wills without asking anybody, so a will is judged here.
        if let Some(will) = info.last_will() {
            let (topic, retain, bytes) = match &will {
                LastWill::V3(will) => (&will.topic, will.retain, will.message.len()),
                LastWill::V5(will) => (&will.topic, will.retain, will.message.len()),
            };
            if !self.may_publish(&client, topic, retain, bytes) {
                return None;
            }
        }
        if let Client::Device(device) = &client {
            let (admission, is_proof) = (self.admission.clone(), info.client_id().ends_with(PROOF_SUFFIX));
            let serial = info.cert()?.serial.clone()?;
            let entrant = Entrant { device: device.clone(), serial, is_proof };
            let known = tokio::task::spawn_blocking(move || admission(&entrant)).await;
            if !known.unwrap_or(false) {
                return None;
            }
        }
        Some(client)
    }
}

#[async_trait]
impl Handler for Guard {
    async fn hook(&self, parameter: &Parameter, accumulated: Option<HookResult>) -> ReturnType {
        match parameter {
            Parameter::ClientAuthenticate(info) => {
                let result = match self.admit(info).await {
                    Some(client) => AuthResult::Allow(client == Client::ControlPlane, None),
                    None => {
                        let common_name = info.cert().and_then(|certificate| certificate.common_name.as_deref());
                        tracing::warn!(client_id = %info.client_id(), common_name, "a connection was refused");
                        AuthResult::NotAuthorized
                    }
                };
                (false, Some(HookResult::AuthResult(result)))
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                let allowed = Self::of_client_id(&session.id.client_id).is_some_and(|client| {
                    self.may_publish(&client, &publish.topic, publish.retain, publish.payload.len())
                });
                let result = if allowed {
                    PublishAclResult::allow()
                } else {
                    tracing::warn!(client_id = %session.id.client_id, topic = %publish.topic, "a message was refused");
                    PublishAclResult::rejected(false, None)
                };
                (false, Some(HookResult::PublishAclResult(result)))
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => {
                let allowed = Self::of_client_id(&session.id.client_id)
                    .is_some_and(|client| self.may_subscribe(&client, &subscribe.topic_filter));
                let result = if allowed {
                    SubscribeAclResult::new_success(subscribe.opts.qos(), None)
                } else {
                    let filter = &subscribe.topic_filter;
                    tracing::warn!(client_id = %session.id.client_id, %filter, "a subscription was refused");
                    SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
                };
                (false, Some(HookResult::SubscribeAclResult(result)))
            }
            _ => (true, accumulated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard() -> Guard {
        Guard::new("acme".parse().unwrap(), Arc::new(|_| true))
    }

    fn device(name: &str) -> Client {
        Client::Device(name.parse().unwrap())
    }

    #[test]
    fn a_client_is_who_its_certificate_says() {
        assert_eq!(Guard::identify("till-1", "till-1"), Some(device("till-1")));
        assert_eq!(Guard::identify("till-1", "till-1.bulk"), Some(device("till-1")));
        assert_eq!(Guard::identify("till-1", "till-1.proof"), Some(device("till-1")));
        assert_eq!(Guard::identify("control-plane", "control-plane"), Some(Client::ControlPlane));
        for other in [
            "till-2",
            "till-1.bulk.bulk",
            "till-1.proof.bulk",
            "till-2.proof",
            "control-plane",
            "control-plane.bulk",
            ".bulk",
            "",
        ] {
            assert_eq!(Guard::identify("till-1", other), None, "{other}");
        }
        assert_eq!(Guard::identify("a/b", "a/b"), None);
    }

    #[test]
    fn a_device_speaks_for_itself_only() {
        let guard = guard();
        let till = device("till-1");
        let may = |topic: &str, retain, bytes| guard.may_publish(&till, topic, retain, bytes);
        assert!(may("op/1/acme/d/till-1/up/reported", false, DOCUMENT_BYTES));
        assert!(may("op/1/acme/d/till-1/up/presence", true, 10));
        assert!(!may("op/1/acme/d/till-1/up/reported", true, 10));
        assert!(!may("op/1/acme/d/till-1/up/reported", false, DOCUMENT_BYTES + 1));
        assert!(may("op/1/acme/d/till-1/up/audit/entries", false, AUDIT_PACKAGE_BYTES));
        assert!(!may("op/1/acme/d/till-1/up/audit/entries", false, AUDIT_PACKAGE_BYTES + 1));
        for topic in [
            "op/1/acme/d/till-2/up/reported",
            "op/1/other/d/till-1/up/reported",
            "op/1/acme/d/till-1/down/desired",
            "op/1/acme/d/till-1/up/other",
            "$SYS/x",
            "",
        ] {
            assert!(!may(topic, false, 1), "{topic}");
        }
    }

    #[test]
    fn a_device_hears_only_what_is_for_it() {
        let guard = guard();
        let till = device("till-1");
        assert!(guard.may_subscribe(&till, "op/1/acme/d/till-1/down/#"));
        assert!(guard.may_subscribe(&till, "op/1/acme/d/till-1/down/blob/7"));
        for filter in [
            "#",
            "+/1/acme/d/till-1/down/#",
            "op/1/acme/d/+/down/#",
            "op/1/acme/d/till-11/down/#",
            "op/1/acme/d/till-1/up/#",
            "op/1/acme/d/till-1/#",
            "$share/g/op/1/acme/d/till-1/down/#",
        ] {
            assert!(!guard.may_subscribe(&till, filter), "{filter}");
        }
        assert!(guard.may_subscribe(&Client::ControlPlane, "op/1/#"));
    }

    proptest! {
        #[test]
        fn whatever_a_device_may_say_lies_under_its_own_prefix(topic in "(op/1/|)[a-z0-9/+#-]{0,60}") {
            if guard().may_publish(&device("till-1"), &topic, false, 1) {
                prop_assert!(topic.starts_with("op/1/acme/d/till-1/up/"));
            }
        }
    }
}
