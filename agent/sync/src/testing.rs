//! A fleet's authority and its devices, for tests of TLS between them.

use std::sync::Arc;

use outpost_contract::EnrolResponse;
use outpost_disk::Secret;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Identity;
use crate::identity::Slot;
use crate::tls::provider;

/// A certificate authority of one test.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(parameters, key) }
    }

    /// A device that enrolled at `server`.
    pub(crate) fn device(&self, name: &str, server: &str) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let enrolled = EnrolResponse {
            device: name.parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            certificate: certificate.pem(),
            authority: self.certificate.pem(),
            trusted_root: "{}".into(),
            director_keys: vec!["ab".repeat(32)],
            broker: "127.0.0.1:8883".into(),
            audit_witness: String::new(),
            audit_mirror: String::new(),
        };
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::new(key.serialize_pem());
        secret.write(dir.path().join(Slot::First.key_file())).unwrap();
        Identity::keep(dir.path(), enrolled, server, secret).unwrap()
    }

    /// TLS of a server on 127.0.0.1 that asks nobody who he is.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }
}
