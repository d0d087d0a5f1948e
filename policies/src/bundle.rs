//! A bundle: rules, limits and cases as one JSON document, bounded before it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::Case;

/// Largest bundle that is read: 1 MiB, the same ceiling that the fleet's contract sets for a policy target.
pub const BUNDLE_BYTES: usize = 1024 * 1024;

/// The form of bundle that this version reads.
const FORM: u32 = 1;

/// Rules, limits and cases, not yet checked. [`Policies::activate`](crate::Policies::activate) checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Version of this form; 1.
    pub v: u32,
    /// Counts the releases of the bundle; a device never goes back to a lower one.
    pub version: u64,
    /// Cedar texts by file name.
    #[serde(deserialize_with = "unique_keys")]
    pub policies: BTreeMap<String, String>,
    /// The roles that exist, and what one request of each may ask for.
    #[serde(deserialize_with = "unique_keys")]
    pub limits: BTreeMap<String, RoleLimits>,
    /// What must come of whom doing what; at least one.
    pub cases: Vec<Case>,
}

/// What one request of a role may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleLimits {
    /// Most tokens that one request may have generated; a role without it says nothing about tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_per_request: Option<u32>,
}

/// Bytes are no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// More bytes than a bundle may have.
    #[error("the policy bundle has {bytes} bytes, more than the {BUNDLE_BYTES} that one may have: split or shorten it")]
    TooLarge {
        /// What came.
        bytes: usize,
    },
    /// Not the JSON of a bundle.
    #[error("the policy bundle cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A file of limits or cases cannot be read.
    #[error("`{file}` cannot be read: {source}")]
    Toml {
        /// Which file.
        file: String,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// Made for another version of this program.
    #[error(
        "the policy bundle has form {found}; this version reads form {FORM}: update the agent or release the bundle for it"
    )]
    Form {
        /// What it says.
        found: u32,
    },
}

impl Bundle {
    /// Reads a bundle.
    ///
    /// # Errors
    /// If it is too large, not JSON, of another form, or has a key that is unknown or there twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_BYTES {
            return Err(BundleError::TooLarge { bytes: bytes.len() });
        }
        let bundle: Self = serde_json::from_slice(bytes)?;
        if bundle.v != FORM {
            return Err(BundleError::Form { found: bundle.v });
        }
        Ok(bundle)
    }

    /// Makes a bundle from files as they lie in a folder: `*.cedar` are rules, `limits.toml` are limits, other `*.toml`
    /// are cases. Names are taken without their folder.
    ///
    /// # Errors
    /// If a TOML file cannot be read; it is named.
    pub fn from_files<'a>(
        version: u64,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BundleError> {
        let mut bundle =
            Self { v: FORM, version, policies: BTreeMap::new(), limits: BTreeMap::new(), cases: Vec::new() };
        for (file, text) in files {
            let unreadable = |source| BundleError::Toml { file: file.to_owned(), source: Box::new(source) };
            if file.ends_with(".cedar") {
                bundle.policies.insert(file.to_owned(), text.to_owned());
            } else if file == "limits.toml" {
                bundle.limits = toml::from_str(text).map_err(unreadable)?;
            } else if file.ends_with(".toml") {
                bundle.cases.extend(toml::from_str::<CaseFile>(text).map_err(unreadable)?.case);
            }
        }
        Ok(bundle)
    }

    /// The bundle that a device starts with: three roles, no surprises. Version 1.
    #[must_use]
    pub fn default_bundle() -> Self {
        Self::from_files(
            1,
            [
                ("operator.cedar", include_str!("../default/operator.cedar")),
                ("admin.cedar", include_str!("../default/admin.cedar")),
                ("auditor.cedar", include_str!("../default/auditor.cedar")),
                ("limits.cedar", include_str!("../default/limits.cedar")),
                ("limits.toml", include_str!("../default/limits.toml")),
                ("cases/roles.toml", include_str!("../cases/roles.toml")),
                ("cases/limits.toml", include_str!("../cases/limits.toml")),
            ],
        )
        .expect("the embedded files are read by a test")
    }

    /// The bundle as JSON; the same bundle gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a bundle is maps with text keys, which JSON can say")
    }
}

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Case>,
}

/// Reads a map and refuses a key that comes twice: two readers could otherwise take different values as meant.
fn unique_keys<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object whose keys are all different")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, V>()? {
                if map.contains_key(&key) {
                    return Err(de::Error::custom(format!("the key `{key}` is there twice")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}
