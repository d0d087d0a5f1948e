//! The other side of a renewal as it is: HTTPS to the control plane, and a connection to its broker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outpost_contract::topic::Topic;
use outpost_contract::{Down, LateRenewRequest, RenewNonce, RenewRequest, RenewResponse};
use outpost_disk::{Clock, Secret};
use rcgen::SigningKey as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{RenewalError, Server};
use crate::Identity;
use crate::enrol::certificate_request;
use crate::identity::{Credential, key_pair};
use crate::link::{Connector, Mqtt, NOT_AUTHORIZED, Opening, Subscription, WireEvent};
use crate::tls::{self, Shown};
use crate::web::{Web, WebError};

/// Added to the device's id: the client id of the connection that proves a new certificate. It takes nobody's place.
const PROOF_SUFFIX: &str = ".proof";

/// Name lookup, TCP, TLS and the broker's answers together.
const PATIENCE: Duration = Duration::from_secs(30);

/// The control plane of an identity.
pub(super) struct ControlPlane {
    identity: Identity,
    clock: Clock,
    /// Shows the certificate in force.
    by_certificate: Web,
    /// Shows none: one that has expired would be refused before anything could be said.
    by_key: Web,
}

impl ControlPlane {
    pub(super) fn new(identity: &Identity, clock: &Clock) -> Result<Self, RenewalError> {
        let web = |shown| Ok::<_, RenewalError>(Web::new(identity.server(), identity.authority(), shown, clock)??);
        Ok(Self {
            by_certificate: web(Some(identity.shown()))?,
            by_key: web(None)?,
            identity: identity.clone(),
            clock: clock.clone(),
        })
    }

    /// By a signature of the key in force over the request and a number of the server's.
    async fn certify_late(&self, certificate_request: String) -> Result<String, RenewalError> {
        let RenewNonce { nonce } = self.by_key.get("/v1/renew/nonce").await?;
        let old = self.identity.credential();
        let digest = Sha256::digest(certificate_request.as_bytes()).into();
        let signature = key_pair(&old.key)?.sign(&LateRenewRequest::signed_bytes(&nonce, &digest))?;
        let signature = hex::encode(signature);
        let request = LateRenewRequest { certificate_request, certificate: old.certificate, nonce, signature };
        let renewed: RenewResponse = self.by_key.post("/v1/renew", &request).await?;
        Ok(renewed.certificate)
    }
}

#[async_trait]
impl Server for ControlPlane {
    async fn certify(&self, key: &Secret) -> Result<String, RenewalError> {
        let certificate_request = certificate_request(key)?;
        if self.clock.now_s() >= self.identity.certificate_not_after_s() {
            return self.certify_late(certificate_request).await;
        }
        let request = RenewRequest { certificate_request };
        match self.by_certificate.post::<RenewResponse>("/v1/self/renew", &request).await {
            Ok(renewed) => Ok(renewed.certificate),
            // This clock may run behind: what is good here can have expired there.
            Err(error @ (WebError::Unreachable { .. } | WebError::Refused { status: 401, .. })) => {
                self.certify_late(request.certificate_request).await.map_err(|_| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn prove(&self, credential: &Credential) -> Result<(), RenewalError> {
        let shown = Arc::new(Shown::new(&credential.certificate, &credential.key)?);
        let opening = Opening {
            client_id: format!("{}{PROOF_SUFFIX}", self.identity.device()),
            host: self.identity.broker().host.clone(),
            port: self.identity.broker().port,
            tls: Arc::new(tls::client(self.identity.authority(), Some(shown), &self.clock)?),
            clean_start: true,
            session_expiry_s: 0,
            keep_alive: PATIENCE,
            connect_timeout: PATIENCE,
            will: None,
        };
        let topic = Topic::down(self.identity.tenant(), self.identity.device(), Down::Desired);
        let proof = tokio::time::timeout(PATIENCE, connect_and_subscribe(&opening, topic.to_string())).await;
        proof.unwrap_or_else(|_| Err(format!("no answer within {} seconds", PATIENCE.as_secs()))).map_err(|reason| {
            if reason == NOT_AUTHORIZED { RenewalError::NotAuthorized } else { RenewalError::NotProven(reason) }
        })
    }

    async fn call(&self) -> Result<(), RenewalError> {
        self.by_certificate.get::<Value>("/v1/self").await?;
        Ok(())
    }
}

async fn connect_and_subscribe(opening: &Opening, filter: String) -> Result<(), String> {
    let mut wire = Mqtt.connect(opening).await?;
    let closed = |_| "the connection ended at once".to_owned();
    wire.subscribe(&[Subscription { filter, acknowledged: true }]).map_err(closed)?;
    loop {
        match wire.next().await {
            WireEvent::Subscribed => break,
            WireEvent::NotSubscribed(why) => return Err(format!("it refused this device's own topic ({why})")),
            WireEvent::Lost(reason) => return Err(reason),
            _ => {}
        }
    }
    wire.close().await;
    Ok(())
}
