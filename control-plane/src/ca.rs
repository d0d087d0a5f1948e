//! The certificate authority: ECDSA P-256, its own root, certificates for the servers and for each device.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outpost_contract::DeviceId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;

use crate::broker::{BrokerTls, CONTROL_PLANE};
use crate::db::RevokedCertificate;
use crate::files::{self, FileError};

/// Larger than any certificate or key in PEM here.
const MOST_BYTES: u64 = 64 * 1024;

const DAY_S: i64 = 24 * 60 * 60;

/// How long the authority is good for, days: a new one means that every device enrols again.
const AUTHORITY_DAYS: u32 = 3650;

/// How long a server's certificate is good for, days; a new one is made at each start.
const SERVER_DAYS: u32 = 90;

/// How long the certificate of a broker that is not ours is good for, days: a person makes the next one.
const BROKER_DAYS: u32 = 365;

/// Certificates are valid from this long before now, seconds: clocks differ.
const BACKDATED_S: i64 = 60 * 60;

/// The day below which no device's clock falls: the floor of the first release.
const EARLIEST_CLOCK: (i32, u8, u8) = (2026, 11, 1);

/// A certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no authority yet.
    #[error("there is no certificate authority in `{0}`; run `outpost-control init`")]
    Missing(PathBuf),
    /// The library refused.
    #[error("cannot {act}: {source}")]
    Certificate {
        /// What was tried.
        act: &'static str,
        /// Why not.
        source: rcgen::Error,
    },
    /// A certificate request is not one that is signed here.
    #[error("the certificate request is refused: {0}; expected PKCS #10 in PEM with an ECDSA P-256 key")]
    Request(String),
    /// What the authority signed could not be recognised.
    #[error("the authority's certificate cannot verify others: {0}")]
    Verifier(String),
    /// The system gives no random numbers.
    #[error("no random numbers for a serial number: {0}")]
    Random(getrandom::Error),
}

fn failed(act: &'static str) -> impl FnOnce(rcgen::Error) -> CaError {
    move |source| CaError::Certificate { act, source }
}

/// The authority, loaded. Its key stays in the state directory, mode 0600.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    verifier: Arc<dyn ClientCertVerifier>,
    dir: PathBuf,
}

/// A device's new certificate.
#[derive(Debug, Clone)]
pub struct DeviceCertificate {
    /// PEM.
    pub certificate: String,
    /// SHA-256 of the device's public key: tells a repeated enrolment from another device's.
    pub key_sha256: [u8; 32],
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// When it ends, seconds since 1970-01-01 UTC.
    pub not_after_s: i64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority in `dir`; what is there is replaced.
    ///
    /// # Errors
    /// If a key cannot be made or a file not be written.
    pub fn create(dir: &Path, now_s: i64) -> Result<Self, CaError> {
        files::private_directory(dir)?;
        let key = new_key()?;
        let mut parameters = parameters("Outpost certificate authority", AUTHORITY_DAYS, now_s)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key).map_err(failed("make the authority's certificate"))?;
        // The key first: a certificate without its key would look like an authority.
        files::write_private(&dir.join("ca.key"), key.serialize_pem().as_bytes())?;
        files::write(&dir.join("ca.pem"), certificate.pem().as_bytes())?;
        Self::load(dir)
    }

    /// Loads the authority of `dir`.
    ///
    /// # Errors
    /// [`CaError::Missing`] if there is none.
    pub fn load(dir: &Path) -> Result<Self, CaError> {
        let path = dir.join("ca.pem");
        if !path.exists() {
            return Err(CaError::Missing(dir.to_owned()));
        }
        let certificate = files::read_text(&path, MOST_BYTES)?;
        let key = KeyPair::from_pem(&files::read_text(&dir.join("ca.key"), MOST_BYTES)?);
        let key = key.map_err(failed("read the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(failed("read the authority's certificate"))?;
        let verifier =
            crate::tls::device_verifier(&certificate).map_err(|error| CaError::Verifier(error.to_string()))?;
        Ok(Self { issuer, certificate, verifier, dir: dir.to_owned() })
    }

    /// The authority's certificate, PEM: what devices trust.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Where that certificate lies, for `outpost enroll --ca`.
    #[must_use]
    pub fn certificate_path(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Makes a fresh key and certificate for the HTTPS server and the broker.
    ///
    /// # Errors
    /// If a name is none, or a file cannot be written.
    pub fn issue_server(&self, names: &[String], now_s: i64) -> Result<BrokerTls, CaError> {
        let mut parameters = parameters("outpost-control", SERVER_DAYS, now_s)?;
        // A box whose clock woke up at its floor must find this valid, or it never comes back on line to learn the time.
        begin_early(&mut parameters);
        let sans = CertificateParams::new(names.to_vec()).map_err(failed("use a name in the servers' certificate"))?;
        parameters.subject_alt_names = sans.subject_alt_names;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = self.issue(&parameters, &self.dir, "server")?;
        Ok(BrokerTls { certificate, key, authority: self.certificate_path() })
    }

    /// Makes a fresh key and certificate for the control plane's own connections to the broker.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn issue_control_plane(&self, now_s: i64) -> Result<(PathBuf, PathBuf), CaError> {
        let mut parameters = parameters(CONTROL_PLANE, SERVER_DAYS, now_s)?;
        // Neither may a broker whose clock is behind keep the control plane out.
        begin_early(&mut parameters);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&parameters, &self.dir, CONTROL_PLANE)
    }

    /// Signs a device's certificate. Of the request only the key counts: the name is the device's, the rest is ours.
    ///
    /// # Errors
    /// [`CaError::Request`] if the request is not well-formed, not signed by its own key, or not of P-256.
    pub fn issue_device(
        &self,
        device: &DeviceId,
        request: &str,
        days: u32,
        now_s: i64,
    ) -> Result<DeviceCertificate, CaError> {
        let mut request = read_request(request)?;
        let mut parameters = parameters(device.as_str(), days, now_s)?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = parameters.serial_number.as_ref().map(|serial| hex::encode(serial.to_bytes())).unwrap_or_default();
        request.params = parameters;
        let key_sha256 = key_sha256(&request);
        let certificate = request.signed_by(&self.issuer).map_err(failed("sign a device's certificate"))?;
        let not_after_s = now_s + i64::from(days) * DAY_S;
        Ok(DeviceCertificate { certificate: certificate.pem(), serial, not_after_s, key_sha256 })
    }

    /// SHA-256 of the key in a request.
    ///
    /// # Errors
    /// [`CaError::Request`], as [`issue_device`](Self::issue_device).
    pub fn request_key_sha256(&self, request: &str) -> Result<[u8; 32], CaError> {
        Ok(key_sha256(&read_request(request)?))
    }

    /// True if this authority signed a device's certificate, however long ago it ended.
    #[must_use]
    pub fn has_signed(&self, certificate: &[u8]) -> bool {
        let Some((begins_s, _)) = crate::certificate::validity(certificate) else { return false };
        let Ok(begins_s) = u64::try_from(begins_s) else { return false };
        // Judged as of its first second: only the signature and the purpose are asked for.
        let then = UnixTime::since_unix_epoch(Duration::from_secs(begins_s));
        let verified = self.verifier.verify_client_cert(&CertificateDer::from(certificate), &[], then);
        verified.is_ok()
    }

    /// Makes `broker.pem` and `broker.key` in `dir`, for a broker that is not ours.
    ///
    /// # Errors
    /// If a name is none, or a file cannot be written.
    pub fn issue_broker(&self, dir: &Path, names: &[String], now_s: i64) -> Result<(PathBuf, PathBuf), CaError> {
        let mut parameters = parameters("outpost-broker", BROKER_DAYS, now_s)?;
        let sans = CertificateParams::new(names.to_vec()).map_err(failed("use a name in the broker's certificate"))?;
        parameters.subject_alt_names = sans.subject_alt_names;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&parameters, dir, "broker")
    }

    /// The list of certificates that count no more, PEM. It is good for as long as the authority: a reader that refuses
    /// every device because nobody wrote a new list would be worse than an old list.
    ///
    /// # Errors
    /// If the library refuses.
    pub(crate) fn revocation_list(&self, revoked: &[RevokedCertificate], now_s: i64) -> Result<String, CaError> {
        let epoch = date_time_ymd(1970, 1, 1);
        let parameters = CertificateRevocationListParams {
            this_update: epoch + since_epoch(now_s - BACKDATED_S),
            next_update: epoch + since_epoch(now_s + i64::from(AUTHORITY_DAYS) * DAY_S),
            crl_number: SerialNumber::from(u64::try_from(now_s).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .filter_map(|revoked| Some((hex::decode(&revoked.serial).ok()?, revoked.revoked_s)))
                .map(|(serial, revoked_s)| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&serial),
                    revocation_time: epoch + since_epoch(revoked_s),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = parameters.signed_by(&self.issuer).map_err(failed("sign the revocation list"))?;
        list.pem().map_err(failed("write the revocation list"))
    }

    fn issue(&self, parameters: &CertificateParams, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf), CaError> {
        let key = new_key()?;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(failed("sign a certificate"))?;
        let paths = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        files::write_private(&paths.1, key.serialize_pem().as_bytes())?;
        files::write(&paths.0, certificate.pem().as_bytes())?;
        Ok(paths)
    }
}

fn new_key() -> Result<KeyPair, CaError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed("make a key"))
}

/// Lets a certificate begin where the earliest clock that is believed stands.
fn begin_early(parameters: &mut CertificateParams) {
    let (year, month, day) = EARLIEST_CLOCK;
    parameters.not_before = parameters.not_before.min(date_time_ymd(year, month, day));
}

fn parameters(common_name: &str, days: u32, now_s: i64) -> Result<CertificateParams, CaError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    let epoch = date_time_ymd(1970, 1, 1);
    parameters.not_before = epoch + since_epoch(now_s - BACKDATED_S);
    parameters.not_after = epoch + since_epoch(now_s + i64::from(days) * DAY_S);
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.use_authority_key_identifier_extension = true;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(CaError::Random)?;
    // Positive and of full length, as RFC 5280 wants it.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(parameters)
}

fn since_epoch(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Reads a request; the library checks that its own key signed it.
fn read_request(text: &str) -> Result<CertificateSigningRequestParams, CaError> {
    let request =
        CertificateSigningRequestParams::from_pem(text).map_err(|error| CaError::Request(error.to_string()))?;
    if *request.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(CaError::Request("its key is of another kind".to_owned()));
    }
    Ok(request)
}

fn key_sha256(request: &CertificateSigningRequestParams) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(rcgen::PublicKeyData::der_bytes(&request.public_key)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::FromDer;

    fn request(names: &[&str]) -> (KeyPair, String) {
        let key = new_key().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, "control-plane");
        let request = parameters.serialize_request(&key).unwrap().pem().unwrap();
        (key, request)
    }

    #[test]
    fn a_device_gets_the_name_that_the_operator_gave_whatever_it_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path(), 1_800_000_000).unwrap();
        let device = "till-1".parse().unwrap();
        let (_, request) = request(&["evil.example.org"]);
        let issued = authority.issue_device(&device, &request, 30, 1_800_000_000).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate.as_bytes()).unwrap();
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&pem.contents).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=till-1");
        assert!(certificate.subject_alternative_name().unwrap().is_none());
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert_eq!(certificate.validity().not_after.timestamp(), 1_800_000_000 + 30 * DAY_S);
        let shown = crate::certificate::ShownCertificate::read(&pem.contents).unwrap();
        assert_eq!((shown.device, &shown.serial), (device, &issued.serial));
        assert_eq!((shown.key_sha256, shown.not_after_s), (issued.key_sha256, issued.not_after_s));
        // However long ago it ended, and whoever else signed one.
        assert!(authority.has_signed(&pem.contents));
        let other = tempfile::tempdir().unwrap();
        assert!(!Authority::create(other.path(), 1_800_000_000).unwrap().has_signed(&pem.contents));
    }

    #[test]
    fn a_device_whose_clock_fell_back_to_its_floor_finds_the_servers_certificate_valid() {
        let dir = tempfile::tempdir().unwrap();
        let now_s = 1_900_000_000;
        let server =
            Authority::create(dir.path(), now_s).unwrap().issue_server(&["localhost".to_owned()], now_s).unwrap();
        let text = std::fs::read(&server.certificate).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&pem.contents).unwrap();
        // `outpost_disk::clock::RELEASE_FLOOR_S`.
        assert_eq!(certificate.validity().not_before.timestamp(), 1_793_491_200);
        assert_eq!(certificate.validity().not_after.timestamp(), now_s + i64::from(SERVER_DAYS) * DAY_S);
    }

    #[test]
    fn a_request_that_is_none_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path(), 1_800_000_000).unwrap();
        let device = "till-1".parse().unwrap();
        let refusal = |text: &str| authority.issue_device(&device, text, 1, 1_800_000_000).unwrap_err().to_string();
        assert!(refusal("hello").contains("expected PKCS #10"));
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&ed25519).unwrap().pem().unwrap();
        assert!(refusal(&request).contains("another kind"));
    }

    #[test]
    fn without_an_authority_the_way_out_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Authority::load(dir.path()).unwrap_err().to_string().contains("outpost-control init"));
    }
}
