//! Enrolment: a one-time code, an allowed key or an operator's yes; an identity comes out. The private key is on disk before
//! anything is sent.

use std::path::{Path, PathBuf};

use outpost_contract::{EnrolRequest, EnrolResponse, Fingerprint};
use outpost_disk::{Clock, DiskError, Secret};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::time::{Duration, Instant};

use crate::identity::{Slot, fingerprint, key_pair};
use crate::web::{Web, WebError};
use crate::{BackOff, Identity, IdentityError, TlsError, Waits};

/// How long an operator is waited for, and how often it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// All in all.
    pub at_most: Duration,
    /// Between two questions.
    pub asking: BackOff,
}

impl Patience {
    /// Asks within seconds at first, then within minutes.
    #[must_use]
    pub fn of(at_most: Duration) -> Self {
        Self { at_most, asking: BackOff { base: Duration::from_secs(10), cap: Duration::from_secs(300) } }
    }
}

/// What an enrolment needs.
#[derive(Debug, Clone)]
pub struct Enrolment<'a> {
    /// `https://host:port` of the control plane.
    pub server_url: &'a str,
    /// The one-time code; empty to come with the key alone.
    pub code: &'a str,
    /// The name that the operator is asked for; empty for none. Only a wish, and only without a code.
    pub wished_name: &'a str,
    /// The only authority that is trusted to name the server, PEM.
    pub authority: &'a str,
    /// Where the identity is kept.
    pub dir: &'a Path,
    /// The agent's version.
    pub agent: &'a str,
    /// The key that signs the device's audit checkpoints, as a C2SP verifier key.
    pub audit_key: &'a str,
}

/// Why a device was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// There is an identity already.
    #[error("this device is enrolled already (`{dir}`); remove that directory first if it is to become another device")]
    AlreadyEnrolled {
        /// Where the identity is.
        dir: PathBuf,
    },
    /// Nobody answers, or not the control plane, or something that cannot be used; or it refused for a reason of its own.
    #[error(transparent)]
    Web(WebError),
    /// Nobody made this code.
    #[error("the enrolment code is wrong: {message}")]
    WrongCode {
        /// What the control plane said.
        message: String,
    },
    /// The code was used before.
    #[error("the enrolment code was used already: {message}; ask for a new one (`outpost-control device code`)")]
    CodeUsed {
        /// What the control plane said.
        message: String,
    },
    /// The code is too old.
    #[error("the enrolment code has expired: {message}; ask for a new one (`outpost-control device code`)")]
    CodeExpired {
        /// What the control plane said.
        message: String,
    },
    /// Too many codes were tried.
    #[error("too many enrolment attempts: {message}; wait, then try again")]
    TooManyAttempts {
        /// What the control plane said.
        message: String,
    },
    /// The key of this device was not allowed, and nobody decides.
    #[error("this device may not enrol with its key alone: {message}")]
    NotAllowed {
        /// What the control plane said.
        message: String,
    },
    /// An operator has not decided yet.
    #[error(
        "no operator has decided yet: {message}; ask again later, or ask them to run `outpost-control device requests`"
    )]
    Pending {
        /// What the control plane said.
        message: String,
    },
    /// A key could not be made.
    #[error("cannot make a device key: {0}")]
    Key(#[from] rcgen::Error),
    /// The key or the identity cannot be kept.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The directory cannot be made.
    #[error("cannot create `{dir}`: {source}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The authority file cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl From<IdentityError> for EnrolError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Disk(error) => Self::Disk(error),
            IdentityError::Tls(error) => Self::Tls(error),
            other => Self::Web(WebError::BadAnswer { detail: other.to_string() }),
        }
    }
}

/// Enrols this device. When it returns `Ok`, key and identity are durable in `dir`.
///
/// A key that an earlier, interrupted enrolment left is used again, so the control plane can recognise the retry.
///
/// # Errors
/// Each cause has its variant and names the way out; nothing but the key stays behind.
pub async fn enrol(enrolment: &Enrolment<'_>, clock: &Clock) -> Result<Identity, EnrolError> {
    let Enrolment { server_url, dir, .. } = *enrolment;
    if Identity::exists(dir) {
        return Err(EnrolError::AlreadyEnrolled { dir: dir.to_owned() });
    }
    let web = Web::new(server_url, enrolment.authority, None, clock)?.map_err(EnrolError::Web)?;
    let key = device_key(dir)?;
    let request = EnrolRequest {
        code: enrolment.code.to_owned(),
        certificate_request: certificate_request(&key)?,
        audit_key: enrolment.audit_key.to_owned(),
        agent: enrolment.agent.to_owned(),
        wished_name: enrolment.wished_name.to_owned(),
    };
    let enrolled: EnrolResponse = web.post("/v1/enrol", &request).await.map_err(refusal)?;
    // A certificate of another form than a device's own is the server's mistake, not a broken identity here.
    Identity::keep(dir, enrolled, server_url, key).map_err(|error| match error {
        IdentityError::Disk(error) => EnrolError::Disk(error),
        other => EnrolError::Web(WebError::BadAnswer { detail: other.to_string() }),
    })
}

/// Enrols this device, and waits for an operator as long as `patience`. A network that is gone meanwhile is waited for too;
/// `tell` hears why it is not over yet.
///
/// # Errors
/// As [`enrol`]; [`EnrolError::Pending`], or what went wrong last, once the patience ends.
pub async fn enrol_patiently(
    enrolment: &Enrolment<'_>,
    clock: &Clock,
    patience: Patience,
    tell: impl Fn(&EnrolError),
) -> Result<Identity, EnrolError> {
    let until = Instant::now() + patience.at_most;
    let mut waits = Waits::new(patience.asking);
    let mut was_pending = false;
    loop {
        let error = match enrol(enrolment, clock).await {
            Ok(identity) => return Ok(identity),
            Err(error) => error,
        };
        was_pending |= matches!(error, EnrolError::Pending { .. });
        // The first attempt tells mistakes at once; later ones only what somebody has decided.
        let passes = matches!(error, EnrolError::Pending { .. } | EnrolError::TooManyAttempts { .. })
            || (was_pending && matches!(&error, EnrolError::Web(error) if error.passes()));
        let wait = waits.next().max(patience.asking.base / 10);
        if !passes || !was_pending || Instant::now() + wait >= until {
            return Err(error);
        }
        tell(&error);
        tokio::time::sleep(wait).await;
    }
}

/// The fingerprint of this device's key; the key is made and kept if there is none.
///
/// # Errors
/// If it cannot be made, read or kept.
pub fn device_fingerprint(dir: &Path) -> Result<Fingerprint, EnrolError> {
    if Identity::exists(dir) {
        return Ok(Identity::load(dir)?.fingerprint()?);
    }
    Ok(fingerprint(&device_key(dir)?)?)
}

/// The key on disk, made now if there is none: a certificate for a key that a power cut took would be wasted.
fn device_key(dir: &Path) -> Result<Secret, EnrolError> {
    std::fs::create_dir_all(dir).map_err(|source| EnrolError::Directory { dir: dir.to_owned(), source })?;
    let path = dir.join(Slot::First.key_file());
    if path.exists() {
        return Ok(Secret::read(path)?);
    }
    let key = new_key()?;
    key.write(path)?;
    Ok(key)
}

/// A new device key, PEM.
pub(crate) fn new_key() -> Result<Secret, rcgen::Error> {
    Ok(Secret::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem()))
}

/// PKCS #10; the name in it is a placeholder, the control plane gives the device its name.
pub(crate) fn certificate_request(key: &Secret) -> Result<String, TlsError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "to-be-named");
    let request = parameters.serialize_request(&key_pair(key)?).and_then(|request| request.pem());
    request.map_err(|error| TlsError::Key(error.to_string()))
}

fn refusal(error: WebError) -> EnrolError {
    let WebError::Refused { status, code, message } = error else { return EnrolError::Web(error) };
    match code.as_str() {
        "wrong_code" => EnrolError::WrongCode { message },
        "code_used" => EnrolError::CodeUsed { message },
        "code_expired" => EnrolError::CodeExpired { message },
        "too_many_attempts" => EnrolError::TooManyAttempts { message },
        "not_allowed" => EnrolError::NotAllowed { message },
        "pending" => EnrolError::Pending { message },
        _ => EnrolError::Web(WebError::Refused { status, code, message }),
    }
}
