//! A bundle: rules, limits, models, content rules and cases as one JSON document, bounded before it is read.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::{AuditRules, Case, FleetRules, ModelEntry, RoleLimits, TransferRules};

/// Largest bundle that is read: 1 MiB.
pub const BUNDLE_BYTES: usize = 1024 * 1024;

/// The form of bundle that this version reads.
const FORM: u32 = 1;

/// The version of the schema that rules are written in; a bundle for a later one is refused.
pub const SCHEMA_VERSION: u32 = 2;

/// Rules, limits, models, content rules and cases, not yet checked. [`Policies::activate`](crate::Policies::activate) checks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Version of this form; 1.
    pub v: u32,
    /// Counts the releases of the bundle; a device never goes back to a lower one.
    pub version: u64,
    /// The version of the schema that the rules are written in.
    #[serde(default = "first_schema")]
    pub schema: u32,
    /// How many people must have signed the bundle that follows this one; 0 and 1 ask for no second.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub required_approvals: u8,
    /// What it says of the audit log itself.
    #[serde(default, skip_serializing_if = "AuditRules::is_default")]
    pub audit: AuditRules,
    /// What it says of the fleet.
    #[serde(default, skip_serializing_if = "FleetRules::is_default")]
    pub fleet: FleetRules,
    /// What it says of fetching models.
    #[serde(default, skip_serializing_if = "TransferRules::is_default")]
    pub transfer: TransferRules,
    /// Cedar texts by file name.
    #[serde(deserialize_with = "unique_keys")]
    pub policies: BTreeMap<String, String>,
    /// The roles that exist, and what each may use.
    #[serde(deserialize_with = "unique_keys")]
    pub limits: BTreeMap<String, RoleLimits>,
    /// What the bundle says of models, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique_keys")]
    pub models: BTreeMap<String, ModelEntry>,
    /// What must not pass in texts.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub content: Content,
    /// What must come of whom doing what; at least one.
    pub cases: Vec<Case>,
}

fn first_schema() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_zero(number: &u8) -> bool {
    *number == 0
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
    /// A TOML file cannot be read.
    #[error("`{file}` cannot be read: {source}")]
    Toml {
        /// Which file.
        file: String,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// Something has no form in TOML.
    #[error("`{file}` cannot be written: {source}")]
    Unsayable {
        /// Which file.
        file: String,
        /// What has none.
        source: Box<toml::ser::Error>,
    },
    /// A file that a bundle does not have.
    #[error(
        "`{file}` is no part of a policy bundle: it has `*.cedar`, `bundle.toml`, `limits.toml`, `models.toml`, \
         `content.toml` and `cases/*.toml`"
    )]
    Unknown {
        /// Which file.
        file: String,
    },
    /// Written for a later schema.
    #[error(
        "the policy bundle is written for schema {found}; this version knows up to {SCHEMA_VERSION}: update the agent"
    )]
    Schema {
        /// What it says.
        found: u32,
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
        bundle.check_schema()?;
        Ok(bundle)
    }

    fn check_schema(&self) -> Result<(), BundleError> {
        if (1..=SCHEMA_VERSION).contains(&self.schema) {
            return Ok(());
        }
        Err(BundleError::Schema { found: self.schema })
    }

    /// Makes a bundle from files as they lie in a folder, by their path within it: `*.cedar` are rules, `limits.toml` are
    /// limits, `models.toml`, `content.toml`, and any other `*.toml` are cases; `bundle.toml` may say the version instead
    /// of `version`, the schema and the approvals.
    ///
    /// # Errors
    /// If a file cannot be read or is none of these; it is named.
    pub fn from_files<'a>(
        version: u64,
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BundleError> {
        let mut bundle = Self { v: FORM, version, schema: SCHEMA_VERSION, ..Self::default() };
        let mut bytes = 0;
        for (file, text) in files {
            bytes += text.len();
            if bytes > BUNDLE_BYTES {
                return Err(BundleError::TooLarge { bytes });
            }
            let unreadable = |source| BundleError::Toml { file: file.to_owned(), source: Box::new(source) };
            match file {
                "bundle.toml" => {
                    let head: Head = toml::from_str(text).map_err(unreadable)?;
                    bundle.version = head.version.unwrap_or(version);
                    bundle.schema = head.schema.unwrap_or(SCHEMA_VERSION);
                    bundle.required_approvals = head.required_approvals;
                    bundle.audit = head.audit;
                    bundle.fleet = head.fleet;
                    bundle.transfer = head.transfer;
                }
                "limits.toml" => bundle.limits = toml::from_str(text).map_err(unreadable)?,
                "models.toml" => bundle.models = toml::from_str(text).map_err(unreadable)?,
                "content.toml" => bundle.content = toml::from_str(text).map_err(unreadable)?,
                _ if file.ends_with(".cedar") => {
                    bundle.policies.insert(file.to_owned(), text.to_owned());
                }
                _ if file.ends_with(".toml") => {
                    bundle.cases.extend(toml::from_str::<CaseFile>(text).map_err(unreadable)?.case);
                }
                _ => return Err(BundleError::Unknown { file: file.to_owned() }),
            }
        }
        bundle.check_schema()?;
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
                ("cases/matrix.toml", include_str!("../cases/matrix.toml")),
            ],
        )
        .expect("the embedded files are read by a test")
    }

    /// The bundle as files: what [`from_files`](Self::from_files) makes this bundle of. Rules come as they were written; of the
    /// TOML files only what counts, without comments.
    ///
    /// # Errors
    /// If TOML has no word for a number in it; the file is named.
    pub fn to_files(&self) -> Result<BTreeMap<String, String>, BundleError> {
        fn said(file: &str, value: &impl Serialize) -> Result<String, BundleError> {
            let unsayable = |source| BundleError::Unsayable { file: file.to_owned(), source: Box::new(source) };
            toml::to_string(value).map_err(unsayable)
        }
        let head = WrittenHead {
            version: self.version,
            schema: self.schema,
            required_approvals: self.required_approvals,
            audit: self.audit,
            fleet: &self.fleet,
            transfer: self.transfer,
        };
        let mut files = self.policies.clone();
        let mut add = |file: &str, text: String| files.insert(file.to_owned(), text);
        add("bundle.toml", said("bundle.toml", &head)?);
        add("limits.toml", said("limits.toml", &self.limits)?);
        add("cases.toml", said("cases.toml", &WrittenCases { case: &self.cases })?);
        if !self.models.is_empty() {
            add("models.toml", said("models.toml", &self.models)?);
        }
        if !self.content.is_empty() {
            add("content.toml", said("content.toml", &self.content)?);
        }
        Ok(files)
    }

    /// The bundle as JSON; the same bundle gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a bundle is maps with text keys, which JSON can say")
    }
}

/// `bundle.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: Option<u64>,
    schema: Option<u32>,
    #[serde(default)]
    required_approvals: u8,
    #[serde(default)]
    audit: AuditRules,
    #[serde(default)]
    fleet: FleetRules,
    #[serde(default)]
    transfer: TransferRules,
}

/// `bundle.toml`, as it is written.
#[derive(Serialize)]
struct WrittenHead<'a> {
    version: u64,
    schema: u32,
    #[serde(skip_serializing_if = "is_zero")]
    required_approvals: u8,
    #[serde(skip_serializing_if = "AuditRules::is_default")]
    audit: AuditRules,
    #[serde(skip_serializing_if = "FleetRules::is_default")]
    fleet: &'a FleetRules,
    #[serde(skip_serializing_if = "TransferRules::is_default")]
    transfer: TransferRules,
}

/// A file of cases, as it is written.
#[derive(Serialize)]
struct WrittenCases<'a> {
    case: &'a [Case],
}

/// A file of cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    case: Vec<Case>,
}

/// Reads a map and refuses a key that comes twice: two readers could otherwise take different values as meant.
pub(crate) fn unique_keys<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
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
