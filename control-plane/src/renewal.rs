//! Renewal: a device gets a certificate for a new key, by the certificate that it has or, once that has expired, by its key.

mod nonces;

use std::net::IpAddr;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use outpost_contract::{LateRenewRequest, RenewNonce, RenewResponse};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::Digest as _;

use crate::certificate::{self, ShownCertificate};
use crate::db::KeyStanding;
use crate::enrol::{EnrolError, refused};
use crate::fleet::{Fleet, FleetError};
pub(crate) use nonces::Nonces;

const DAY_S: i64 = 24 * 60 * 60;

impl Fleet {
    /// Signs a certificate for a new key of a device that has shown `shown`. Both count until the new one is used.
    pub(crate) fn renew(
        &self,
        shown: &ShownCertificate,
        certificate_request: &str,
    ) -> Result<RenewResponse, EnrolError> {
        let now_s = self.now_s();
        let issued = self.issue(&shown.device, certificate_request, now_s)?;
        let kept = self.inner.database.keep_renewal(&shown.device, shown, &issued, now_s).map_err(FleetError::from)?;
        if !kept {
            return Err(revoked());
        }
        tracing::info!(device = %shown.device, "a certificate was renewed");
        Ok(RenewResponse { certificate: self.with_chain(&issued) })
    }

    /// A number for a device whose certificate has expired to sign.
    pub(crate) fn renewal_nonce(&self) -> Result<RenewNonce, FleetError> {
        Ok(RenewNonce { nonce: self.inner.nonces.make(self.now_s()).map_err(FleetError::Random)? })
    }

    /// Signs a certificate for a new key of a device whose certificate has expired. Whoever does not prove to hold a
    /// device's key is told the same, whatever is wrong.
    pub(crate) fn renew_late(&self, request: &LateRenewRequest, address: IpAddr) -> Result<RenewResponse, EnrolError> {
        let (attempts, now_s) = (&self.inner.attempts, self.now_s());
        if !attempts.may_try(address, now_s) {
            return Err(refused("too_many_attempts", "too many attempts came from this address; wait a minute"));
        }
        let refusal = || {
            attempts.count_wrong(address, now_s);
            tracing::warn!(%address, "a late renewal was refused");
            not_renewed()
        };
        let shown = self.proven(request, now_s).ok_or_else(refusal)?;
        // From here on it is the device that is spoken to.
        let standing = self.inner.database.key_standing(&shown.device, &shown.key_sha256);
        match standing.map_err(FleetError::from)? {
            KeyStanding::Registered => {}
            KeyStanding::Revoked => return Err(revoked()),
            KeyStanding::Unknown => return Err(refusal()),
        }
        if now_s - shown.not_after_s > i64::from(self.inner.config.renew_expired_days) * DAY_S {
            return Err(refusal());
        }
        self.renew(&shown, &request.certificate_request)
    }

    /// The certificate that expired, if our authority signed it and its key signed this request with a fresh nonce.
    fn proven(&self, request: &LateRenewRequest, now_s: i64) -> Option<ShownCertificate> {
        self.inner.authority.request_key_sha256(&request.certificate_request).ok()?;
        let old = CertificateDer::from_pem_slice(request.certificate.as_bytes()).ok()?;
        if !self.inner.nonces.is_good(&request.nonce, now_s) || !self.inner.authority.has_signed(&old) {
            return None;
        }
        let digest: [u8; 32] = sha2::Sha256::digest(request.certificate_request.as_bytes()).into();
        let signed = LateRenewRequest::signed_bytes(&request.nonce, &digest);
        let signature = hex::decode(&request.signature).ok()?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, certificate::public_key(&old)?);
        key.verify(&signed, &signature).ok()?;
        // Spent only by a signature of a device's key: strangers cannot fill the memory of it.
        self.inner.nonces.spend(&request.nonce, now_s).then(|| ShownCertificate::read(&old)).flatten()
    }
}

fn not_renewed() -> EnrolError {
    refused("renewal_refused", "this certificate is not renewed; ask the operator for a new code")
}

fn revoked() -> EnrolError {
    refused("revoked", "this device was revoked; ask the operator")
}
