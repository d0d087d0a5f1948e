//! Sticks: what devices without a network should run, the same signed bytes as over it; and, in `home`, what they send back.
//!
//! ```text
//! whom, what is signed, which chunks ──► is there room? ──► no `bundle.json` ──► missing chunks ──► desired states
//!        ──► all of it on the stick ──► `bundle.json`
//! ```
//!
//! A stick that is pulled out before the end has no `bundle.json`: it is not finished, and the next export goes on with the
//! chunks that are there and whole.

mod home;
mod stick;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use outpost_contract::bundle::{BundleIndex, BundledDesired, CHUNKS_DIRECTORY, DESIRED_DIRECTORY, desired_file};
use outpost_contract::home::{ANSWERS_DIRECTORY, answer_file};
use outpost_contract::limits::CATALOGUE_BYTES;
use outpost_contract::{Blake3, Desired, DeviceId, Manifest, TenantId};
use outpost_trust::Envelope;
use serde::Serialize;

pub use self::home::{BroughtHome, HomeError};
use self::stick::Stick;
use crate::db::StoredTarget;
use crate::fleet::{Fleet, FleetError};

/// What to export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleRequest {
    /// For whom; none: for every device that something was signed for.
    pub devices: Vec<DeviceId>,
    /// Leave the model files out: for devices that have them, or get them otherwise.
    pub without_models: bool,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleSummary {
    /// The version of the desired state of each device.
    pub desired: BTreeMap<DeviceId, u64>,
    /// Bytes of chunks that were copied.
    pub copied_bytes: u64,
    /// Bytes of chunks that were there before.
    pub present_bytes: u64,
}

/// A bundle cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is a file of this name that is no bundle's.
    #[error("`{0}` is not a bundle of ours ({1}); choose another directory, or remove that file")]
    NotABundle(PathBuf, String),
    /// The bundle there is for somebody else's devices.
    #[error("the bundle in `{0}` is for devices of `{1}`; choose another directory")]
    OtherTenant(PathBuf, TenantId),
    /// A link or a file is where a directory belongs.
    #[error("`{0}` is not a directory; remove it, or choose another directory")]
    NotADirectory(PathBuf),
    /// Nothing was signed for this device.
    #[error("nothing was signed for `{0}` yet; run `outpost-control device assign {0}`")]
    NothingSigned(DeviceId),
    /// Nothing was signed for any device.
    #[error("nothing was signed for any device yet; run `outpost-control device assign`")]
    Nothing,
    /// It would not fit.
    #[error(
        "not enough room in `{directory}`: {needed} bytes are to be copied, {free} are free; remove `{directory}/{CHUNKS_DIRECTORY}` to drop what older bundles left, or leave models out with `--without-models`"
    )]
    Space {
        /// Where.
        directory: String,
        /// Bytes to copy.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The catalogue was replaced while this read it.
    #[error("the catalogue was replaced meanwhile; export again")]
    Moved,
    /// Something that was signed or kept cannot be read back.
    #[error("{what} cannot be exported: {why}")]
    Damaged {
        /// What.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Bytes on a stick beside chunks: desired states, table of contents, what the file system needs.
const ROOM_BESIDE_BYTES: u64 = 8 * 1024 * 1024;

impl Fleet {
    /// Writes a bundle into `directory`, or brings the one there up to date: chunks that are there and whole are not copied
    /// again. Desired states that would soon be refused for their age are signed anew first. When this returns `Ok`, all of
    /// it is on the stick; before, the bundle there counts as unfinished.
    ///
    /// # Errors
    /// If a device is not enrolled or nothing was signed for it, it would not fit, `directory` holds something else, or a
    /// file cannot be written.
    pub fn export_bundle(&self, directory: &Path, request: &BundleRequest) -> Result<BundleSummary, FleetError> {
        self.refresh_catalogue()?;
        self.sign_aging()?;
        let signed = self.signed_for(&request.devices)?;
        let wanted = self.wanted_chunks(&signed, request.without_models)?;

        let stick = Stick::open(directory, &self.inner.config.tenant)?;
        let mut missing = Vec::new();
        for (&id, &bytes) in &wanted {
            if !stick.has_chunk(&id, bytes)? {
                missing.push((id, u64::from(bytes)));
            }
        }
        let total: u64 = wanted.values().map(|&bytes| u64::from(bytes)).sum();
        let copied: u64 = missing.iter().map(|(_, bytes)| bytes).sum();
        stick.check_room(copied + ROOM_BESIDE_BYTES)?;

        stick.unfinish()?;
        for (id, _) in missing {
            let bytes = self.inner.blobs.chunk(&id)?.ok_or_else(|| damaged("a chunk", format!("`{id}` is gone")))?;
            stick.write(CHUNKS_DIRECTORY, &id.to_hex(), &bytes)?;
        }
        let mut desired = BTreeMap::new();
        for (device, (version, envelope)) in &signed {
            stick.write(DESIRED_DIRECTORY, &desired_file(device), envelope)?;
            let blake3 = Blake3(*blake3::hash(envelope).as_bytes());
            let bytes = envelope.len() as u64;
            desired.insert(device.clone(), BundledDesired { version: *version, bytes, blake3 });
            match self.answer_home(device)? {
                Some(answer) => stick.write(ANSWERS_DIRECTORY, &answer_file(device), &answer)?,
                None => stick.remove(ANSWERS_DIRECTORY, &answer_file(device))?,
            }
        }
        let summary = BundleSummary {
            desired: signed.iter().map(|(device, (version, _))| (device.clone(), *version)).collect(),
            copied_bytes: copied,
            present_bytes: total - copied,
        };
        stick.finish(&BundleIndex {
            v: 1,
            tenant: self.inner.config.tenant.clone(),
            made_at_s: self.now_s(),
            desired,
            chunks: wanted.len() as u64,
            chunk_bytes: total,
        })?;
        Ok(summary)
    }

    /// The newest desired state of each of the devices; of all admitted ones if none is named.
    fn signed_for(&self, devices: &[DeviceId]) -> Result<BTreeMap<DeviceId, (u64, Vec<u8>)>, FleetError> {
        let all = self.inner.database.signed()?.into_iter();
        let mut all: BTreeMap<_, _> = all.map(|(device, version, envelope)| (device, (version, envelope))).collect();
        if devices.is_empty() {
            return if all.is_empty() { Err(BundleError::Nothing.into()) } else { Ok(all) };
        }
        let mut signed = BTreeMap::new();
        for device in BTreeSet::from_iter(devices) {
            if !self.inner.database.is_admitted(device)? {
                return Err(FleetError::UnknownDevice(device.clone()));
            }
            let found = all.remove_entry(device).ok_or_else(|| BundleError::NothingSigned(device.clone()))?;
            signed.extend([found]);
        }
        Ok(signed)
    }

    /// Every chunk that these documents can lead to, with its length: of their catalogues, and of the models.
    fn wanted_chunks(
        &self,
        signed: &BTreeMap<DeviceId, (u64, Vec<u8>)>,
        without_models: bool,
    ) -> Result<BTreeMap<Blake3, u32>, FleetError> {
        let targets = self.inner.database.targets()?;
        let mut chunks = BTreeMap::new();
        for (device, (_, envelope)) in signed {
            let what = || format!("the desired state of `{device}`");
            let envelope = Envelope::parse(envelope).map_err(|error| damaged(what(), error.to_string()))?;
            let desired: Desired = serde_json::from_slice(envelope.unproven_payload())
                .map_err(|error| damaged(what(), error.to_string()))?;
            desired.catalogue.check(CATALOGUE_BYTES).map_err(|error| damaged(what(), error.to_string()))?;
            chunks.extend(desired.catalogue.chunks.iter().map(|chunk| (chunk.id, chunk.bytes)));
            if without_models {
                continue;
            }
            for pin in desired.model.iter().flat_map(|model| &model.variants).chain(&desired.agent) {
                let is_pinned = |target: &&StoredTarget| target.name == pin.name && target.sha256 == pin.sha256;
                let target = targets.iter().find(is_pinned).ok_or(BundleError::Moved)?;
                let manifest: Manifest = serde_json::from_slice(&target.bytes)
                    .map_err(|error| damaged(format!("`{}`", target.name), error.to_string()))?;
                chunks.extend(manifest.chunks.iter().map(|chunk| (chunk.id, chunk.bytes)));
            }
        }
        Ok(chunks)
    }
}

fn damaged(what: impl Into<String>, why: String) -> BundleError {
    BundleError::Damaged { what: what.into(), why }
}
