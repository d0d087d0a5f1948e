//! Who is calling: a Unix account, a client certificate, a local API key, a signed token; and whether they are locked out.

mod api_key;
mod behalf;
mod certificate;
mod credential;
mod failures;
mod in_emergency;
mod jwks;
mod local;
mod locked;
mod provider;
mod token;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use outpost_policies::{AuthMethod, Network, Principal};
use tokio::sync::Notify;

pub use api_key::{ApiKey, ApiKeyError, ApiKeys, NewApiKey, Scope};
pub(crate) use certificate::ProvenCertificate;
pub use certificate::{CertificateSubject, CertificateSubjects};
pub(crate) use failures::{Failures, Tally, WINDOW};
pub use jwks::{InvalidKeys, JWKS_BYTES, ProviderKeys};
pub use local::LocalUsers;
pub use provider::OidcProvider;
pub use token::{InvalidIssuer, TokenIssuer};

use in_emergency::OpenGlass;
use locked::LocksInForce;
use provider::Provider;
use token::{Trusted, TrustedKey};

/// Everybody whom this device can know. Shared; issuers, keys, locks and an override can be replaced while it serves.
#[derive(Debug, Default)]
pub struct Identities {
    issuers: RwLock<Arc<Vec<TrustedKey>>>,
    providers: RwLock<Arc<Vec<Arc<Provider>>>>,
    keys_wanted: Notify,
    api_keys: Option<ApiKeys>,
    local: LocalUsers,
    certificates: CertificateSubjects,
    speak_for_others: Vec<String>,
    locks: LocksInForce,
    glass: OpenGlass,
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
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
        /// The client's certificate, if it showed one and holds its key.
        certificate: Option<Arc<ProvenCertificate>>,
    },
}

impl Peer {
    /// How failures from there are counted together.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Unix { uid: Some(uid) } => format!("uid:{uid}"),
            Self::Unix { uid: None } => "uid:unknown".to_owned(),
            Self::Tcp { address, .. } => match address.ip().to_canonical() {
                // All that one customer is given is one origin.
                IpAddr::V6(address) if !address.is_loopback() => {
                    let [a, b, c, d, ..] = address.segments();
                    format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
                }
                address => address.to_string(),
            },
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
    /// Which credential it was: the `kid` of a token, the id of an API key, the serial of a certificate. Never the
    /// credential itself.
    pub(crate) credential: String,
    /// Which token (`jti`).
    pub(crate) token_id: Option<String>,
    /// Which device, if it is one.
    pub(crate) device: Option<String>,
    /// What its API key is good for.
    pub(crate) scope: Scope,
    /// For whom a trusted service says that it calls; a claim, for the record alone.
    pub(crate) on_behalf_of: Option<String>,
    /// How long ago the keys of the provider that vouches for it were read, for the record.
    pub(crate) keys_age_s: Option<u64>,
}

impl Caller {
    fn new(principal: Principal, method: AuthMethod, network: Network) -> Self {
        Self {
            principal,
            method,
            network,
            credential: String::new(),
            token_id: None,
            device: None,
            scope: Scope::default(),
            on_behalf_of: None,
            keys_age_s: None,
        }
    }
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

    /// Knows the holders of client certificates under these names.
    #[must_use]
    pub fn with_certificates(self, certificates: CertificateSubjects) -> Self {
        Self { certificates, ..self }
    }

    /// Believes these services (`key:4f8a2c01`, `CN=front`) when they name the user whom they call for, for the record.
    #[must_use]
    pub fn with_speakers_for_others(self, speak_for_others: Vec<String>) -> Self {
        Self { speak_for_others, ..self }
    }

    /// Trusts these issuers from now on, and no others.
    ///
    /// # Errors
    /// If one of them has no usable key; then nothing changes.
    pub fn set_issuers(&self, issuers: &[TokenIssuer]) -> Result<(), InvalidIssuer> {
        let trusted = issuers.iter().map(TrustedKey::new).collect::<Result<Vec<_>, _>>()?;
        *self.issuers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trusted);
        Ok(())
    }

    /// Trusts these OIDC providers from now on, and no others. Each counts once it has keys.
    ///
    /// # Errors
    /// If one of them says too little; then nothing changes.
    pub fn set_providers(&self, providers: &[OidcProvider]) -> Result<(), InvalidIssuer> {
        let providers =
            providers.iter().map(|provider| Provider::new(provider).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        *self.providers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(providers);
        Ok(())
    }

    /// The keys of a provider from now on. A provider that is not configured is passed over.
    pub fn set_provider_keys(&self, issuer: &str, keys: &ProviderKeys) {
        let mut held = self.providers.write().unwrap_or_else(PoisonError::into_inner);
        let renewed = held.iter().map(|provider| {
            if provider.settings.issuer == issuer { Arc::new(provider.with_keys(keys)) } else { Arc::clone(provider) }
        });
        *held = Arc::new(renewed.collect());
    }

    /// Completes when a token came by a key that none of the providers' sets has, or whose set is too old: time to read them
    /// again.
    pub async fn keys_wanted(&self) {
        self.keys_wanted.notified().await;
    }

    /// Who calls. Somebody who shows a credential is judged by that credential alone, also on the Unix socket and over a
    /// connection with a client certificate.
    pub(crate) fn identify(&self, headers: &HeaderMap, peer: &Peer, now_s: i64) -> Result<Caller, Unidentified> {
        let mut caller = match credential::shown(headers)? {
            Some(credential) => self.by_credential(credential, peer.network(), now_s)?,
            None => self.without_credential(peer, now_s)?,
        };
        self.locks.check(&caller, now_s)?;
        caller.on_behalf_of = behalf::claimed(headers, &caller, &self.speak_for_others)?;
        Ok(caller)
    }

    fn by_credential(&self, credential: &str, network: Network, now_s: i64) -> Result<Caller, Unidentified> {
        if credential.starts_with(api_key::PREFIX) {
            let Some(api_keys) = &self.api_keys else {
                return Err(Unidentified::new("invalid_api_key", "this device knows no API keys"));
            };
            return api_keys.identify(credential, now_s, network);
        }
        let issuers = Arc::clone(&self.issuers.read().unwrap_or_else(PoisonError::into_inner));
        let providers = Arc::clone(&self.providers.read().unwrap_or_else(PoisonError::into_inner));
        let trusted = Trusted { issuers: &issuers, providers: &providers };
        let identified = token::identify(credential, &trusted, now_s, network);
        let wanting = |refusal: &Unidentified| {
            matches!(refusal.code, "unknown_token_key" | "unknown_kid_offline" | "provider_keys_too_old")
        };
        if !providers.is_empty() && identified.as_ref().is_err_and(wanting) {
            self.keys_wanted.notify_one();
        }
        identified
    }

    fn without_credential(&self, peer: &Peer, now_s: i64) -> Result<Caller, Unidentified> {
        match peer {
            Peer::Unix { uid: Some(uid) } => self.local.identify(*uid),
            Peer::Unix { uid: None } => {
                Err(Unidentified::new("unknown_account", "the kernel does not say which account this is"))
            }
            Peer::Tcp { certificate: Some(certificate), .. } => {
                certificate.identify(&self.certificates, now_s, peer.network())
            }
            Peer::Tcp { .. } => Err(Unidentified::new(
                "missing_credential",
                "no identity: send `Authorization: Bearer <token or API key>` (`outpost key create` makes a key)",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
