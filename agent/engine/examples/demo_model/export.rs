//! Writes the trained weights and the vocabulary as one GGUF, named as `llama.cpp` names a Qwen3 model.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use candle_core::{DType, Tensor};
use outpost_engine::gguf::write::{Outline, write};
use outpost_engine::gguf::{Array, Format, Value};
use serde::Deserialize;

use super::network::{CONTEXT, EPSILON, FEED_FORWARD, HEAD_WIDTH, HEADS, KEY_HEADS, LAYERS, Network, ROPE_BASE, WIDTH};
use super::vocabulary::{END_OF_TEXT, TURN_END, TURN_START, Vocabulary};

/// ChatML: each message in its turn, then the opening of the assistant's.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
                        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
/// `tokenizer.ggml.token_type`: text, and a token with a meaning of its own.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
/// `general.file_type` of files that are mostly F16.
const MOSTLY_F16: u32 = 1;

/// Matrices as F16, norms as F32.
pub(crate) fn export(network: &Network, vocabulary: &Vocabulary, path: &Path) -> Result<()> {
    let tensors = network.tensors()?;
    let format = |tensor: &Tensor| if tensor.rank() == 1 { Format::F32 } else { Format::F16 };
    let outline = Outline {
        metadata: metadata(vocabulary)?,
        tensors: tensors
            .iter()
            .map(|(name, tensor)| {
                // GGUF counts the fastest-running dimension first.
                let shape = tensor.dims().iter().rev().map(|size| *size as u64).collect();
                (name.clone(), shape, format(tensor))
            })
            .collect(),
    };
    let mut file = std::io::BufWriter::new(
        std::fs::File::create(path).with_context(|| format!("cannot make `{}`", path.display()))?,
    );
    write(&mut file, &outline, |index, bytes| {
        bytes_of(&tensors[index].1, bytes).map_err(|error| std::io::Error::other(error.to_string()))
    })
    .with_context(|| format!("cannot write `{}`", path.display()))?;
    std::io::Write::flush(&mut file).with_context(|| format!("cannot write `{}`", path.display()))
}

fn bytes_of(tensor: &Tensor, bytes: &mut Vec<u8>) -> Result<()> {
    let flat = tensor.flatten_all()?;
    if tensor.rank() == 1 {
        bytes.extend(flat.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes));
    } else {
        bytes.extend(flat.to_dtype(DType::F16)?.to_vec1::<half::f16>()?.into_iter().flat_map(half::f16::to_le_bytes));
    }
    Ok(())
}

fn metadata(vocabulary: &Vocabulary) -> Result<Vec<(String, Value)>> {
    let text = |value: &str| Value::Text(value.to_owned());
    let count = |value: usize| u32::try_from(value).map(Value::U32).context("a figure of the model is above 2^32");
    let special = |name: &str| {
        vocabulary
            .tokenizer()
            .token_to_id(name)
            .map(Value::U32)
            .with_context(|| format!("the vocabulary has no `{name}`"))
    };
    let tokens = (0..vocabulary.size() as u32)
        .map(|id| vocabulary.tokenizer().id_to_token(id).with_context(|| format!("the vocabulary has no token {id}")))
        .collect::<Result<Vec<_>>>()?;
    let types = tokens
        .iter()
        .map(|token| if [END_OF_TEXT, TURN_START, TURN_END].contains(&token.as_str()) { CONTROL } else { NORMAL });
    let entries = vec![
        ("general.architecture", text("qwen3")),
        ("general.type", text("model")),
        ("general.name", text("Outpost Demo")),
        (
            "general.description",
            text(
                "A demo: a few million parameters, trained only to answer questions about Outpost. It knows nothing else.",
            ),
        ),
        ("general.license", text("Apache-2.0")),
        ("general.size_label", text("5M")),
        ("general.languages", Value::Array(Array::Text(vec!["en".to_owned()]))),
        ("general.file_type", Value::U32(MOSTLY_F16)),
        ("qwen3.block_count", count(LAYERS)?),
        ("qwen3.context_length", count(CONTEXT)?),
        ("qwen3.embedding_length", count(WIDTH)?),
        ("qwen3.feed_forward_length", count(FEED_FORWARD)?),
        ("qwen3.attention.head_count", count(HEADS)?),
        ("qwen3.attention.head_count_kv", count(KEY_HEADS)?),
        ("qwen3.attention.key_length", count(HEAD_WIDTH)?),
        ("qwen3.attention.value_length", count(HEAD_WIDTH)?),
        ("qwen3.attention.layer_norm_rms_epsilon", Value::F32(EPSILON)),
        ("qwen3.rope.freq_base", Value::F32(ROPE_BASE)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("qwen2")),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types.collect()))),
        ("tokenizer.ggml.tokens", Value::Array(Array::Text(tokens))),
        ("tokenizer.ggml.merges", Value::Array(Array::Text(merges(vocabulary)?))),
        ("tokenizer.ggml.eos_token_id", special(TURN_END)?),
        ("tokenizer.ggml.bos_token_id", special(END_OF_TEXT)?),
        ("tokenizer.ggml.padding_token_id", special(END_OF_TEXT)?),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text(TEMPLATE)),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The merges in order of their rank, as `left right`.
fn merges(vocabulary: &Vocabulary) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(Deserialize)]
    struct Model {
        merges: Vec<(String, String)>,
    }
    let Ok(json) = vocabulary.tokenizer().to_string(false) else { bail!("the vocabulary cannot be written as JSON") };
    let file: File = serde_json::from_str(&json).context("cannot read the merges of the vocabulary")?;
    Ok(file.model.merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect())
}
