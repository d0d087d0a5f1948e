//! What a stick carries to a box without a network: its table of contents, and the names of its files.
//!
//! ```text
//! DIR/bundle.json              the table of contents, written last: without it, the bundle is not finished
//! DIR/desired/<device>.dsse    the newest signed desired state of one device
//! DIR/chunks/<BLAKE3>          pieces of the catalogue and of model files, each named by its digest
//! ```
//!
//! Nothing here is trusted. The table tells a cut copy from a whole one and says whom the stick is for; what may be obeyed
//! is decided by the signatures in the documents, as over a network. Chunks are not listed one by one: their names
//! are their digests, and which are wanted, and how long each is, stands in what was signed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Blake3, DeviceId, TenantId};

/// The table of contents.
pub const INDEX_FILE: &str = "bundle.json";

/// The directory of chunks.
pub const CHUNKS_DIRECTORY: &str = "chunks";

/// The directory of desired states.
pub const DESIRED_DIRECTORY: &str = "desired";

/// Largest table of contents: 10,000 devices.
pub const INDEX_BYTES: usize = 4 * 1024 * 1024;

/// The table of contents of a stick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleIndex {
    /// Version of this form; 1.
    pub v: u32,
    /// Whose devices it is for.
    pub tenant: TenantId,
    /// When it was written, seconds since 1970-01-01 UTC.
    pub made_at_s: i64,
    /// The desired state of each device.
    pub desired: BTreeMap<DeviceId, BundledDesired>,
    /// Chunks on the stick that these desired states may need.
    pub chunks: u64,
    /// Their bytes.
    pub chunk_bytes: u64,
}

/// One desired state on a stick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundledDesired {
    /// Its version, for people; what counts is the signed one.
    pub version: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub blake3: Blake3,
}

/// A stick cannot be used, or not by this device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBundle {
    /// It cannot be read as a table of contents.
    #[error("`{INDEX_FILE}` is no table of contents: {0}; export the bundle again")]
    Unreadable(String),
    /// It is longer than any table of contents.
    #[error("`{INDEX_FILE}` has more than {INDEX_BYTES} bytes; export the bundle again")]
    TooLarge,
    /// The form's version is unknown here.
    #[error("`{INDEX_FILE}` is of form {0}, which is unknown here (form 1 is read); update this program")]
    Version(u32),
    /// It is for somebody else's devices.
    #[error("the bundle is for devices of `{holds}`; this device belongs to `{wanted}`")]
    OtherTenant {
        /// Whose devices it is for.
        holds: TenantId,
        /// Whose device this is.
        wanted: TenantId,
    },
    /// It holds nothing for this device.
    #[error("the bundle holds nothing for `{wanted}`, but {holds}; export it with `--device {wanted}`")]
    OtherDevices {
        /// For which devices it holds something, in words.
        holds: String,
        /// This device.
        wanted: DeviceId,
    },
}

/// So many devices are named in a message; of the others, only the number.
const NAMED: usize = 5;

impl BundleIndex {
    /// Reads a table of contents.
    ///
    /// # Errors
    /// If it is too large, cannot be read or is of an unknown form.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidBundle> {
        /// What every form has.
        #[derive(Deserialize)]
        struct Form {
            v: u32,
        }
        if bytes.len() > INDEX_BYTES {
            return Err(InvalidBundle::TooLarge);
        }
        let unreadable = |error: serde_json::Error| InvalidBundle::Unreadable(error.to_string());
        let Form { v } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if v != 1 {
            return Err(InvalidBundle::Version(v));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a table of contents is plain data");
        bytes.push(b'\n');
        bytes
    }

    /// What the stick holds for a device.
    ///
    /// # Errors
    /// If it is for another tenant, or for other devices: says for whom.
    pub fn desired_of(&self, tenant: &TenantId, device: &DeviceId) -> Result<&BundledDesired, InvalidBundle> {
        if self.tenant != *tenant {
            return Err(InvalidBundle::OtherTenant { holds: self.tenant.clone(), wanted: tenant.clone() });
        }
        let holds = || InvalidBundle::OtherDevices { holds: self.devices(), wanted: device.clone() };
        self.desired.get(device).ok_or_else(holds)
    }

    fn devices(&self) -> String {
        let named: Vec<_> = self.desired.keys().take(NAMED).map(|device| format!("`{device}`")).collect();
        match self.desired.len() {
            0 => "for no device at all".to_owned(),
            all if all > NAMED => format!("for {} and {} more", named.join(", "), all - NAMED),
            _ => format!("for {}", named.join(", ")),
        }
    }
}

/// The name of a device's desired state, below [`DESIRED_DIRECTORY`]. A device id is no path, so this is none.
#[must_use]
pub fn desired_file(device: &DeviceId) -> String {
    format!("{device}.dsse")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(devices: &[&str]) -> BundleIndex {
        let desired = BundledDesired { version: 3, bytes: 900, blake3: Blake3([7; 32]) };
        BundleIndex {
            v: 1,
            tenant: "acme".parse().unwrap(),
            made_at_s: 1_795_380_305,
            desired: devices.iter().map(|device| (device.parse().unwrap(), desired)).collect(),
            chunks: 2,
            chunk_bytes: 300_000,
        }
    }

    #[test]
    fn a_stick_for_others_says_whom_it_is_for() {
        let (acme, till) = ("acme".parse().unwrap(), "till-7".parse().unwrap());
        assert_eq!(index(&["till-7"]).desired_of(&acme, &till).unwrap().version, 3);
        let stranger = index(&["till-7"]).desired_of(&"other".parse().unwrap(), &till).unwrap_err();
        assert_eq!(stranger.to_string(), "the bundle is for devices of `acme`; this device belongs to `other`");
        let others = |devices: &[&str]| index(devices).desired_of(&acme, &till).unwrap_err().to_string();
        assert!(others(&[]).contains("for no device at all"));
        assert!(others(&["a", "b"]).contains("but for `a`, `b`; export it with `--device till-7`"));
        assert!(others(&["a", "b", "c", "d", "e", "f", "g"]).contains("`e` and 2 more"));
    }

    #[test]
    fn names_that_are_paths_unknown_fields_and_unknown_forms_are_refused() {
        let good = String::from_utf8(index(&["till-7"]).to_bytes()).unwrap();
        for (from, to) in [
            ("\"till-7\"", "\"../till-7\""),
            ("\"till-7\"", "\"/etc/passwd\""),
            ("\"till-7\"", "\"\""),
            ("\"acme\"", "\"../acme\""),
            ("\"version\": 3", "\"version\": -3"),
            ("\"bytes\": 900", "\"bytes\": 900, \"path\": \"/etc/passwd\""),
            ("\"chunks\": 2", "\"chunks\": 2, \"more\": []"),
            ("0707", "07zz"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(matches!(BundleIndex::parse(bad.as_bytes()), Err(InvalidBundle::Unreadable(_))), "{bad}");
        }
        // A later form may have other fields, and is still called by its number.
        let later = BundleIndex::parse(br#"{"v": 2, "news": true}"#);
        assert_eq!(later, Err(InvalidBundle::Version(2)));
        assert_eq!(BundleIndex::parse(&vec![b' '; INDEX_BYTES + 1]), Err(InvalidBundle::TooLarge));
    }

    proptest! {
        #[test]
        fn a_table_of_contents_survives_a_round_trip(
            devices in proptest::collection::btree_map("[a-z0-9][a-z0-9-]{0,63}", any::<(u64, u64, [u8; 32])>(), 0..8),
            made_at_s: i64, chunks: u64, chunk_bytes: u64,
        ) {
            let desired = devices
                .into_iter()
                .map(|(device, (version, bytes, digest))| {
                    (device.parse().unwrap(), BundledDesired { version, bytes, blake3: Blake3(digest) })
                })
                .collect();
            let written = BundleIndex { desired, made_at_s, chunks, chunk_bytes, ..index(&[]) };
            prop_assert_eq!(BundleIndex::parse(&written.to_bytes()), Ok(written));
        }

        #[test]
        fn any_bytes_are_a_table_of_contents_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, cut: prop::sample::Index,
        ) {
            let _ = BundleIndex::parse(&bytes);
            let good = index(&["till-7"]).to_bytes();
            // Cut anywhere before its last brace, it is never taken for a whole one.
            prop_assert!(BundleIndex::parse(&good[..cut.index(good.len() - 1)]).is_err());
            let mut edited = good.clone();
            edited[at.index(good.len())] = bytes.first().copied().unwrap_or(0);
            if let Ok(read) = BundleIndex::parse(&edited) {
                prop_assert_eq!(BundleIndex::parse(&read.to_bytes()), Ok(read));
            }
        }
    }
}
