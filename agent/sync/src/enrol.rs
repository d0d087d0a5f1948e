//! Enrolment: a one-time code goes in, an identity comes out; the private key is on disk before anything is sent.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outpost_contract::limits::ENROL_BYTES;
use outpost_contract::{EnrolRefusal, EnrolRequest, EnrolResponse};
use outpost_disk::{Clock, DiskError, Secret};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::identity::KEY_FILE;
use crate::{Identity, IdentityError, TlsError, tls};

/// The whole exchange, name lookup and TLS included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Letters of the server's own words that are shown.
const SHOWN_CHARACTERS: usize = 300;

/// What an enrolment needs.
#[derive(Debug, Clone)]
pub struct Enrolment<'a> {
    /// `https://host:port` of the control plane.
    pub server_url: &'a str,
    /// The one-time code.
    pub code: &'a str,
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
    /// The address is not an HTTPS address.
    #[error("`{url}` is not an address of a control plane; give `https://host:port`")]
    BadAddress {
        /// What was given.
        url: String,
    },
    /// Nobody answers.
    #[error("the control plane at `{url}` cannot be reached: {detail}; check the address and the network")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        detail: String,
    },
    /// Whoever answers cannot prove to be the control plane.
    #[error(
        "the server at `{url}` is not the one that the authority file names: {detail}; check the address, the authority file, \
         and this machine's clock"
    )]
    NotTheServer {
        /// The address.
        url: String,
        /// What the TLS library said.
        detail: String,
    },
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
    /// The control plane refused for another reason.
    #[error("the control plane refused (HTTP {status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The answer cannot be used.
    #[error("the control plane's answer cannot be used: {detail}; check that both sides are of the same release")]
    BadAnswer {
        /// What is wrong with it.
        detail: String,
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
    let base = reqwest::Url::parse(server_url).ok().filter(|url| url.scheme() == "https" && url.has_host());
    let endpoint = base.and_then(|base| base.join("/v1/enrol").ok());
    let endpoint = endpoint.ok_or_else(|| EnrolError::BadAddress { url: shown(server_url) })?;
    // No redirects and no proxy from the environment: the code goes to the server that was named, or nowhere.
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client(enrolment.authority, None, clock)?)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(|error| EnrolError::BadAnswer { detail: error.to_string() })?;

    let key = device_key(dir)?;
    let request = EnrolRequest {
        code: enrolment.code.to_owned(),
        certificate_request: certificate_request(&key)?,
        audit_key: enrolment.audit_key.to_owned(),
        agent: enrolment.agent.to_owned(),
    };
    let answer =
        client.post(endpoint).json(&request).send().await.map_err(|error| transport_error(server_url, &error))?;
    let status = answer.status();
    let body = read_at_most(answer, ENROL_BYTES).await.map_err(|error| match error {
        ReadError::TooLong => EnrolError::BadAnswer { detail: format!("it is longer than {ENROL_BYTES} bytes") },
        ReadError::Broken(error) => transport_error(server_url, &error),
    })?;
    if !status.is_success() {
        return Err(refusal(status.as_u16(), &body));
    }
    let enrolled: EnrolResponse =
        serde_json::from_slice(&body).map_err(|error| EnrolError::BadAnswer { detail: error.to_string() })?;
    Identity::keep(dir, enrolled, server_url, key).map_err(|error| match error {
        IdentityError::Disk(error) => EnrolError::Disk(error),
        other => EnrolError::BadAnswer { detail: other.to_string() },
    })
}

/// The key on disk, made now if there is none: a certificate for a key that a power cut took would be wasted.
fn device_key(dir: &Path) -> Result<Secret, EnrolError> {
    std::fs::create_dir_all(dir).map_err(|source| EnrolError::Directory { dir: dir.to_owned(), source })?;
    let path = dir.join(KEY_FILE);
    if path.exists() {
        return Ok(Secret::read(path)?);
    }
    let key = Secret::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem());
    key.write(path)?;
    Ok(key)
}

/// PKCS #10; the name in it is a placeholder, the control plane gives the device its name.
fn certificate_request(key: &Secret) -> Result<String, EnrolError> {
    let pem = std::str::from_utf8(key.expose()).map_err(|_| TlsError::Key("it is not text".to_owned()))?;
    let pair = KeyPair::from_pem(pem)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "to-be-named");
    Ok(parameters.serialize_request(&pair)?.pem()?)
}

enum ReadError {
    TooLong,
    Broken(reqwest::Error),
}

async fn read_at_most(mut answer: reqwest::Response, most: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(ReadError::Broken)? {
        if body.len() + piece.len() > most {
            return Err(ReadError::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn refusal(status: u16, body: &[u8]) -> EnrolError {
    let Ok(EnrolRefusal { code, message }) = serde_json::from_slice(body) else {
        return EnrolError::Refused { status, message: shown(&String::from_utf8_lossy(body)) };
    };
    let message = shown(&message);
    match code.as_str() {
        "wrong_code" => EnrolError::WrongCode { message },
        "code_used" => EnrolError::CodeUsed { message },
        "code_expired" => EnrolError::CodeExpired { message },
        "too_many_attempts" => EnrolError::TooManyAttempts { message },
        _ => EnrolError::Refused { status, message },
    }
}

fn transport_error(url: &str, error: &reqwest::Error) -> EnrolError {
    let url = shown(url);
    let mut detail =
        if error.is_timeout() { format!("no answer within {} seconds", PATIENCE.as_secs()) } else { error.to_string() };
    let mut cause = error.source();
    let mut from_tls = false;
    while let Some(error) = cause {
        from_tls |= matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)));
        detail = error.to_string();
        // An I/O error hides what it wraps from `source`, and TLS errors are wrapped in several.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = wrapped.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    if from_tls { EnrolError::NotTheServer { url, detail } } else { EnrolError::Unreachable { url, detail } }
}

/// Words from outside, fit for a terminal: one line, no control characters, not endless.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    clean.take(SHOWN_CHARACTERS).collect()
}
