//! Enrolment without a code: a key that was allowed before, or a request that an operator decides.
//!
//! A stranger learns about its own key only: that it was not allowed, or that somebody will decide.

use std::net::IpAddr;

use outpost_contract::{DeviceId, EnrolRequest, EnrolResponse, Fingerprint};

use super::{EnrolError, MOST_TEXT, entered, refused};
use crate::db::{Asked, Asking, EnrolmentRequest, InTheWay};
use crate::fleet::{Fleet, FleetError};

impl Fleet {
    /// Lets whoever holds each key enrol as its device, without a code: all of them or none.
    ///
    /// # Errors
    /// If a name is reserved or taken, or a key was allowed as another device.
    pub fn allow_keys(&self, keys: &[(DeviceId, Fingerprint)]) -> Result<(), FleetError> {
        keys.iter().try_for_each(|(device, _)| Self::check_device_name(device))?;
        self.inner.database.allow_keys(keys, self.now_s())?.map_err(in_the_way)
    }

    /// Who asked without a code and with a key that was not allowed, the first first.
    ///
    /// # Errors
    /// If the database fails.
    pub fn enrol_requests(&self) -> Result<Vec<EnrolmentRequest>, FleetError> {
        Ok(self.inner.database.enrol_requests()?)
    }

    /// Says yes to a request: whoever holds the key gets its certificate the next time it asks.
    ///
    /// # Errors
    /// [`FleetError::NoRequest`], or as [`allow_keys`](Self::allow_keys).
    pub fn accept_request(&self, key: &Fingerprint, device: &DeviceId) -> Result<(), FleetError> {
        Self::check_device_name(device)?;
        let accepted = self.inner.database.accept_request(key, device, self.now_s())?;
        accepted.ok_or(FleetError::NoRequest(*key))?.map_err(in_the_way)?;
        self.tell_news();
        Ok(())
    }

    /// Says no to a request, until somebody says yes.
    ///
    /// # Errors
    /// [`FleetError::NoRequest`].
    pub fn reject_request(&self, key: &Fingerprint) -> Result<(), FleetError> {
        let rejected = self.inner.database.reject_request(key, self.now_s())?;
        rejected.then_some(()).ok_or(FleetError::NoRequest(*key))?;
        self.tell_news();
        Ok(())
    }

    /// Trades an allowed key for an identity; any other key becomes a request, where that is wanted.
    pub(super) fn enrol_by_key(
        &self,
        request: &EnrolRequest,
        address: IpAddr,
        now_s: i64,
    ) -> Result<EnrolResponse, EnrolError> {
        let inner = &self.inner;
        let key_sha256 = inner.authority.request_key_sha256(&request.certificate_request).map_err(|error| {
            inner.attempts.count_wrong(address, now_s);
            refused("bad_request", &error.to_string())
        })?;
        let Some(device) = inner.database.allowed_as(&key_sha256, now_s).map_err(FleetError::from)? else {
            return Err(self.ask_operator(request, key_sha256, address, now_s));
        };
        self.check_ready()?;
        self.check_log(&device, request)?;
        let issued = self.issue(&device, &request.certificate_request, now_s)?;
        let redeemed = inner.database.redeem_key(&device, &entered(request, &issued), now_s);
        if !redeemed.map_err(FleetError::from)? {
            return Err(not_allowed());
        }
        tracing::info!(%device, %address, "a device enrolled with its key");
        self.identity(device, &issued)
    }

    fn ask_operator(&self, request: &EnrolRequest, key_sha256: [u8; 32], address: IpAddr, now_s: i64) -> EnrolError {
        let inner = &self.inner;
        if !inner.config.accept_requests {
            inner.attempts.count_wrong(address, now_s);
            tracing::warn!(%address, key = %Fingerprint(key_sha256), "enrolment was tried with a key that was not allowed");
            return not_allowed();
        }
        let wished_name = request.wished_name.as_str();
        if wished_name.len() > MOST_TEXT || wished_name.chars().any(char::is_control) {
            inner.attempts.count_wrong(address, now_s);
            return refused("bad_request", "`wished_name` is a single line of at most 512 bytes");
        }
        let asking = Asking { key_sha256, wished_name, address: &address.to_string(), agent: &request.agent };
        let asked = match inner.database.note_request(&asking, now_s) {
            Ok(asked) => asked,
            Err(error) => return EnrolError::Failed(error.into()),
        };
        match asked {
            Asked::Pending(is_new) => {
                // Who waits asks again and again, and is known; who asks with ever new keys must slow down.
                if is_new {
                    inner.attempts.count_wrong(address, now_s);
                    tracing::info!(%address, key = %Fingerprint(key_sha256), "a device asks to enrol");
                    self.tell_news();
                }
                refused("pending", "an operator decides; compare the fingerprint of the key with them, and wait")
            }
            Asked::Rejected => {
                inner.attempts.count_wrong(address, now_s);
                not_allowed()
            }
            Asked::Full => {
                inner.attempts.count_wrong(address, now_s);
                refused("too_many_attempts", "too many devices wait for an operator; try again later")
            }
        }
    }
}

fn not_allowed() -> EnrolError {
    refused(
        "not_allowed",
        "this key may not enrol; ask the operator for a code, or to allow the key (`outpost enroll --show-key`)",
    )
}

fn in_the_way(obstacle: InTheWay) -> FleetError {
    match obstacle {
        InTheWay::KeyTaken(key, device) => FleetError::KeyTaken { key, device },
        InTheWay::NameTaken(device) => FleetError::NameTaken(device),
    }
}
