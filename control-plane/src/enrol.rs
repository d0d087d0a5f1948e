//! Enrolment: an operator makes a one-time code, or allows a key, or says yes to a request; the device gets a certificate.
//!
//! That a device holds its key is proven by the signature of its certificate request, which is checked before anything
//! else is looked at.

mod desk;
mod keyed;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use outpost_audit::VerifierKey;
use outpost_audit::witness::split_origin;
use outpost_contract::{DeviceId, EnrolRefusal, EnrolRequest, EnrolResponse};

use crate::ca::{CaError, DeviceCertificate};
use crate::db::{CodeState, Entered, Redeemed};
use crate::fleet::{Fleet, FleetError};
use crate::{origin, tokens};

/// Longest validity of a code: 30 days, in seconds.
const MOST_VALID_S: i64 = 30 * 24 * 60 * 60;

/// Wrong codes that one address may try in a window.
const WRONG_PER_ADDRESS: u32 = 10;

/// The window, seconds.
const WINDOW_S: i64 = 60;

/// Addresses that are counted at once.
const ADDRESSES: usize = 10_000;

/// Letters and digits that cannot be confused when read aloud (Crockford's base 32).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Longest audit key and agent version that are kept, bytes.
const MOST_TEXT: usize = 512;

/// Wrong codes by address.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    wrong: Mutex<HashMap<IpAddr, (i64, u32)>>,
}

impl Attempts {
    /// False if the address has tried too often and must wait.
    pub(crate) fn may_try(&self, address: IpAddr, now_s: i64) -> bool {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        !wrong
            .get(&origin::of(address))
            .is_some_and(|(since_s, count)| now_s - since_s < WINDOW_S && *count >= WRONG_PER_ADDRESS)
    }

    pub(crate) fn count_wrong(&self, address: IpAddr, now_s: i64) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.len() >= ADDRESSES {
            wrong.retain(|_, (since_s, _)| now_s - *since_s < WINDOW_S);
        }
        let entry = wrong.entry(origin::of(address)).or_insert((now_s, 0));
        if now_s - entry.0 >= WINDOW_S {
            *entry = (now_s, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }
}

/// Why a device was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The device is told; the body of the answer.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(EnrolRefusal),
    /// This side failed; the device is told to try again.
    #[error(transparent)]
    Failed(#[from] FleetError),
}

pub(crate) fn refused(code: &str, message: &str) -> EnrolError {
    EnrolError::Refused(EnrolRefusal { code: code.to_owned(), message: message.to_owned() })
}

fn refused_by(state: CodeState) -> EnrolError {
    match state {
        CodeState::Unknown => refused("wrong_code", "no such code was made here; check it for typing errors"),
        CodeState::Used => refused("code_used", "a device has enrolled with this code; ask the operator for a new one"),
        CodeState::Expired => refused("code_expired", "the code is too old; ask the operator for a new one"),
    }
}

impl Fleet {
    /// Makes a one-time code for a device, valid for `valid_s` seconds. Only its hash is kept.
    ///
    /// # Errors
    /// If the name is reserved or the validity out of bounds.
    pub fn create_code(&self, device: &DeviceId, valid_s: i64) -> Result<String, FleetError> {
        Ok(self.create_codes(std::slice::from_ref(device), valid_s)?.remove(0))
    }

    /// Makes a one-time code for each of many devices, in their order: all or none.
    ///
    /// # Errors
    /// As [`create_code`](Self::create_code).
    pub fn create_codes(&self, devices: &[DeviceId], valid_s: i64) -> Result<Vec<String>, FleetError> {
        if !(1..=MOST_VALID_S).contains(&valid_s) {
            return Err(FleetError::CodeValidity(valid_s));
        }
        devices.iter().try_for_each(Self::check_device_name)?;
        let codes = devices.iter().map(|_| new_code()).collect::<Result<Vec<_>, _>>()?;
        let hashed: Vec<_> = codes.iter().zip(devices).map(|(code, device)| (hash_of(code), device)).collect();
        let now_s = self.now_s();
        self.inner.database.add_codes(&hashed, now_s, now_s + valid_s)?;
        Ok(codes)
    }

    /// Trades a code, or without one a key that was allowed, for an identity. `address` is whose attempts are counted.
    ///
    /// The code counts as used, durably, before the certificate leaves.
    ///
    /// # Errors
    /// [`EnrolError::Refused`] with the code that [`EnrolRefusal`] names.
    pub fn enrol(&self, request: &EnrolRequest, address: IpAddr) -> Result<EnrolResponse, EnrolError> {
        let inner = &self.inner;
        let now_s = self.now_s();
        if !inner.attempts.may_try(address, now_s) {
            return Err(refused("too_many_attempts", "too many wrong codes came from this address; wait a minute"));
        }
        let shown = |text: &str| text.len() <= MOST_TEXT && !text.chars().any(char::is_control);
        if !shown(&request.audit_key) || !shown(&request.agent) {
            return Err(refused("bad_request", "`audit_key` and `agent` are single lines of at most 512 bytes"));
        }
        if request.code.is_empty() {
            return self.enrol_by_key(request, address, now_s);
        }
        let hash = hash_of(&request.code);
        let look_up = |key: Option<&[u8; 32]>| inner.database.look_up_code(&hash, key, now_s);
        // Signing is work: nobody gets it for a code that nobody made.
        let device = match look_up(None).map_err(FleetError::from)? {
            Err(CodeState::Unknown) => {
                inner.attempts.count_wrong(address, now_s);
                tracing::warn!(%address, "enrolment was tried with a wrong code");
                return Err(refused_by(CodeState::Unknown));
            }
            // Whether it was used by this very key shows when the key is known.
            other => other.ok(),
        };
        self.check_ready()?;
        // The name in the certificate is the code's; a code that is used up or expired gets none.
        let name = match device {
            Some(device) => device,
            None => self.repeated(&hash, request, now_s)?,
        };
        self.check_log(&name, request)?;
        let issued = self.issue(&name, &request.certificate_request, now_s)?;
        let redeemed = Redeemed { hash, entered: entered(request, &issued) };
        let device = inner.database.redeem(&redeemed, now_s).map_err(FleetError::from)?.map_err(refused_by)?;
        tracing::info!(%device, %address, "a device enrolled");
        self.identity(device, &issued)
    }

    /// A line of audit logs is one device's, under one key: whoever enrolled with another one's could speak to the witness in its
    /// name, and whoever changed his own would leave behind what is held against it.
    fn check_log(&self, device: &DeviceId, request: &EnrolRequest) -> Result<(), EnrolError> {
        let line = |key: &str| {
            let key: VerifierKey = key.parse().ok()?;
            Some((split_origin(key.name())?.0.to_owned(), *key.public()))
        };
        // A key that cannot be one has no log.
        let Some(wanted) = line(&request.audit_key) else { return Ok(()) };
        let key_sha256 = self.inner.authority.request_key_sha256(&request.certificate_request);
        let key_sha256 = key_sha256.map_err(|error| refused("bad_request", &error.to_string()))?;
        let known = self.inner.database.owners_of_logs(&format!("{}/", wanted.0)).map_err(FleetError::from)?;
        if known.iter().any(|owner| owner != device.as_str()) {
            return Err(refused("bad_request", "`audit_key` names the audit log of another device"));
        }
        let own = self.inner.database.registered_log(device).map_err(FleetError::from)?;
        let is_changed =
            |(key, log): &([u8; 32], String)| *key == key_sha256 && line(log).is_some_and(|line| line != wanted);
        if own.as_ref().is_some_and(is_changed) {
            return Err(refused("bad_request", "`audit_key` is not the one that this device enrolled with"));
        }
        Ok(())
    }

    /// Without a root a device would have nothing to begin with: its code must not be used up for that.
    fn check_ready(&self) -> Result<(), FleetError> {
        if self.roots()?.is_empty() { Err(FleetError::NoRoot) } else { Ok(()) }
    }

    /// Signs a certificate for a device.
    pub(crate) fn issue(&self, name: &DeviceId, request: &str, now_s: i64) -> Result<DeviceCertificate, EnrolError> {
        let issued = self.inner.authority.issue_device(name, request, self.inner.config.certificate_days, now_s);
        let issued = issued.map_err(|error| match error {
            CaError::Request(_) => refused("bad_request", &error.to_string()),
            other => EnrolError::Failed(other.into()),
        })?;
        // Before it leaves, or it could not be revoked at a broker that is not ours.
        let kept = self.inner.database.keep_certificate(&issued.serial, name, issued.not_after_s);
        kept.map_err(FleetError::from)?;
        Ok(issued)
    }

    /// All that a device needs to know, now that it was entered.
    fn identity(&self, device: DeviceId, issued: &DeviceCertificate) -> Result<EnrolResponse, EnrolError> {
        let inner = &self.inner;
        let roots = self.roots()?;
        let root = roots.first().ok_or(FleetError::NoRoot)?;
        self.settle_awaited(Some(&device));
        self.touch();
        self.tell_news();
        Ok(EnrolResponse {
            device,
            tenant: inner.config.tenant.clone(),
            certificate: self.with_chain(issued),
            authority: inner.authority.certificate().to_owned(),
            trusted_root: String::from_utf8_lossy(root).into_owned(),
            director_keys: inner.keys.accepted_directors().iter().map(ToString::to_string).collect(),
            broker: self.broker_address(),
            audit_witness: inner.audit.witness_key().to_owned(),
            audit_mirror: inner.audit.mirror_key(),
        })
    }

    /// A device's certificate, then ours, PEM.
    pub(crate) fn with_chain(&self, issued: &DeviceCertificate) -> String {
        format!("{}{}", issued.certificate, self.inner.authority.certificate())
    }

    /// The device of a code that was used already, if by the very key of this request: its first answer was lost.
    fn repeated(&self, hash: &[u8; 32], request: &EnrolRequest, now_s: i64) -> Result<DeviceId, EnrolError> {
        let key = self.inner.authority.request_key_sha256(&request.certificate_request);
        let key = key.map_err(|error| refused("bad_request", &error.to_string()))?;
        let state = self.inner.database.look_up_code(hash, Some(&key), now_s).map_err(FleetError::from)?;
        state.map_err(refused_by)
    }
}

/// What the database keeps of a device that has just got its certificate.
fn entered<'a>(request: &'a EnrolRequest, issued: &'a DeviceCertificate) -> Entered<'a> {
    Entered {
        key_sha256: issued.key_sha256,
        serial: &issued.serial,
        not_after_s: issued.not_after_s,
        audit_key: &request.audit_key,
        agent: &request.agent,
    }
}

fn new_code() -> Result<String, FleetError> {
    let random = tokens::random::<20>().map_err(FleetError::Random)?;
    let code: Vec<u8> = random.iter().map(|byte| ALPHABET[usize::from(byte % 32)]).collect();
    let groups: Vec<&str> =
        code.chunks(5).map(|group| std::str::from_utf8(group).expect("the alphabet is ASCII")).collect();
    Ok(groups.join("-"))
}

/// The hash of a code as it was meant: case, spaces and hyphens do not count, and O, I and L are read as 0, 1 and 1.
fn hash_of(code: &str) -> [u8; 32] {
    let meant: String = code
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(64)
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect();
    tokens::hash(&meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_was_read_aloud_still_counts() {
        assert_eq!(hash_of("ABCD0-12345"), hash_of("abcdo 1234 5"));
        assert_eq!(hash_of("11"), hash_of("iL"));
        assert_ne!(hash_of("ABCD0-12345"), hash_of("ABCD0-12346"));
    }

    #[test]
    fn an_address_that_guesses_must_wait_and_others_need_not() {
        let attempts = Attempts::default();
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..WRONG_PER_ADDRESS {
            assert!(attempts.may_try(one, 100));
            attempts.count_wrong(one, 100);
        }
        assert!(!attempts.may_try(one, 100 + WINDOW_S - 1));
        assert!(attempts.may_try(other, 100));
        assert!(attempts.may_try(one, 100 + WINDOW_S));
    }
}
