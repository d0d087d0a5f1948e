//! Well-known models, told by their shapes, so that a fresh box can plan before anybody gave it a file or a network.

use std::cmp::Reverse;

use anyhow::{Context, Result};
use outpost_contract::{ModelId, TargetName, VariantFacts};
use outpost_engine::shape::Shape;
use outpost_planner::{Candidate, Class};
use serde::{Deserialize, Serialize};

use crate::facts;

/// The data, part of the program.
const MODELS: &str = include_str!("curated/models.toml");

/// One well-known model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Curated {
    /// Its name in a catalogue.
    pub(crate) id: ModelId,
    /// Its name for people.
    pub(crate) name: String,
    /// Who publishes it, as `OWNER/REPO` of the hub.
    pub(crate) source: String,
    /// SPDX identifier in lower case, or the licence's own name.
    pub(crate) licence: String,
    /// How conversations are written for it.
    pub(crate) template: String,
    /// What a model of its size is for.
    #[serde(rename = "use")]
    pub(crate) recommended: Use,
    /// Number of weights.
    pub(crate) parameters: u64,
    /// Quantisations that it is offered in.
    variants: Vec<String>,
    /// Files of it whose size is known.
    #[serde(default)]
    pub(crate) known: Vec<Known>,
    shape: Shape,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    /// Phones and boards with few GiB.
    Mobile,
    /// A mini PC or a laptop.
    Desktop,
    /// A machine with 16 GiB and more.
    Workstation,
}

impl Use {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Desktop => "desktop",
            Self::Workstation => "workstation",
        }
    }
}

/// A published file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    variant: String,
    file_bytes: u64,
    source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    model: Vec<Curated>,
}

/// All of them, in the order of the data.
///
/// # Errors
/// If this program's own data is broken; a test sees to it that it is not.
pub(crate) fn models() -> Result<Vec<Curated>> {
    let document: Document = toml::from_str(MODELS).context("the list of well-known models cannot be read")?;
    Ok(document.model)
}

impl Curated {
    /// Whether it makes vectors instead of answers.
    pub(crate) fn is_embedder(&self) -> bool {
        self.shape.architecture == "bert"
    }

    /// The repository that has files of it in a form that is served here, as `OWNER/REPO`; none if none is known.
    pub(crate) fn files_at(&self) -> Option<&str> {
        self.known.first().map(|known| known.source.as_str())
    }

    /// Its class of size.
    pub(crate) fn class(&self) -> Class {
        Class::of(self.parameters)
    }

    /// Its variants for the planner, the one closest to the original first.
    ///
    /// # Errors
    /// As [`models`].
    pub(crate) fn candidates(&self) -> Result<Vec<Candidate>> {
        let candidates: Result<Vec<_>> = self.variants.iter().map(|variant| self.candidate(variant)).collect();
        let mut candidates = candidates?;
        // By bits, not by name: where a vocabulary is most of a model, tables decide which variant is larger.
        candidates.sort_by_key(|candidate| Reverse(candidate.facts.quality_milli));
        Ok(candidates)
    }

    fn candidate(&self, variant: &str) -> Result<Candidate> {
        let broken = || format!("the list of well-known models is wrong about `{}` in {variant}", self.id);
        let info = self.shape.info(variant).with_context(broken)?;
        let facts = facts::variant(self.id.clone(), 1, &info);
        // The publisher's own file of a known variant is what would be fetched.
        let known = self.known.iter().find(|known| known.variant == variant);
        let file_bytes = known.map_or(facts.file_bytes, |known| known.file_bytes);
        let mut facts = VariantFacts { file_bytes, ..facts };
        facts.model.licence.clone_from(&self.licence);
        let target: TargetName = format!("{}.{variant}", self.id).parse().with_context(broken)?;
        Ok(Candidate { target, facts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_the_parameters_that_its_publisher_counts() {
        for model in models().expect("the list is whole") {
            for candidate in model.candidates().expect("its shape is sound") {
                assert_eq!(candidate.facts.model.parameters, model.parameters, "{}", candidate.target);
                assert_eq!(candidate.facts.model.licence, model.licence);
            }
        }
    }

    #[test]
    fn every_file_whose_size_is_known_is_computed_within_one_in_a_hundred() {
        let mut compared = 0;
        for model in models().expect("the list is whole") {
            for known in &model.known {
                let computed = model.shape.info(&known.variant).expect("its shape is sound").file_bytes;
                let off = computed.abs_diff(known.file_bytes);
                assert!(
                    off * 100 <= known.file_bytes,
                    "{} {}: {computed} of {}",
                    model.id,
                    known.variant,
                    known.source
                );
                assert!(model.variants.contains(&known.variant), "{} offers what is known of it", model.id);
                compared += 1;
            }
        }
        assert!(compared >= 11, "only {compared} are known");
    }

    #[test]
    fn every_entry_is_told_apart_and_spoken_of_in_words_that_are_known() {
        let models = models().expect("the list is whole");
        let ids: std::collections::BTreeSet<_> = models.iter().map(|model| &model.id).collect();
        assert_eq!(ids.len(), models.len());
        for model in &models {
            assert!(model.variants.iter().all(|variant| Shape::knows(variant)), "{}", model.id);
            assert!(!model.name.is_empty() && model.source.contains('/') && !model.template.is_empty());
            let bits: Vec<u32> =
                model.candidates().expect("sound").iter().map(|candidate| candidate.facts.quality_milli).collect();
            assert!(bits.is_sorted_by(|larger, smaller| larger >= smaller), "{}: {bits:?}", model.id);
        }
        let class = |id: &str| models.iter().find(|model| model.id.as_str() == id).map(Curated::class);
        assert_eq!(class("qwen3-0.6b"), Some(Class::Micro));
        assert_eq!(class("llama-3-8b"), Some(Class::Small));
        assert_eq!(class("all-minilm-l6-v2"), Some(Class::Tiny));
    }
}
