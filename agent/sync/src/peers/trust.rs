//! TLS between neighbours: each side shows a device's certificate of the fleet's authority, whatever host it is on.

use std::sync::Arc;

use outpost_contract::DeviceId;
use outpost_disk::Clock;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::{self, FlooredTime};
use crate::{Identity, TlsError};

/// A neighbour is judged as a server judges its client: the chain to the authority, the validity, the use of the certificate.
/// In place of a host name it must name a device.
#[derive(Debug)]
struct NeighbourVerifier(Arc<dyn ClientCertVerifier>);

impl ServerCertVerifier for NeighbourVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now)?;
        match device_of(end_entity) {
            Some(_) => Ok(ServerCertVerified::assertion()),
            None => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// For fetching from a neighbour.
pub(crate) fn client_tls(identity: &Identity, clock: &Clock) -> Result<ClientConfig, TlsError> {
    let verifier = NeighbourVerifier(fleet_verifier(identity.authority())?);
    let mut config = ClientConfig::builder_with_details(tls::provider(), Arc::new(FlooredTime(clock.clone())))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(identity.shown());
    // As for every connection: after a renewal the newer certificate is to be shown.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For serving neighbours: none is served without a certificate.
pub(super) fn server_tls(identity: &Identity, clock: &Clock) -> Result<ServerConfig, TlsError> {
    let config = ServerConfig::builder_with_details(tls::provider(), Arc::new(FlooredTime(clock.clone())))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(fleet_verifier(identity.authority())?)
        .with_cert_resolver(identity.shown());
    Ok(config)
}

fn fleet_verifier(authority: &str) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused = |detail: String| TlsError::Certificate { what: "the authority's text", detail };
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates("the authority's text", authority)? {
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
        .build()
        .map_err(|error| refused(error.to_string()))
}

/// The device that a certificate names.
pub(super) fn device_of(certificate: &[u8]) -> Option<DeviceId> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    certificate.subject().iter_common_name().next()?.as_str().ok()?.parse().ok()
}
