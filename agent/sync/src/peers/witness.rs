//! Neighbours vouch for each other's audit logs while the control plane is away: `add-checkpoint` of c2sp.org/tlog-witness over
//! the neighbours' TLS. The certificate says which device asks; what vouching means is for whoever implements [`Vouch`].
//!
//! ```text
//! GET  /v1/witness/key               the key that cosigns, a C2SP verifier key
//! POST /v1/witness/add-checkpoint    the body of add-checkpoint; `outpost-log-key` is the log's verifier key
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use outpost_contract::DeviceId;
use outpost_contract::limits::WITNESS_BYTES;
use outpost_disk::Clock;
use tokio::time::timeout;

use super::{PATIENCE, client_tls, empty};
use crate::https::{HttpsOptions, client};
use crate::{Identity, TlsError};

/// What all of this is below.
pub(super) const PATH: &str = "/v1/witness/";

/// The header with the log's verifier key.
const LOG_KEY: &str = "outpost-log-key";

/// Longest key, its name included.
const KEY_BYTES: usize = 512;

/// The part of a device that vouches for others. Called on a blocking thread.
pub trait Vouch: Send + Sync {
    /// The key that cosigns, a C2SP verifier key.
    fn key(&self) -> String;

    /// Answers `add-checkpoint` about a log of this device with a status and a body.
    fn vouch(&self, device: &DeviceId, log_key: &str, body: &[u8]) -> (u16, String);
}

/// Answers a neighbour.
pub(super) async fn answer(
    vouch: Option<&Arc<dyn Vouch>>,
    device: &DeviceId,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let Some(vouch) = vouch.cloned() else { return empty(StatusCode::NOT_FOUND) };
    match (request.method(), &request.uri().path()[PATH.len()..]) {
        (&Method::GET, "key") => Response::new(Full::new(vouch.key().into())),
        (&Method::POST, "add-checkpoint") => add_checkpoint(vouch, device.clone(), request).await,
        (_, "key" | "add-checkpoint") => empty(StatusCode::METHOD_NOT_ALLOWED),
        _ => empty(StatusCode::NOT_FOUND),
    }
}

async fn add_checkpoint(vouch: Arc<dyn Vouch>, device: DeviceId, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let key = request.headers().get(LOG_KEY).and_then(|key| key.to_str().ok()).filter(|key| key.len() <= KEY_BYTES);
    let Some(key) = key.map(str::to_owned) else { return empty(StatusCode::BAD_REQUEST) };
    let body = match timeout(PATIENCE, Limited::new(request.into_body(), WITNESS_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return empty(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return empty(StatusCode::REQUEST_TIMEOUT),
    };
    let vouched = tokio::task::spawn_blocking(move || vouch.vouch(&device, &key, &body)).await;
    let Ok((status, body)) = vouched else { return empty(StatusCode::INTERNAL_SERVER_ERROR) };
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

/// A neighbour that may vouch for this device's log.
#[derive(Debug, Clone)]
pub struct PeerWitness {
    client: reqwest::Client,
    base: String,
}

impl PeerWitness {
    /// The neighbour at this address.
    ///
    /// # Errors
    /// If the key or the certificates of this device cannot be used.
    pub fn at(identity: &Identity, address: SocketAddr, clock: &Clock) -> Result<Self, TlsError> {
        let client = client(client_tls(identity, clock)?, &HttpsOptions::peer())?;
        Ok(Self { client, base: format!("https://{address}{PATH}") })
    }

    /// The key that it cosigns with.
    ///
    /// # Errors
    /// If it cannot be reached, or does not vouch.
    pub async fn key(&self) -> Result<String, String> {
        let answered = self.client.get(format!("{}key", self.base)).send();
        match read(answered, KEY_BYTES).await? {
            (200, key) => String::from_utf8(key.to_vec()).map_err(|_| "its key is not text".to_owned()),
            (status, _) => Err(format!("it does not vouch (HTTP {status})")),
        }
    }

    /// Sends an `add-checkpoint` about the log of this key; gives the status and the body of the answer.
    ///
    /// # Errors
    /// If it cannot be reached, or answers too much or too slowly.
    pub async fn add_checkpoint(&self, log_key: &str, body: String) -> Result<(u16, Bytes), String> {
        let asking = self.client.post(format!("{}add-checkpoint", self.base)).header(LOG_KEY, log_key).body(body);
        read(asking.send(), WITNESS_BYTES).await
    }
}

/// Reads an answer up to a limit.
async fn read(
    answered: impl Future<Output = reqwest::Result<reqwest::Response>>,
    most: usize,
) -> Result<(u16, Bytes), String> {
    let reading = async {
        let mut answer = answered.await.map_err(|error| error.to_string())?;
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
            if body.len() + piece.len() > most {
                return Err(format!("it answers more than {most} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        Ok((answer.status().as_u16(), body.freeze()))
    };
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
}
