//! Who is calling: a Unix account, a local API key, a signed token.

mod api_key;
mod failures;
mod local;
mod token;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use outpost_policies::{AuthMethod, Network, Principal};

pub use api_key::{ApiKey, ApiKeyError, ApiKeys, NewApiKey};
pub(crate) use failures::{Failures, Tally, WINDOW};
pub use local::LocalUsers;
pub use token::{InvalidIssuer, TokenIssuer};

use token::TrustedIssuer;

/// Everybody whom this device can know. Shared; issuers can be replaced while it serves.
#[derive(Debug, Default)]
pub struct Identities {
    issuers: RwLock<Arc<Vec<TrustedIssuer>>>,
    api_keys: Option<ApiKeys>,
    local: LocalUsers,
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of this machine, over the Unix socket.
    Unix {
        /// Its account, by the kernel's word; `None` if the kernel would not say.
        uid: Option<u32>,
    },
    /// Over TCP.
    Tcp {
        /// Where from.
        address: SocketAddr,
        /// Whether TLS protects the connection.
        tls: bool,
    },
}

impl Peer {
    /// How failures from there are counted together.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Unix { uid: Some(uid) } => format!("uid:{uid}"),
            Self::Unix { uid: None } => "uid:unknown".to_owned(),
            Self::Tcp { address, .. } => address.ip().to_canonical().to_string(),
        }
    }

    fn network(&self) -> Network {
        match self {
            Self::Unix { .. } => Network::Socket,
            Self::Tcp { address, .. } if address.ip().to_canonical().is_loopback() => Network::Loopback,
            Self::Tcp { .. } => Network::Remote,
        }
    }
}

/// An identified caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) method: AuthMethod,
    pub(crate) network: Network,
    /// Which credential it was: the `kid` of a token, the id of an API key. Never the credential itself.
    pub(crate) credential: String,
}

/// Why somebody is not identified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Unidentified {
    /// For machines and the record.
    pub(crate) code: &'static str,
    /// For the caller: what is wrong and the way out.
    pub(crate) message: String,
}

impl Unidentified {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl Identities {
    /// Knows nobody yet but this machine's own administrators on the Unix socket.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows the holders of these API keys as well.
    #[must_use]
    pub fn with_api_keys(self, api_keys: ApiKeys) -> Self {
        Self { api_keys: Some(api_keys), ..self }
    }

    /// Knows these accounts on the Unix socket.
    #[must_use]
    pub fn with_local_users(self, local: LocalUsers) -> Self {
        Self { local, ..self }
    }

    /// Trusts these issuers from now on, and no others.
    ///
    /// # Errors
    /// If one of them has no usable key; then nothing changes.
    pub fn set_issuers(&self, issuers: &[TokenIssuer]) -> Result<(), InvalidIssuer> {
        let trusted = issuers.iter().map(TrustedIssuer::new).collect::<Result<Vec<_>, _>>()?;
        *self.issuers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trusted);
        Ok(())
    }

    /// Who calls. Somebody who shows a credential is judged by that credential alone, also on the Unix socket.
    pub(crate) fn identify(&self, headers: &HeaderMap, peer: &Peer, now_s: i64) -> Result<Caller, Unidentified> {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let Some(header) = shown.next() else {
            return self.without_credential(peer);
        };
        if shown.next().is_some() {
            return Err(Unidentified::new("malformed_credential", "more than one `Authorization` header"));
        }
        let credential = bearer(header.as_bytes()).ok_or_else(|| {
            Unidentified::new("malformed_credential", "the `Authorization` header is not `Bearer <token or API key>`")
        })?;
        let network = peer.network();
        if credential.starts_with(api_key::PREFIX) {
            let Some(api_keys) = &self.api_keys else {
                return Err(Unidentified::new("invalid_api_key", "this device knows no API keys"));
            };
            return api_keys.identify(credential, now_s, network);
        }
        let issuers = Arc::clone(&self.issuers.read().unwrap_or_else(PoisonError::into_inner));
        token::identify(credential, &issuers, now_s, network)
    }

    fn without_credential(&self, peer: &Peer) -> Result<Caller, Unidentified> {
        match peer {
            Peer::Unix { uid: Some(uid) } => self.local.identify(*uid),
            Peer::Unix { uid: None } => {
                Err(Unidentified::new("unknown_account", "the kernel does not say which account this is"))
            }
            Peer::Tcp { .. } => Err(Unidentified::new(
                "missing_credential",
                "no identity: send `Authorization: Bearer <token or API key>` (`outpost key create` makes a key)",
            )),
        }
    }
}

/// The credential of a bearer header (RFC 6750 §2.1); its scheme's case does not matter.
fn bearer(header: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(header).ok()?;
    let (scheme, credential) = text.split_once(' ')?;
    let credential = credential.trim();
    let plain = !credential.is_empty() && credential.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && plain).then_some(credential)
}
