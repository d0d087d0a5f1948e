//! What an operator sees and does about who may enrol: lists in pages, lists as files, and taking back.

use outpost_contract::{DeviceId, Fingerprint};

use crate::bulk;
use crate::db::{AllowedKey, EnrolmentRequest, OpenCode, Page};
use crate::fleet::{Fleet, FleetError};
use crate::people::{Act, Actor};

impl Fleet {
    /// Makes a one-time code for each device of a list as people write it (see [`bulk`]): all or none.
    pub(crate) fn create_listed_codes(
        &self,
        actor: &Actor,
        list: &str,
        valid_s: i64,
    ) -> Result<Vec<(DeviceId, String)>, FleetError> {
        let devices = bulk::parse_names(list)?;
        self.permit_enrolment(actor, &devices)?;
        let codes = self.create_codes(&devices, valid_s)?;
        Ok(devices.into_iter().zip(codes).collect())
    }

    /// Allows each key of a list as people write it: all or none.
    pub(crate) fn allow_listed_keys(
        &self,
        actor: &Actor,
        list: &str,
    ) -> Result<Vec<(DeviceId, Fingerprint)>, FleetError> {
        let keys = bulk::parse_keys(list)?;
        self.permit_enrolment(actor, keys.iter().map(|(device, _)| device))?;
        self.allow_keys(&keys)?;
        Ok(keys)
    }

    /// A list is not a way around the rules for each device on it.
    fn permit_enrolment<'a>(
        &self,
        actor: &Actor,
        devices: impl IntoIterator<Item = &'a DeviceId>,
    ) -> Result<(), FleetError> {
        let asked: Vec<_> = devices.into_iter().map(|device| (Act::Enrol, device.to_string())).collect();
        self.permit_each(actor, &asked)
    }

    /// Codes that can still be used.
    pub(crate) fn open_codes(&self, page: &Page) -> Result<Vec<OpenCode>, FleetError> {
        Ok(self.inner.database.open_codes(page, self.now_s())?)
    }

    /// Takes a code back: whoever has it is told that nobody made it.
    pub(crate) fn withdraw_code(&self, hash: &[u8; 32]) -> Result<(), FleetError> {
        self.inner.database.withdraw_code(hash)?.then_some(()).ok_or(FleetError::NoCode)
    }

    /// Keys that were allowed.
    pub(crate) fn allowed_keys(&self, page: &Page) -> Result<Vec<AllowedKey>, FleetError> {
        Ok(self.inner.database.allowed_keys(page)?)
    }

    /// Allows a key no longer. A device that enrolled with it stays enrolled, until it is revoked.
    pub(crate) fn forbid_key(&self, key: &Fingerprint) -> Result<DeviceId, FleetError> {
        self.inner.database.forbid_key(key)?.ok_or(FleetError::NoAllowedKey(*key))
    }

    /// Who asks to enrol, and whom an operator has rejected.
    pub(crate) fn requests(&self, page: &Page) -> Result<Vec<EnrolmentRequest>, FleetError> {
        Ok(self.inner.database.requests(page)?)
    }
}
