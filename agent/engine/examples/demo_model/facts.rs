//! What the demo model is to know: facts with their answers and questions, and the held-out phrasings that judge it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// One thing worth knowing about Outpost.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fact {
    /// Short name that the held-out file refers to.
    pub(crate) id: String,
    /// One or two short sentences.
    pub(crate) answer: String,
    /// Words that an answer carries only if it states this fact.
    pub(crate) proof: Vec<String>,
    /// How often the fact is asked in training, against 1 for an ordinary one.
    #[serde(default = "ordinary")]
    pub(crate) weight: usize,
    pub(crate) questions: Vec<String>,
}

/// One phrasing that training never sees.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldOut {
    pub(crate) question: String,
    /// The fact that a right answer states.
    pub(crate) fact: String,
    /// Words that the right answer must carry, each of them, without regard to case.
    pub(crate) proof: Vec<String>,
}

/// One phrasing with what a model said to it.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) right: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactsFile {
    fact: Vec<Fact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeldOutFile {
    phrasing: Vec<HeldOut>,
}

fn ordinary() -> usize {
    1
}

/// Reads the facts and checks that each answer carries its own proof.
pub(crate) fn read_facts(path: &Path) -> Result<Vec<Fact>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the facts of `{}`", path.display()))?;
    let file: FactsFile = toml::from_str(&text).with_context(|| format!("cannot understand `{}`", path.display()))?;
    for fact in &file.fact {
        ensure!(
            carries(&fact.answer, &fact.proof),
            "the answer of fact `{}` lacks its own proof {:?}",
            fact.id,
            fact.proof
        );
    }
    Ok(file.fact)
}

/// Reads the held-out phrasings.
pub(crate) fn read_held_out(path: &Path) -> Result<Vec<HeldOut>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the phrasings of `{}`", path.display()))?;
    let file: HeldOutFile = toml::from_str(&text).with_context(|| format!("cannot understand `{}`", path.display()))?;
    Ok(file.phrasing)
}

/// Whether an answer holds every word of the proof, without regard to case.
pub(crate) fn carries(answer: &str, proof: &[String]) -> bool {
    let answer = answer.to_lowercase();
    proof.iter().all(|word| answer.contains(&word.to_lowercase()))
}
