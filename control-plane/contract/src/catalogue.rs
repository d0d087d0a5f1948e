//! What the catalogue says of each target, beside its length and digest (TUF `custom`; integers only, no floats).

use serde::{Deserialize, Serialize};

use crate::{BuildVersion, GoldenPrompts, ModelId, Sha256, Signer, Triple};

/// The `custom` object of a catalogue target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetKind {
    /// The target is a [`crate::Manifest`] of one variant of a model.
    Variant(VariantFacts),
    /// The target is a policy bundle, plain or sealed.
    Policy(PolicyFacts),
    /// The target is the [`Authority`] document.
    Authority {
        /// Counts releases; never goes down on a device.
        release: u64,
    },
    /// The target is a [`crate::Manifest`] of a build of the agent.
    Agent(AgentFacts),
}

impl TargetKind {
    /// What `kind` can say in this release; later ones may know more.
    pub const NAMES: [&str; 4] = ["variant", "policy", "authority", "agent"];

    /// The counter that may never go down for a target's name on a device.
    #[must_use]
    pub fn release(&self) -> u64 {
        match self {
            Self::Variant(facts) => facts.release,
            Self::Policy(facts) => facts.release,
            Self::Authority { release } => *release,
            Self::Agent(facts) => facts.release,
        }
    }
}

/// Facts about a model that all its variants share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// The model.
    pub model: ModelId,
    /// GGUF `general.architecture`.
    pub architecture: String,
    /// SPDX identifier.
    pub licence: String,
    /// Number of weights.
    pub parameters: u64,
    /// Longest context that the model was trained for, tokens.
    pub context_tokens: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub embedding_length: u32,
    /// Rows of the embedding table.
    pub vocabulary: u32,
    /// Key and value elements per token in one layer: `kv_heads * (key_length + value_length)`.
    pub kv_elements_per_layer: u32,
    /// Width of the feed-forward layer.
    pub feed_forward_length: u32,
    /// Query heads times key length.
    pub query_elements: u32,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantFacts {
    /// Counts releases of this target; never goes down on a device.
    pub release: u64,
    /// What is true of the model whatever its quantisation.
    pub model: ModelFacts,
    /// Quantisation, as in `Q4_0`.
    pub quantisation: String,
    /// Bytes of the GGUF file.
    pub file_bytes: u64,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Quality order within the model: the higher, the closer to the original. Bits per weight times 1,000.
    pub quality_milli: u32,
    /// Questions whose greedy answers were known when this was released; a device asks them before the file may serve.
    #[serde(default, skip_serializing_if = "GoldenPrompts::is_empty")]
    pub golden: GoldenPrompts,
    /// Where the file came from; none for one that somebody had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
    /// What the engine will hold of it in memory; none where nobody read the file's tensor table, and then the planner
    /// assumes the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footprint: Option<Box<Footprint>>,
}

/// What the engine will hold of a variant in memory, counted from the file's tensor table by the engine's own code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// Bytes of all weights as they are kept: packed for the kernels, or as the file has them where there is none.
    pub weight_bytes: u64,
    /// Bytes of the vocabulary with its indices.
    pub tokenizer_bytes: u64,
    /// Heads of keys and values.
    pub kv_heads: u32,
    /// Elements of a head's key.
    pub key_length: u32,
    /// Elements of a head's value.
    pub value_length: u32,
    /// Elements of what attention answers for one token.
    pub attended_elements: u32,
    /// Pairs of elements that turn with the position, of all tables.
    pub rotary_pairs: u32,
    /// Layers that look through a window.
    pub windowed_layers: u32,
    /// How far those look, tokens; 0 where there are none.
    pub window_tokens: u32,
    /// The matrices that a pass multiplies with, by format; none where they were not counted, and then the planner takes all
    /// weights to be in one format.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matrices: Vec<Matrices>,
}

/// The matrices of one format that a pass multiplies with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrices {
    /// Block format, as in `Q6_K`.
    pub format: String,
    /// Weights of the layers: as many multiply-adds for each token.
    pub layer_weights: u64,
    /// Bytes of these.
    pub layer_bytes: u64,
    /// Bytes of the output matrix, which only tokens pass that something is chosen after.
    pub output_bytes: u64,
}

/// Where a model file came from, as the one who fetched it found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The source, as in `https://huggingface.co/OWNER/REPO`; never with a secret in it.
    pub source: String,
    /// The commit that was fetched, 40 hexadecimal digits.
    pub revision: String,
    /// The file's path there.
    pub path: String,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// When it was fetched, seconds since 1970-01-01 UTC.
    pub fetched_s: i64,
    /// Who fetched it.
    pub fetched_by: String,
    /// Models that this one was made from, as its card says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub base_models: Vec<String>,
    /// Words that its card is found by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A policy bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFacts {
    /// Counts releases of this target; never goes down on a device.
    pub release: u64,
    /// The bundle's own version, as it stands inside the bundle.
    pub version: u64,
}

/// A build of the agent: one program, of one version, for one kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentFacts {
    /// Counts releases of this target; never goes down on a device.
    pub release: u64,
    /// Its version; the program must say the same of itself before it is run.
    pub version: BuildVersion,
    /// What it was built for.
    pub target: Triple,
    /// The form of the state directory that it writes: a device whose state is newer does not take it.
    pub state_format: u32,
}

/// Who may sign what else: a target of the catalogue, so only the offline keys can change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Version of this form; 1.
    pub v: u32,
    /// Ed25519 public keys (64 hexadecimal digits) whose signature a desired state may carry.
    pub director_keys: Vec<String>,
    /// Who may issue tokens for people and services.
    pub token_issuers: Vec<TokenIssuer>,
    /// Whose signatures count on policy bundles, lists of locks and overrides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<Signer>,
}

/// One issuer of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenIssuer {
    /// The `iss` claim, compared exactly.
    pub issuer: String,
    /// The `aud` claim that its tokens must carry.
    pub audience: String,
    /// The `kid` header.
    pub key_id: String,
    /// Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_kinds_are_those_that_are_read() {
        let unknown = serde_json::from_str::<TargetKind>(r#"{"kind": "firmware"}"#).unwrap_err().to_string();
        let names = TargetKind::NAMES.map(|name| format!("`{name}`")).join(", ");
        assert!(unknown.contains(&format!("expected one of {names} at ")), "{unknown}");
    }
}
