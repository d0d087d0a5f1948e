//! BERT and its sentence embedders, in the layout of sentence-transformers: `modules.json` says what follows the encoder.

use serde_json::Value as Json;

use super::{Description, Family, LAYERS, MOST, Treatment, keep, part};
use crate::convert::ConvertError;
use crate::convert::config::{Config, unsupported};
use crate::convert::directory::Directory;
use crate::gguf::Value;

const MODULES: &str = "modules.json";

pub(super) const FAMILY: Family = Family {
    names: &["BertModel", "BertForMaskedLM", "bert"],
    architecture: "bert",
    prefixes: &["bert."],
    unused: &["embeddings.position_ids", "bert.embeddings.position_ids", "pooler.", "bert.pooler.", "cls."],
    outer: &[
        keep("embeddings.word_embeddings", "token_embd"),
        part("embeddings.position_embeddings", "position_embd", Treatment::KeepWide),
        part("embeddings.token_type_embeddings", "token_types", Treatment::KeepWide),
        keep("embeddings.LayerNorm", "token_embd_norm"),
    ],
    layer: "encoder.layer.",
    inner: &[
        keep("attention.self.query", "attn_q"),
        keep("attention.self.key", "attn_k"),
        keep("attention.self.value", "attn_v"),
        keep("attention.output.dense", "attn_output"),
        keep("attention.output.LayerNorm", "attn_output_norm"),
        keep("intermediate.dense", "ffn_up"),
        keep("output.dense", "ffn_down"),
        keep("output.LayerNorm", "layer_output_norm"),
    ],
    biases: true,
    describe,
};

fn describe(config: &Config, directory: &Directory) -> Result<Description, ConvertError> {
    config.must_be("hidden_act", &["gelu"], "the family's feed-forward bends otherwise")?;
    config.must_be("position_embedding_type", &["absolute"], "positions are rows of a table in this family")?;
    config.must_not("is_decoder", "an embedder sees the whole text")?;
    let count = |key: &str| config.count(key, MOST);
    let (layers, heads) = (config.count("num_hidden_layers", LAYERS)?, count("num_attention_heads")?);
    let (pooling, notes) = pooling(directory)?;
    let keys = vec![
        ("block_count", Value::U32(layers)),
        ("context_length", Value::U32(count("max_position_embeddings")?)),
        ("embedding_length", Value::U32(count("hidden_size")?)),
        ("feed_forward_length", Value::U32(count("intermediate_size")?)),
        ("attention.head_count", Value::U32(heads)),
        ("attention.layer_norm_epsilon", Value::F32(config.optional_number("layer_norm_eps")?.unwrap_or(1e-12) as f32)),
        ("attention.causal", Value::Bool(false)),
        ("pooling_type", Value::U32(pooling)),
    ];
    // There is no table of outputs.
    Ok(Description { keys, layers, heads, kv_heads: heads, tied: true, notes, ..Description::default() })
}

/// The file's number for how the vectors of tokens become one (mean 1, first 2, last 3), from the chain of modules.
fn pooling(directory: &Directory) -> Result<(u32, Vec<String>), ConvertError> {
    let refuse = |why: String| ConvertError::File { path: directory.path(MODULES), why };
    let Json::Array(modules) = directory.json(MODULES)? else {
        return Err(refuse("it is no list of modules".to_owned()));
    };
    let (mut pooling, mut is_normalised) = (None, false);
    for module in &modules {
        let kind = module.get("type").and_then(Json::as_str).unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => {}
            "Pooling" => {
                let folder = module.get("path").and_then(Json::as_str).unwrap_or_default();
                let is_plain = folder.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if folder.is_empty() || !is_plain {
                    return Err(refuse(format!("`{folder}` is not the name of a folder beside it")));
                }
                pooling = Some(kind_of_pooling(directory, &format!("{folder}/config.json"))?);
            }
            "Normalize" => is_normalised = true,
            other => {
                return Err(refuse(format!("module `{other}` follows the encoder, and no graph here computes it")));
            }
        }
    }
    let pooling =
        pooling.ok_or_else(|| refuse("it has no pooling: the vectors of tokens do not become one".to_owned()))?;
    let note = "the model does not bring its vectors to length 1; here they are, which keeps every cosine";
    Ok((pooling, if is_normalised { Vec::new() } else { vec![note.to_owned()] }))
}

fn kind_of_pooling(directory: &Directory, file: &str) -> Result<u32, ConvertError> {
    let settings = directory.json_object(file)?;
    let mut chosen: Vec<&str> = match settings.get("pooling_mode") {
        Some(Json::String(mode)) => vec![mode],
        Some(Json::Array(modes)) => modes.iter().filter_map(Json::as_str).collect(),
        _ => settings
            .iter()
            .filter(|(_, value)| value.as_bool() == Some(true))
            .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
            .collect(),
    };
    match (chosen.pop(), chosen.is_empty()) {
        (Some("mean_tokens" | "mean"), true) => Ok(1),
        (Some("cls_token" | "cls"), true) => Ok(2),
        (Some("lasttoken"), true) => Ok(3),
        (Some(other), true) => Err(unsupported("pooling_mode", other, "mean, first and last token are computed here")),
        _ => Err(unsupported("pooling_mode", "none or several", "exactly one is computed here")),
    }
}
