//! Client certificates: the handshake proves who holds the key, the configuration says what that name may.
//!
//! The chain is checked in the handshake against the configured authorities, by the device's clock. A connection may
//! outlive its certificate, so its dates are looked at again with each request.

use std::collections::BTreeMap;

use outpost_policies::{AuthMethod, Network, Principal, PrincipalKind};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Caller, Unidentified};

/// Most names of one certificate that are looked at, and longest.
const NAMES: usize = 16;
const NAME_BYTES: usize = 256;

/// Whom certificates are for, by a name in them: `CN=till-7`, `DNS:till-7.shop.example`, `URI:spiffe://shop/till-7` or
/// `email:ada@shop.example`.
pub type CertificateSubjects = BTreeMap<String, CertificateSubject>;

/// What one name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSubject {
    /// A person, a service, or a device.
    pub kind: PrincipalKind,
    /// Its roles.
    pub roles: Vec<String>,
}

/// What is known of a certificate whose key the other end holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProvenCertificate {
    /// Its common name first, then its alternative names in their order.
    names: Vec<String>,
    serial: String,
    not_before_s: i64,
    not_after_s: i64,
}

impl ProvenCertificate {
    /// Reads a certificate that the handshake has accepted.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let common = common.map(|name| format!("CN={name}"));
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives = alternatives.map(|names| &names.value.general_names).into_iter().flatten();
        let alternatives = alternatives.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
            GeneralName::URI(name) => Some(format!("URI:{name}")),
            GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
            _ => None,
        });
        let plain = |name: &String| name.len() <= NAME_BYTES && !name.chars().any(char::is_control);
        Some(Self {
            names: common.chain(alternatives).filter(plain).take(NAMES).collect(),
            serial: certificate.raw_serial_as_string().replace(':', "").chars().take(64).collect(),
            not_before_s: certificate.validity().not_before.timestamp(),
            not_after_s: certificate.validity().not_after.timestamp(),
        })
    }

    /// Who it is: the first of its names that is configured.
    pub(super) fn identify(
        &self,
        subjects: &CertificateSubjects,
        now_s: i64,
        network: Network,
    ) -> Result<Caller, Unidentified> {
        if now_s >= self.not_after_s {
            let message =
                "the client certificate has expired: renew it (if it is fresh, this device's clock may be ahead)";
            return Err(Unidentified::new("certificate_expired", message));
        }
        if now_s < self.not_before_s {
            let message =
                "the client certificate is not valid yet: check the clocks of its authority and of this device";
            return Err(Unidentified::new("certificate_not_yet_valid", message));
        }
        let found = self.names.iter().find_map(|name| Some((name, subjects.get(name)?)));
        let Some((name, subject)) = found else {
            let shown: String = self.names.first().map_or("no name", String::as_str).chars().take(100).collect();
            let message = format!(
                "the client certificate of `{shown}` has no role here: an admin adds it to \
                 `api.client_certificates.subjects`"
            );
            return Err(Unidentified::new("unknown_certificate", message));
        };
        let principal = Principal { kind: subject.kind, id: name.clone(), roles: subject.roles.clone() };
        let device = (subject.kind == PrincipalKind::Device).then(|| name.clone());
        let credential = self.serial.clone();
        Ok(Caller { credential, device, ..Caller::new(principal, AuthMethod::Certificate, network) })
    }
}
