//! A control plane on loopback, and devices that have keys and certificates but no agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outpost_contract::{
    Blake3, DeviceId, EnrolRefusal, EnrolRequest, EnrolResponse, Fingerprint, LateRenewRequest, RenewNonce,
    RenewRequest, RenewResponse, limits::CHUNK_BYTES,
};
use outpost_control::{Clock, Config, ControlPlane, Fleet, ReleaseRequest, Running, Variant};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SigningKey as _};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sha2::Digest as _;

use crate::link::{Link, Refused};
use crate::small::small_variant;

/// A running control plane with an empty catalogue.
pub(crate) struct Site {
    pub(crate) running: Option<Running>,
    pub(crate) fleet: Fleet,
    pub(crate) clock: Clock,
    /// PEM; the same for as long as the fleet exists.
    pub(crate) authority: String,
    dir: tempfile::TempDir,
}

/// A device's key and certificate.
pub(crate) struct Device {
    pub(crate) name: DeviceId,
    certificate: String,
    key: String,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let mut site = Self::prepare(|_| {});
        site.run().await;
        site
    }

    /// A site with settings of its own.
    pub(crate) async fn start_with(settings: impl FnOnce(&mut Config)) -> Self {
        let mut site = Self::prepare(settings);
        site.run().await;
        site
    }

    /// A site whose server does not run yet.
    pub(crate) fn prepare(settle: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("state"));
        config.tenant = "acme".parse().unwrap();
        config.http_listen = "127.0.0.1:0".parse().unwrap();
        config.mqtt_listen = "127.0.0.1:0".parse().unwrap();
        settle(&mut config);
        // TLS goes by the system's clock, so the fixed one must be near it.
        let clock = Clock::fixed(Clock::system().now_s());
        let fleet = Fleet::init(config, clock.clone()).unwrap().fleet;
        let site = Self { running: None, authority: fleet.authority_pem().to_owned(), fleet, clock, dir };
        let keys = site.path("offline-keys");
        site.fleet.create_offline_keys(&keys).unwrap();
        site
    }

    async fn run(&mut self) {
        self.run_without_broker().await;
        self.running().connected().await;
    }

    /// Starts the server and does not wait for its connection to a broker.
    pub(crate) async fn run_without_broker(&mut self) {
        self.running = Some(ControlPlane::start_fleet(self.fleet.clone()).await.unwrap());
    }

    /// Where devices find the broker.
    fn broker(&self) -> SocketAddr {
        let external = self.fleet.config().external_broker.as_ref();
        external.map_or_else(|| self.running().mqtt_address(), |address| address.parse().unwrap())
    }

    /// What `/health` says of the broker.
    pub(crate) async fn health_of_broker(&self) -> String {
        let url = format!("{}/health", self.running().url());
        let answer: serde_json::Value = https(&self.tls(None)).get(url).send().await.unwrap().json().await.unwrap();
        answer["broker"].as_str().unwrap().to_owned()
    }

    /// Stops the server and starts another on what the first left on the disk, at the same addresses.
    pub(crate) async fn restart(&mut self) {
        let running = self.running.take().unwrap();
        let config = running.config();
        running.stop().await;
        self.fleet = Fleet::open(config.clone(), self.clock.clone()).unwrap();
        self.run().await;
        assert_eq!(self.running().config(), config);
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Signs a catalogue; with a file, that is the one variant of the model `demo`.
    pub(crate) async fn release(&self, content: Option<&[u8]>) {
        let variants = content.map(|content| variant(&self.path("demo.gguf"), content)).into_iter().collect();
        let keys = outpost_control::OfflineKeys::load(&self.path("offline-keys")).unwrap();
        let request = ReleaseRequest { variants, ..ReleaseRequest::default() };
        self.fleet.run(move |fleet| fleet.release(&keys, request)).await.unwrap();
    }

    pub(crate) async fn code(&self, device: &str, valid_s: i64) -> String {
        let device = device.parse().unwrap();
        self.fleet.run(move |fleet| fleet.create_code(&device, valid_s)).await.unwrap()
    }

    /// Asks over HTTPS for an identity.
    pub(crate) async fn ask(&self, code: &str, key: &KeyPair) -> Result<EnrolResponse, (u16, EnrolRefusal)> {
        self.ask_with(code, certificate_request(key)).await
    }

    /// Asks with any text in the place of a certificate request.
    pub(crate) async fn ask_with(
        &self,
        code: &str,
        certificate_request: String,
    ) -> Result<EnrolResponse, (u16, EnrolRefusal)> {
        let request = EnrolRequest {
            code: code.to_owned(),
            certificate_request,
            audit_key: "till+00000000+AA".to_owned(),
            agent: "0.1.0".to_owned(),
            wished_name: "the-till-at-the-door".to_owned(),
        };
        self.post("/v1/enrol", None, &request).await
    }

    /// Posts a document; a refusal is told by its status and body.
    pub(crate) async fn post<T: serde::de::DeserializeOwned, R: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        device: Option<&Device>,
        document: &impl serde::Serialize,
    ) -> Result<T, (u16, R)> {
        let url = format!("{}{path}", self.running().url());
        let answer = https(&self.tls(device)).post(url).json(document).send().await.unwrap();
        let status = answer.status().as_u16();
        if status == 200 { Ok(answer.json().await.unwrap()) } else { Err((status, answer.json().await.unwrap())) }
    }

    /// A device with a certificate for a new key, by the one that it has.
    pub(crate) async fn renew(&self, device: &Device) -> Result<Device, (u16, serde_json::Value)> {
        let key = new_key();
        let request = RenewRequest { certificate_request: certificate_request(&key) };
        let renewed: RenewResponse = self.post("/v1/self/renew", Some(device), &request).await?;
        Ok(Device { name: device.name.clone(), certificate: renewed.certificate, key: key.serialize_pem() })
    }

    /// A number to sign.
    pub(crate) async fn nonce(&self) -> String {
        let url = format!("{}/v1/renew/nonce", self.running().url());
        let answer = https(&self.tls(None)).get(url).send().await.unwrap();
        answer.json::<RenewNonce>().await.unwrap().nonce
    }

    /// A device with a certificate for a new key, by a signature of the old one.
    pub(crate) async fn renew_late(
        &self,
        request: &LateRenewRequest,
        key: &KeyPair,
    ) -> Result<Device, (u16, EnrolRefusal)> {
        let renewed: RenewResponse = self.post("/v1/renew", None, request).await?;
        Ok(Device { name: "till-1".parse().unwrap(), certificate: renewed.certificate, key: key.serialize_pem() })
    }

    /// A device that has enrolled.
    pub(crate) async fn enrol(&self, name: &str) -> Device {
        let (code, key) = (self.code(name, 3600).await, new_key());
        let identity = self.ask(&code, &key).await.unwrap();
        assert_eq!(identity.device.as_str(), name);
        assert_eq!(identity.authority, self.authority);
        Device { name: identity.device, certificate: identity.certificate, key: key.serialize_pem() }
    }

    /// Status of the one HTTPS route that is for devices; an error if there is no connection for this certificate.
    pub(crate) async fn own_route(&self, device: Option<&Device>) -> Result<u16, reqwest::Error> {
        let url = format!("{}/v1/self", self.running().url());
        Ok(https(&self.tls(device)).get(url).send().await?.status().as_u16())
    }

    /// A connection that may hear everything: the control plane's own certificate, and nobody's place is taken.
    pub(crate) async fn observer(&self) -> Link {
        let read = |name: &str| std::fs::read_to_string(self.path("state/tls").join(name)).unwrap();
        let (certificate, key) = (read("control-plane.pem"), read("control-plane.key"));
        let own = Device { name: "control-plane".parse().unwrap(), certificate, key };
        self.connect_as(&own, "control-plane.proof").await.unwrap()
    }

    /// Connects a device under its own name.
    pub(crate) async fn connect(&self, device: &Device) -> Result<Link, Refused> {
        self.connect_as(device, device.name.as_str()).await
    }

    /// Connects a device under any client id.
    pub(crate) async fn connect_as(&self, device: &Device, client_id: &str) -> Result<Link, Refused> {
        Link::open(self.broker(), client_id, Arc::new(self.tls(Some(device)))).await
    }

    /// Tries to connect without a certificate.
    pub(crate) async fn connect_anonymously(&self, client_id: &str) -> Result<Link, Refused> {
        Link::open(self.broker(), client_id, Arc::new(self.tls(None))).await
    }

    /// Tries to connect without encryption.
    pub(crate) async fn connect_plainly(&self, client_id: &str) -> Result<Link, Refused> {
        Link::open_plainly(self.broker(), client_id).await
    }

    /// Connects a device under its own name, in a session that the broker keeps.
    pub(crate) async fn connect_lasting(&self, device: &Device) -> Result<Link, Refused> {
        let tls = Arc::new(self.tls(Some(device)));
        Link::open_lasting(self.running().mqtt_address(), device.name.as_str(), tls).await
    }

    /// Connects a device under its own name, with a will.
    pub(crate) async fn connect_with_will(&self, device: &Device, topic: &str) -> Result<Link, Refused> {
        let tls = Arc::new(self.tls(Some(device)));
        Link::open_with_will(self.broker(), device.name.as_str(), tls, Some(topic)).await
    }

    /// A client that trusts this site, with a device's certificate or none.
    pub(crate) fn https(&self, device: Option<&Device>) -> reqwest::Client {
        https(&self.tls(device))
    }

    fn tls(&self, device: Option<&Device>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match device {
            None => builder.with_no_client_auth(),
            Some(device) => {
                let chain = CertificateDer::pem_slice_iter(device.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(device.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
            }
        }
    }
}

impl Device {
    /// What this device sends once its certificate has expired, for the new `key`.
    pub(crate) fn late_request(&self, nonce: &str, key: &KeyPair) -> LateRenewRequest {
        let certificate_request = certificate_request(key);
        let digest = sha2::Sha256::digest(certificate_request.as_bytes()).into();
        let signed = LateRenewRequest::signed_bytes(nonce, &digest);
        let signature = KeyPair::from_pem(&self.key).unwrap().sign(&signed).unwrap();
        LateRenewRequest {
            certificate_request,
            certificate: self.certificate.clone(),
            nonce: nonce.to_owned(),
            signature: hex::encode(signature),
        }
    }

    /// A device of an authority that calls itself as ours does, with the name of one of ours.
    pub(crate) fn of_another_authority(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let other = outpost_control::ca::Authority::create(dir.path(), Clock::system().now_s()).unwrap();
        let (name, key): (DeviceId, _) = (name.parse().unwrap(), new_key());
        let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let issued = other.issue_device(&name, &request, 1, Clock::system().now_s()).unwrap();
        Self { name, certificate: issued.certificate + other.certificate(), key: key.serialize_pem() }
    }

    /// A device that signed its own certificate.
    pub(crate) fn of_its_own_authority(name: &str) -> Self {
        let key = new_key();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap().pem();
        Self { name: name.parse().unwrap(), certificate, key: key.serialize_pem() }
    }
}

pub(crate) fn certificate_request(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

/// The fingerprint of a key, worked out from its bytes alone.
pub(crate) fn fingerprint(key: &KeyPair) -> Fingerprint {
    Fingerprint(sha2::Sha256::digest(key.der_bytes()).into())
}

pub(crate) fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// The ids of a file's chunks, worked out from its bytes alone.
pub(crate) fn chunk_ids(content: &[u8]) -> Vec<Blake3> {
    content.chunks(CHUNK_BYTES).map(|part| Blake3(*blake3::hash(part).as_bytes())).collect()
}

fn https(tls: &ClientConfig) -> reqwest::Client {
    reqwest::Client::builder().tls_backend_preconfigured(tls.clone()).no_proxy().build().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
fn variant(path: &Path, content: &[u8]) -> Variant {
    std::fs::write(path, content).unwrap();
    let facts = small_variant("demo", content.len() as u64);
    Variant { path: path.to_owned(), target: None, facts, cuts: Vec::new() }
}
