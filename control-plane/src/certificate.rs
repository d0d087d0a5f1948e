//! A device's certificate as it is shown here: whose, for which key, until when.

use outpost_contract::DeviceId;
use sha2::Digest as _;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What counts of a certificate. Whether our authority signed it is another question, and comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownCertificate {
    /// The name in it.
    pub(crate) device: DeviceId,
    /// Its serial number, lower-case hexadecimal, as the broker writes it too.
    pub(crate) serial: String,
    /// SHA-256 of its key.
    pub(crate) key_sha256: [u8; 32],
    /// When it ends, seconds since 1970-01-01 UTC.
    pub(crate) not_after_s: i64,
}

impl ShownCertificate {
    /// Reads a certificate (DER); none if it is none, or none of a device.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            device: certificate.subject().iter_common_name().next()?.as_str().ok()?.parse().ok()?,
            serial: certificate.serial.to_str_radix(16),
            key_sha256: sha2::Sha256::digest(&certificate.public_key().subject_public_key.data).into(),
            not_after_s: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Begin and end of a certificate, seconds since 1970-01-01 UTC.
pub(crate) fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// The public key in a certificate, as a point of its curve.
pub(crate) fn public_key(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_certificate_or_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(ShownCertificate::read(&bytes), None);
            prop_assert_eq!(validity(&bytes), None);
            prop_assert_eq!(public_key(&bytes), None);
        }
    }
}
