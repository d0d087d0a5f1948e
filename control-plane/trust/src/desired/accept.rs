//! Is this document really for this device, by its director, and not older than what it has?

use outpost_contract::desired::PAYLOAD_TYPE;
use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{Desired, DeviceId, ReasonCode, Sha256, TenantId};

use super::Refusal;
use crate::catalogue::sha256;
use crate::{Envelope, MOST_VERSION, VerifyingKey};

/// How far ahead of the version accepted before a document may be. A director that signs every hour takes a century for
/// it; a thief of its key cannot leap to the end of all versions, where the director could not follow.
pub const MOST_STEP: u64 = 1 << 20;

/// What the device knows when a document arrives.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance<'a> {
    /// The tenant that it belongs to.
    pub tenant: &'a TenantId,
    /// Itself.
    pub device: &'a DeviceId,
    /// Version of the newest document accepted; 0 if none yet.
    pub floor_version: u64,
    /// [`Accepted::payload_sha256`] of that document; tells a repetition from a second document of the same version.
    pub floor_payload: Option<Sha256>,
    /// Keys that may sign for this device, as enrolment or the last authority document said.
    pub director_keys: &'a [VerifyingKey],
    /// The time, from a clock that never runs below its floor; seconds since 1970-01-01 UTC.
    pub now_s: i64,
}

/// A document that is for this device. Not to be obeyed before the catalogue [agrees](super::agree).
#[derive(Debug, Clone)]
pub struct Accepted {
    /// What it says.
    pub desired: Desired,
    /// SHA-256 of its payload: to be stored with the version.
    pub payload_sha256: Sha256,
    /// True if it is the very document accepted before, come again.
    pub repeated: bool,
    pub(super) envelope: Envelope,
}

/// Checks a document in the order size, signature, form, address, version, expiry.
///
/// # Errors
/// The first check that fails. A lower version and another document of the same version are both
/// [`ReasonCode::Rollback`]; the latter means that a director key signs behind the director's back, or that its
/// database was set back: worth an alarm.
pub fn accept(envelope_bytes: &[u8], acceptance: &Acceptance<'_>) -> Result<Accepted, Refusal> {
    let unsigned = |error: crate::dsse::DsseError| {
        Refusal::new(ReasonCode::BadSignature, format!("desired state refused: {error}"))
    };
    let envelope = Envelope::parse(envelope_bytes).map_err(unsigned)?;
    let payload = envelope.verify(PAYLOAD_TYPE, acceptance.director_keys).map_err(unsigned)?;
    let desired: Desired = serde_json::from_slice(&payload).map_err(|error| {
        Refusal::new(
            ReasonCode::Unloadable,
            format!("desired state is signed but not understood ({error}); a newer agent may be needed"),
        )
    })?;
    check_form(&desired)?;
    check_address(&desired, acceptance)?;
    let payload_sha256 = sha256(&payload);
    let repeated = check_version(&desired, payload_sha256, acceptance)?;
    if !repeated && desired.not_after_s < acceptance.now_s {
        let detail = format!(
            "desired state {} was to be accepted until {}, it is {}; have the control plane sign it again",
            desired.version, desired.not_after_s, acceptance.now_s
        );
        return Err(Refusal::new(ReasonCode::Expired, detail));
    }
    Ok(Accepted { desired, payload_sha256, repeated, envelope })
}

fn check_form(desired: &Desired) -> Result<(), Refusal> {
    let refused = |detail: String| Err(Refusal::new(ReasonCode::Unloadable, detail));
    if desired.v != 1 {
        return refused(format!("desired state has form {}, this agent reads form 1: update the agent", desired.v));
    }
    if !(1..=MOST_VERSION).contains(&desired.version) {
        return refused(format!("desired state has version {}, outside 1 to {MOST_VERSION}", desired.version));
    }
    if let Err(error) = desired.catalogue.check(CATALOGUE_BYTES) {
        return refused(format!("desired state names a catalogue that cannot be: {error}"));
    }
    Ok(())
}

fn check_address(desired: &Desired, acceptance: &Acceptance<'_>) -> Result<(), Refusal> {
    if desired.tenant == *acceptance.tenant && desired.device == *acceptance.device {
        return Ok(());
    }
    let detail = format!(
        "desired state is for device `{}` of tenant `{}`, this is `{}` of `{}`",
        desired.device, desired.tenant, acceptance.device, acceptance.tenant
    );
    Err(Refusal::new(ReasonCode::WrongDevice, detail))
}

/// True if this is the document that was accepted before.
fn check_version(desired: &Desired, payload: Sha256, acceptance: &Acceptance<'_>) -> Result<bool, Refusal> {
    let floor = acceptance.floor_version;
    match desired.version {
        version if floor > 0 && version > floor.saturating_add(MOST_STEP) => Err(Refusal::new(
            ReasonCode::Unloadable,
            format!("desired state has version {version}, version {floor} was accepted: no director leaps so far"),
        )),
        version if version > floor => Ok(false),
        version if version < floor => Err(Refusal::new(
            ReasonCode::Rollback,
            format!("desired state has version {version}, version {floor} was accepted: not going back"),
        )),
        _ if acceptance.floor_payload == Some(payload) => Ok(true),
        version => Err(Refusal::new(
            ReasonCode::Rollback,
            format!(
                "a second, different desired state of version {version}: \
                 someone else signs with the director's key, or its database was set back"
            ),
        )),
    }
}
