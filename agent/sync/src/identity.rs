//! Who this device is: its key (which never leaves), its certificate, and whom it trusts.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use outpost_contract::{DeviceId, EnrolResponse, Fingerprint, TenantId};
use outpost_disk::{Clock, DiskError, Secret, atomic};
use rcgen::PublicKeyData;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::TlsError;
use crate::tls::{self, Shown};

/// Everything but the keys.
const IDENTITY_FILE: &str = "identity.json";

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("this device is not enrolled (no identity in `{dir}`); run `outpost enroll`, or run standalone")]
    NotEnrolled {
        /// Where it was looked for.
        dir: std::path::PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file is not what it should be.
    #[error("the identity is not usable: {0}; remove the identity directory and enrol again with a new code")]
    Invalid(String),
    /// Certificates or keys cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// DNS name or IPv4 address; it must stand in the broker's certificate.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::str::FromStr for BrokerAddress {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let short: String = text.chars().take(100).collect();
        let invalid = |why: &str| IdentityError::Invalid(format!("`{short}` is not a broker address: {why}"));
        let (host, port) = text.rsplit_once(':').ok_or_else(|| invalid("expected `host:port`"))?;
        // The MQTT client joins host and port with a colon and verifies the same text as the server's name.
        if host.contains(['[', ']', ':']) {
            return Err(invalid("an IPv6 address cannot be dialled, give a DNS name"));
        }
        let known = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(known) {
            return Err(invalid("expected a DNS name or an IPv4 address before the colon"));
        }
        let port =
            port.parse().ok().filter(|&port| port != 0).ok_or_else(|| invalid("expected a port after the colon"))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Where a key lies: a renewed key is in the other slot than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Slot {
    #[default]
    First,
    Second,
}

impl Slot {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// The private key in it, PKCS #8 PEM, mode 0600.
    pub(crate) fn key_file(self) -> &'static str {
        match self {
            Self::First => "device.key",
            Self::Second => "device-2.key",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
    fn is_first(&self) -> bool {
        *self == Self::First
    }
}

/// What stands in `identity.json`. Which slot counts is written with its certificate, in one file: a renewal is in force
/// with one rename, or not at all.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    v: u32,
    server: String,
    enrolled: EnrolResponse,
    #[serde(default, skip_serializing_if = "Slot::is_first")]
    slot: Slot,
}

/// A key and the certificate for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) slot: Slot,
    /// PEM, then the chain.
    pub(crate) certificate: String,
    pub(crate) key: Secret,
    pub(crate) not_before_s: i64,
    pub(crate) not_after_s: i64,
}

impl Credential {
    /// The two, if the certificate is for this device's name and this key.
    pub(crate) fn new(slot: Slot, device: &DeviceId, certificate: String, key: Secret) -> Result<Self, IdentityError> {
        let (not_before_s, not_after_s) = check_certificate(device, &certificate, &key)?;
        Ok(Self { slot, certificate, key, not_before_s, not_after_s })
    }
}

/// What is in force, for every clone of an identity and every connection that was made from one.
#[derive(Debug)]
struct InForce {
    credential: RwLock<Credential>,
    shown: Arc<Shown>,
}

/// An enrolled device.
#[derive(Debug, Clone)]
pub struct Identity {
    enrolled: EnrolResponse,
    server: String,
    broker: BrokerAddress,
    in_force: Arc<InForce>,
}

impl Identity {
    /// Reads an identity and checks that its parts belong together. An expired certificate is no error here: it stops the
    /// link, nothing else.
    ///
    /// # Errors
    /// [`IdentityError::NotEnrolled`] if there is none; otherwise what is wrong with it.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(IDENTITY_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(IdentityError::NotEnrolled { dir: dir.to_owned() });
            }
            Err(error) => return Err(IdentityError::Invalid(format!("cannot read `{}`: {error}", path.display()))),
        };
        let written: Written = serde_json::from_slice(&text)
            .map_err(|error| IdentityError::Invalid(format!("`{}`: {error}", path.display())))?;
        if written.v != 1 {
            return Err(IdentityError::Invalid(format!(
                "`{}` has form {}, this agent knows 1",
                path.display(),
                written.v
            )));
        }
        let key = Secret::read(dir.join(written.slot.key_file()))?;
        Self::new(written.enrolled, written.server, written.slot, key)
    }

    /// Checks what enrolment gave and puts it beside the key that is there already.
    pub(crate) fn keep(dir: &Path, enrolled: EnrolResponse, server: &str, key: Secret) -> Result<Self, IdentityError> {
        let identity = Self::new(enrolled, server.to_owned(), Slot::First, key)?;
        identity.write(dir, &identity.credential())?;
        Ok(identity)
    }

    /// Puts another credential in force: on the disk with one rename, then for every connection that is made from now on.
    pub(crate) fn swap(&self, dir: &Path, credential: Credential) -> Result<(), IdentityError> {
        self.write(dir, &credential)?;
        self.in_force.shown.replace(&credential.certificate, &credential.key)?;
        *self.in_force.credential.write().unwrap_or_else(PoisonError::into_inner) = credential;
        Ok(())
    }

    fn write(&self, dir: &Path, credential: &Credential) -> Result<(), IdentityError> {
        let enrolled = EnrolResponse { certificate: credential.certificate.clone(), ..self.enrolled.clone() };
        let written = Written { v: 1, server: self.server.clone(), enrolled, slot: credential.slot };
        let text = serde_json::to_vec_pretty(&written).map_err(|error| IdentityError::Invalid(error.to_string()))?;
        Ok(atomic::write_private(dir.join(IDENTITY_FILE), text)?)
    }

    /// True if an identity is there, usable or not.
    pub(crate) fn exists(dir: &Path) -> bool {
        dir.join(IDENTITY_FILE).exists()
    }

    fn new(enrolled: EnrolResponse, server: String, slot: Slot, key: Secret) -> Result<Self, IdentityError> {
        let broker = enrolled.broker.parse()?;
        tls::certificates("the authority's text", &enrolled.authority)?;
        let credential = Credential::new(slot, &enrolled.device, enrolled.certificate.clone(), key)?;
        for director in &enrolled.director_keys {
            let hexadecimal = director.len() == 64 && director.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hexadecimal {
                return Err(IdentityError::Invalid("a director key is not 64 hexadecimal digits".to_owned()));
            }
        }
        let shown = Arc::new(Shown::new(&credential.certificate, &credential.key)?);
        let in_force = Arc::new(InForce { credential: RwLock::new(credential), shown });
        Ok(Self { enrolled, server, broker, in_force })
    }

    /// The name that the operator gave this device.
    #[must_use]
    pub fn device(&self) -> &DeviceId {
        &self.enrolled.device
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.enrolled.tenant
    }

    /// TUF root that the catalogue starts from (JSON text).
    #[must_use]
    pub fn trusted_root(&self) -> &str {
        &self.enrolled.trusted_root
    }

    /// Director keys to begin with; the catalogue's authority document rules from then on.
    #[must_use]
    pub fn director_keys(&self) -> &[String] {
        &self.enrolled.director_keys
    }

    /// Where the broker is.
    #[must_use]
    pub fn broker(&self) -> &BrokerAddress {
        &self.broker
    }

    /// The authority that signs the broker's and the control plane's certificates, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.enrolled.authority
    }

    /// The keys that cosign this device's audit log, as C2SP verifier keys: the witness's and the mirror's. None for a device
    /// that enrolled with a control plane that does neither.
    #[must_use]
    pub fn audit_cosigners(&self) -> Option<(&str, &str)> {
        let (witness, mirror) = (self.enrolled.audit_witness.as_str(), self.enrolled.audit_mirror.as_str());
        (!witness.is_empty() && !mirror.is_empty()).then_some((witness, mirror))
    }

    /// The control plane's address, as it was given at enrolment.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// When the client certificate ends, seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn certificate_not_after_s(&self) -> i64 {
        self.in_force.credential.read().unwrap_or_else(PoisonError::into_inner).not_after_s
    }

    /// The fingerprint of the key in force, as an operator sees it.
    ///
    /// # Errors
    /// If the key cannot be read.
    pub fn fingerprint(&self) -> Result<Fingerprint, IdentityError> {
        fingerprint(&self.credential().key)
    }

    /// TLS that shows this device's certificate, the newest that is in force at each connection, and trusts only the fleet's
    /// authority.
    ///
    /// # Errors
    /// If the TLS library refuses key or certificates.
    pub fn tls(&self, clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
        tls::client(&self.enrolled.authority, Some(self.shown()), clock).map(Arc::new)
    }

    /// What is in force now.
    pub(crate) fn credential(&self) -> Credential {
        self.in_force.credential.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What connections show.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.in_force.shown)
    }
}

/// The certificate must be for this device's name and this device's key. Returns when it begins and ends.
fn check_certificate(device: &DeviceId, certificate: &str, key: &Secret) -> Result<(i64, i64), IdentityError> {
    let chain = tls::certificates("the device certificate", certificate)?;
    let invalid = |why: String| IdentityError::Invalid(format!("the device certificate {why}"));
    let (_, certificate) =
        X509Certificate::from_der(&chain[0]).map_err(|error| invalid(format!("cannot be read: {error}")))?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    if name != Some(device.as_str()) {
        return Err(invalid(format!("is for `{}`, not for `{device}`", name.unwrap_or("nobody"))));
    }
    if certificate.public_key().raw != key_pair(key)?.subject_public_key_info() {
        return Err(invalid("is for another key than this device's".to_owned()));
    }
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// A key as the library takes it.
pub(crate) fn key_pair(key: &Secret) -> Result<rcgen::KeyPair, TlsError> {
    let pem = std::str::from_utf8(key.expose()).map_err(|_| TlsError::Key("it is not text".to_owned()))?;
    rcgen::KeyPair::from_pem(pem).map_err(|error| TlsError::Key(error.to_string()))
}

/// The fingerprint of a key's public half.
pub(crate) fn fingerprint(key: &Secret) -> Result<Fingerprint, IdentityError> {
    Ok(Fingerprint(Sha256::digest(key_pair(key)?.der_bytes()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_broker_address_is_a_name_and_a_port() {
        let address: BrokerAddress = "broker.example:8883".parse().unwrap();
        assert_eq!((address.host.as_str(), address.port), ("broker.example", 8883));
        assert!("127.0.0.1:1".parse::<BrokerAddress>().is_ok());
        for bad in ["", "host", "host:", ":1", "host:0", "host:65536", "[::1]:8883", "::1:8883", "a b:1", "a/b:1"] {
            assert!(bad.parse::<BrokerAddress>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_without_identity_says_how_to_enrol() {
        let dir = tempfile::tempdir().unwrap();
        let error = Identity::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains("run `outpost enroll`"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_broker_address_or_refused_without_panic(text in ".{0,60}") {
            if let Ok(address) = text.parse::<BrokerAddress>() {
                prop_assert!(!address.host.is_empty() && address.port > 0);
            }
        }

        #[test]
        fn any_bytes_are_an_identity_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(IDENTITY_FILE), bytes).unwrap();
            prop_assert!(Identity::load(dir.path()).is_err());
        }
    }
}
