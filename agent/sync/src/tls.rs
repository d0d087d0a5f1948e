//! TLS as a client: one authority, one provider, a certificate that a renewal can replace, and a clock that never runs below
//! its floor.

use std::sync::{Arc, PoisonError, RwLock};

use outpost_disk::{Clock, Secret};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM text holds no certificate, or a broken one.
    #[error("{what} holds no usable certificate: {detail}")]
    Certificate {
        /// Which text.
        what: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The private key cannot be read.
    #[error("the device key cannot be used: {0}; remove the identity directory and enrol again")]
    Key(String),
    /// The TLS library refused the combination.
    #[error("certificate and key cannot be used together: {0}; remove the identity directory and enrol again")]
    Refused(#[from] rustls::Error),
    /// No HTTPS client can be made.
    #[error("no HTTPS client for this address: {detail}")]
    Client {
        /// What is wrong.
        detail: String,
    },
}

/// The certificate that connections show from now on. Whoever holds it shows the newest: no connection has to be set up
/// anew for a renewal.
#[derive(Debug)]
pub(crate) struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    /// A certificate (PEM, then its chain) and its key.
    pub(crate) fn new(chain: &str, key: &Secret) -> Result<Self, TlsError> {
        Ok(Self(RwLock::new(certified(chain, key)?)))
    }

    /// Shows another one from now on.
    pub(crate) fn replace(&self, chain: &str, key: &Secret) -> Result<(), TlsError> {
        let certified = certified(chain, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(chain: &str, key: &Secret) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|error| TlsError::Key(error.to_string()))?;
    Ok(Arc::new(CertifiedKey::from_der(certificates("the device certificate", chain)?, key, &provider())?))
}

/// Trusts only `authority`; shows the client certificate if there is one.
pub(crate) fn client(authority: &str, client: Option<Arc<Shown>>, clock: &Clock) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("the authority file", authority)? {
        let refused =
            |error: rustls::Error| TlsError::Certificate { what: "the authority file", detail: error.to_string() };
        roots.add(certificate).map_err(refused)?;
    }
    let config = ClientConfig::builder_with_details(provider(), Arc::new(FlooredTime(clock.clone())))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some(shown) = client else { return Ok(config.with_no_client_auth()) };
    let mut config = config.with_client_cert_resolver(shown);
    // A resumed connection would show the certificate of the first one, also after a renewal.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// At least one certificate, in the order of the text.
pub(crate) fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = read.map_err(|error| TlsError::Certificate { what, detail: error.to_string() })?;
    if found.is_empty() {
        return Err(TlsError::Certificate { what, detail: "there is no CERTIFICATE block in it".to_owned() });
    }
    Ok(found)
}

/// The time that certificates are judged by: a box whose battery is dead wakes up in 1970; the floor knows better. A clock
/// that is ahead costs a connection and nothing else, so that here it is believed.
#[derive(Debug)]
pub struct FlooredTime(pub Clock);

impl TimeProvider for FlooredTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now_s = u64::try_from(self.0.claimed_s()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s)))
    }
}
