//! A made-up model, for catalogues of which only names and lengths matter; the tests of other crates have it as a module, too.

use outpost_contract::{GoldenPrompts, ModelFacts, VariantFacts};

/// What is said of the model `name` and its one variant, a file of so many bytes.
///
/// # Panics
/// If that is no name of a model.
#[must_use]
pub fn small_variant(name: &str, bytes: u64) -> VariantFacts {
    let model = ModelFacts {
        model: name.parse().expect("a model's name"),
        architecture: "llama".to_owned(),
        licence: "Apache-2.0".to_owned(),
        parameters: bytes,
        context_tokens: 512,
        layers: 2,
        embedding_length: 64,
        vocabulary: 256,
        kv_elements_per_layer: 64,
        feed_forward_length: 128,
        query_elements: 64,
    };
    VariantFacts {
        release: 0,
        model,
        quantisation: "Q8_0".to_owned(),
        file_bytes: bytes,
        weight_bytes: bytes,
        quality_milli: 8_500,
        golden: GoldenPrompts::default(),
        origin: None,
        footprint: None,
    }
}
