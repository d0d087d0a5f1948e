//! TLS from PEM files, read again when they change: a renewed certificate needs no restart, and a broken one changes nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::{Circumstances, TlsFiles};

/// How often the files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be used.
    #[error("cannot read {what} from `{}`: {cause}", path.display())]
    File {
        /// Certificate, key or authorities.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificate and key do not go together, or not with TLS.
    #[error("cannot use the certificate and key for TLS: {0}")]
    Unusable(#[from] rustls::Error),
    /// No client certificate could ever be accepted.
    #[error("cannot use the authorities of client certificates: {0}")]
    Authorities(String),
}

/// The time at the device, once the server knows it: a handshake asks the device's clock with its floor, not the system's,
/// so that neither a dead clock lets an old certificate in nor the other way round.
#[derive(Clone, Default)]
pub(crate) struct DeviceTime(Arc<OnceLock<Now>>);

/// The time and the device's situation.
pub(crate) type Now = Arc<dyn Fn() -> Circumstances + Send + Sync>;

impl DeviceTime {
    /// Goes by this from now on.
    pub(crate) fn set(&self, now: Now) {
        // Set once, by the one server that was bound with it.
        let _ = self.0.set(now);
    }
}

impl std::fmt::Debug for DeviceTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DeviceTime(…)")
    }
}

impl TimeProvider for DeviceTime {
    fn current_time(&self) -> Option<UnixTime> {
        let now_s = u64::try_from(self.0.get()?().now_s).unwrap_or(0);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now_s)))
    }
}

/// The files, what was last read from them, and what is wrong with what they hold now.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    time: DeviceTime,
    in_force: RwLock<Arc<ServerConfig>>,
    /// Held by the one task that looks.
    seen: Mutex<Vec<Option<Stamp>>>,
    problem: Mutex<Option<String>>,
}

/// How a changed file is told from an unchanged one.
type Stamp = (SystemTime, u64, u64);

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be read or they do not go together.
    pub(crate) fn read(files: &TlsFiles, time: DeviceTime) -> Result<Self, TlsError> {
        let seen = stamps(files);
        let in_force = RwLock::new(Arc::new(config(files, &time)?));
        Ok(Self { files: files.clone(), time, in_force, seen: Mutex::new(seen), problem: Mutex::default() })
    }

    /// An acceptor for what is in force: TLS 1.2 and 1.3, HTTP/1.1.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads the files again if they have changed. What cannot be used leaves what was in force.
    pub(crate) fn look(&self) {
        let now = stamps(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now {
                return;
            }
            *seen = now;
        }
        let problem = match config(&self.files, &self.time) {
            Ok(config) => {
                *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(certificate = %self.files.certificate.display(), "a new TLS certificate is in force");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the new TLS certificate cannot be used; the one before stays in force");
                Some(error.to_string())
            }
        };
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Why the files' newest content is not in force, if it is not.
    pub(crate) fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn stamps(files: &TlsFiles) -> Vec<Option<Stamp>> {
    use std::os::unix::fs::MetadataExt;
    let paths = [Some(&files.certificate), Some(&files.key), files.client_authorities.as_ref()];
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    paths.into_iter().flatten().map(stamp).collect()
}

fn config(files: &TlsFiles, time: &DeviceTime) -> Result<ServerConfig, TlsError> {
    let chain = certificates("the certificate", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| fault("the private key", &files.key, error.to_string()))?;
    // Named, because another crate of the same program may have compiled in another provider.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(time.clone()))
        .with_safe_default_protocol_versions()?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("the authorities of client certificates", path)? {
                roots.add(authority)?;
            }
            // Asked for, not demanded: who shows none may still show a token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Authorities(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(what, path, error.to_string()))?;
    if chain.is_empty() {
        return Err(fault(what, path, "it holds none".to_owned()));
    }
    Ok(chain)
}

fn fault(what: &'static str, path: &Path, cause: String) -> TlsError {
    TlsError::File { what, path: path.to_owned(), cause }
}
