//! Signed evidence: what was measured on which class of box, with which files, and what was chosen for which reasons.
//!
//! A JSON document in a DSSE envelope, signed by the box that measured. Another box believes it if its operator trusts that
//! key, and reuses it if class, build and files are its own.

use std::collections::BTreeSet;

use outpost_contract::{ModelId, Sha256};
use outpost_trust::dsse::DsseError;
use outpost_trust::{Envelope, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::class::HardwareClass;
use super::figures::{Point, QualityFigures, RunFigures};
use super::limits::Limits;
use super::prune::Pruned;
use super::setting::Setting;

/// Largest evidence, bytes of its envelope.
pub(crate) const EVIDENCE_BYTES: usize = 2 << 20;

/// What the envelope says that it holds.
const PAYLOAD_TYPE: &str = "application/vnd.outpost.tune-evidence+json";

/// The version of the document that is written and read.
const VERSION: u32 = 1;

/// Most rows of each list, and the longest text of one.
const MOST_ROWS: usize = 4_096;
const TEXT_BYTES: usize = 1_024;

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Evidence {
    /// Its version.
    v: u32,
    /// When the last of it was measured, seconds since 1970-01-01 UTC.
    pub(crate) made_at_s: i64,
    /// The agent that measured.
    pub(crate) agent: String,
    /// The build of the kernels.
    pub(crate) build: String,
    /// The class of the box.
    pub(crate) class: HardwareClass,
    /// The model.
    pub(crate) model: ModelId,
    /// The file that all variants come from.
    pub(crate) origin: FileRow,
    /// Every variant that was measured.
    pub(crate) variants: Vec<FileRow>,
    /// The variant that the others were compared with.
    pub(crate) reference: String,
    /// How it was measured.
    pub(crate) effort: Effort,
    /// What was asked of a choice.
    pub(crate) limits: Limits,
    /// Speeds.
    pub(crate) runs: Vec<RunFigures>,
    /// Qualities.
    pub(crate) qualities: Vec<QualityFigures>,
    /// Settings that were measured, each with its fate.
    pub(crate) settings: Vec<SettingRow>,
    /// Settings that were not, and why.
    pub(crate) pruned: Vec<Pruned>,
    /// The place of the choice in `settings`; none if nothing keeps every limit.
    pub(crate) choice: Option<u32>,
}

/// A file, by what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileRow {
    /// The variant's name.
    pub(crate) variant: String,
    /// SHA-256 of the file.
    pub(crate) sha256: Sha256,
    /// Its length.
    pub(crate) bytes: u64,
}

/// A setting that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettingRow {
    pub(crate) setting: Setting,
    /// Memory that it needs.
    pub(crate) needs_bytes: u64,
    /// Whether none other is as good in everything and better in something.
    pub(crate) pareto: bool,
    /// Why it is or is not the choice.
    pub(crate) because: String,
}

/// How it was measured: figures of another effort are not compared with these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Effort {
    /// Tokens of each prompt.
    pub(crate) prompt_tokens: u32,
    /// Tokens of each answer.
    pub(crate) answer_tokens: u32,
    /// Runs that count.
    pub(crate) repeats: u32,
    /// Tokens of a window of the text.
    pub(crate) window_tokens: u32,
    /// SHA-256 of the text.
    pub(crate) text_sha256: Sha256,
    /// SHA-256 of the tasks, where there were any.
    pub(crate) tasks_sha256: Option<Sha256>,
}

/// Evidence was not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// No envelope, too large, another kind of document, or nobody trusted signed it.
    #[error(transparent)]
    Envelope(#[from] DsseError),
    /// Signed, and yet no evidence that is understood here.
    #[error("it is signed, but no evidence that this version reads: {0}")]
    Malformed(String),
}

impl Evidence {
    /// The document of these parts, of the version that is written here.
    #[expect(clippy::too_many_arguments, reason = "the one place where all parts come together")]
    pub(crate) fn new(
        made_at_s: i64,
        build: &str,
        class: HardwareClass,
        model: ModelId,
        origin: FileRow,
        variants: Vec<FileRow>,
        reference: String,
        effort: Effort,
        limits: Limits,
    ) -> Self {
        Self {
            v: VERSION,
            made_at_s,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            build: build.to_owned(),
            class,
            model,
            origin,
            variants,
            reference,
            effort,
            limits,
            runs: Vec::new(),
            qualities: Vec::new(),
            settings: Vec::new(),
            pruned: Vec::new(),
            choice: None,
        }
    }

    /// The choice, if there is one.
    pub(crate) fn chosen(&self) -> Option<&SettingRow> {
        self.settings.get(usize::try_from(self.choice?).ok()?)
    }

    /// The file of a variant.
    pub(crate) fn file(&self, variant: &str) -> Option<&FileRow> {
        self.variants.iter().find(|file| file.variant == variant)
    }

    /// The speeds of a setting.
    pub(crate) fn speed(&self, setting: &Setting) -> Option<&RunFigures> {
        let run = setting.run();
        self.runs.iter().find(|figures| figures.run == run)
    }

    /// The quality of a setting.
    pub(crate) fn quality(&self, setting: &Setting) -> Option<&QualityFigures> {
        self.qualities.iter().find(|figures| figures.variant == setting.variant && figures.kv == setting.kv)
    }

    /// Every measured setting with all that is known of it.
    pub(crate) fn points(&self) -> Vec<Point> {
        let point = |row: &SettingRow| {
            let (speed, quality) = (self.speed(&row.setting)?.clone(), self.quality(&row.setting)?.clone());
            Some(Point { setting: row.setting.clone(), needs_bytes: row.needs_bytes, speed, quality })
        };
        self.settings.iter().filter_map(point).collect()
    }

    /// Signs it.
    pub(crate) fn sign(&self, key: &SigningKey) -> Result<Envelope, Refused> {
        let payload = serde_json::to_vec(self).map_err(|error| Refused::Malformed(error.to_string()))?;
        Ok(Envelope::sign_within(EVIDENCE_BYTES, PAYLOAD_TYPE, &payload, &[key])?)
    }

    /// Reads what one of these keys signed; also gives the envelope, for who vouches for it, too.
    pub(crate) fn open(bytes: &[u8], trusted: &[VerifyingKey]) -> Result<(Self, Envelope), Refused> {
        let envelope = Envelope::parse_within(EVIDENCE_BYTES, bytes)?;
        let payload = envelope.verify(PAYLOAD_TYPE, trusted)?;
        Ok((Self::parse(&payload)?, envelope))
    }

    /// Reads a payload: version, then limits, then that every name in it is known in it.
    fn parse(payload: &[u8]) -> Result<Self, Refused> {
        let malformed = |why: &str| Refused::Malformed(why.to_owned());
        let read: Self = serde_json::from_slice(payload).map_err(|error| malformed(&error.to_string()))?;
        if read.v != VERSION {
            return Err(malformed(&format!("version {}, known is {VERSION}", read.v)));
        }
        let rows = [read.variants.len(), read.runs.len(), read.qualities.len(), read.settings.len(), read.pruned.len()];
        if rows.iter().any(|rows| *rows > MOST_ROWS) {
            return Err(malformed("a list has more than 4,096 rows"));
        }
        let names: BTreeSet<&str> = read.variants.iter().map(|file| file.variant.as_str()).collect();
        if names.len() != read.variants.len() || !names.contains(read.reference.as_str()) {
            return Err(malformed("a variant is named twice, or the reference is none of them"));
        }
        for row in &read.settings {
            if read.file(&row.setting.variant).is_none()
                || read.speed(&row.setting).is_none()
                || read.quality(&row.setting).is_none()
            {
                return Err(malformed("a setting has no file, no speed or no quality"));
            }
        }
        let texts = [&read.agent, &read.build, &read.class.cpu, &read.class.kernels].into_iter();
        let texts = texts
            .chain(names_of(&read))
            .chain(read.settings.iter().map(|row| &row.because))
            .chain(read.pruned.iter().map(|pruned| &pruned.because));
        if texts.into_iter().any(|text| text.len() > TEXT_BYTES || text.contains(char::is_control)) {
            return Err(malformed("a text is too long, or has control characters"));
        }
        if read.choice.is_some() && read.chosen().is_none() {
            return Err(malformed("the choice is none of the settings"));
        }
        Ok(read)
    }

    /// Why it does not hold for a box of this class and build with this file; empty if it does.
    pub(crate) fn differences(&self, class: &HardwareClass, build: &str, origin: &FileRow) -> Vec<String> {
        let mut found = self.class.differences(class);
        if self.build != build {
            found.push(format!("build of the kernels: measured with `{}`, this agent has `{build}`", self.build));
        }
        if self.origin.sha256 != origin.sha256 {
            let (theirs, own) = (self.origin.sha256, origin.sha256);
            found.push(format!("file: measured was the one with SHA-256 {theirs}, this one has {own}"));
        }
        found
    }
}

fn names_of(read: &Evidence) -> impl Iterator<Item = &String> {
    let files = read.variants.iter().map(|file| &file.variant).chain([&read.origin.variant]);
    let disturbances = read.runs.iter().flat_map(|figures| &figures.disturbed_by);
    files.chain(&read.class.kinds).chain(disturbances).chain(read.pruned.iter().map(|pruned| &pruned.setting.variant))
}

#[cfg(test)]
pub(crate) mod tests;
