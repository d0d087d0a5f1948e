//! `outpost model inspect`: what a GGUF file is and what it would cost here, without trusting it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use outpost_contract::{GoldenPrompts, VariantFacts};
use outpost_engine::gguf::{Gguf, ModelInfo};
use outpost_engine::quantize::calibrated::{Provenance, bytes_by_format, provenance};
use outpost_planner::{Class, KvType, Needs, Setting, needs};
use serde_json::{Value, json};

use super::tensors::{self, Group};
use super::{Here, open, say, say_json};
use crate::facts;

/// Context lengths for which the memory is told, tokens; those beyond the model's own are left out, its own is added.
const CONTEXTS: [u32; 6] = [512, 2_048, 4_096, 8_192, 32_768, 131_072];

/// Longest name of a sample that is shown, characters.
const SHOWN: usize = 96;

pub(super) fn run(here: &Here, file: &Path, golden: GoldenPrompts) -> Result<()> {
    let gguf = open(file)?;
    let info = gguf.info();
    let facts = VariantFacts { golden, ..facts::variant(facts::model_id(file, &info)?, 1, &info) };
    let backends = outpost_engine::backends();
    if here.json {
        let path = std::path::absolute(file).context("cannot resolve the file's path")?;
        let memory: Vec<_> = memory(&facts).iter().map(|(context, needs)| memory_json(*context, needs)).collect();
        return say_json(&json!({
            "path": path, "info": info, "class": Class::of(info.parameters).to_string(), "facts": facts,
            "cuts": facts::cuts(&gguf), "memory": memory, "backends": backends, "sample": provenance(&gguf),
            "tensors": tensors::json(&gguf),
        }));
    }
    for (name, value) in rows(&gguf, &info, &facts) {
        say(format!("{name:<14} {value}"))?;
    }
    say(format!("{:<14} {}", "backends", backends.join(", ")))?;
    for golden in facts.golden.as_slice() {
        say(format!("{:<14} {:?} is continued with {:?}", "golden", golden.prompt, golden.answer))?;
    }
    say("\nmemory for one conversation of   weights      cache    buffers      total")?;
    for (context, needs) in memory(&facts) {
        let buffers = needs.compute_bytes + needs.tokenizer_bytes;
        let parts = [needs.weight_bytes, needs.kv_bytes, buffers, needs.weight_bytes + needs.kv_bytes + buffers];
        let columns = parts.map(|bytes| format!("{:>7} MiB", bytes.div_ceil(1 << 20)));
        say(format!("{context:>24} tokens {}", columns.join("")))?;
    }
    say(format!("\n{:<40} {:>4}  {:<20} {:<8} {:>12}", "tensor", "n", "shape", "format", "bytes"))?;
    for Group { name, count, shape, format, bytes } in tensors::groups(&gguf) {
        say(format!("{name:<40} {count:>4}  {shape:<20} {format:<8} {bytes:>12}"))?;
    }
    Ok(())
}

/// What describes a file in one line each.
pub(super) fn rows(gguf: &Gguf, info: &ModelInfo, facts: &VariantFacts) -> Vec<(&'static str, String)> {
    let bits = format!("{}.{:03} bits per weight", facts.quality_milli / 1000, facts.quality_milli % 1000);
    vec![
        ("name", info.name.clone()),
        ("architecture", info.architecture.clone()),
        ("class", format!("{} ({} parameters)", Class::of(info.parameters), info.parameters)),
        ("quantisation", format!("{} ({bits})", info.quantisation)),
        ("formats", formats(gguf)),
        ("sample", sample(gguf)),
        ("licence", if info.licence.is_empty() { "not named".into() } else { info.licence.clone() }),
        ("context", format!("{} tokens", info.context_tokens)),
        ("layers", info.layers.to_string()),
        ("embedding", info.embedding_length.to_string()),
        ("vocabulary", info.vocabulary.to_string()),
        ("file", format!("{} bytes, {} of them weights", info.file_bytes, info.weight_bytes)),
        ("tensors", gguf.tensors().len().to_string()),
        ("kernels", kernels(gguf)),
    ]
}

/// How the bytes of the weights are shared between formats.
fn formats(gguf: &Gguf) -> String {
    let bytes = bytes_by_format(gguf);
    let all = bytes.iter().map(|(_, bytes)| bytes).sum::<u64>().max(1);
    let shares =
        bytes.iter().map(|(format, bytes)| format!("{} {:.1} %", format.name(), *bytes as f64 * 100.0 / all as f64));
    shares.collect::<Vec<_>>().join(", ")
}

/// The text that the file was made with. What a stranger's file says of it is shown escaped.
fn sample(gguf: &Gguf) -> String {
    let Some(Provenance { sample, tokens, divergence, budget_bytes }) = provenance(gguf) else {
        return "none: made by rule".to_owned();
    };
    let id: String = sample.chars().take(SHOWN).collect();
    let mixed = budget_bytes.map(|bytes| format!("mixed for {bytes} bytes, ")).unwrap_or_default();
    format!("{mixed}{tokens} tokens of {}, {divergence:.6} nats per token from its original", id.escape_debug())
}

/// Which of the file's formats are computed slowly.
fn kernels(gguf: &Gguf) -> String {
    let matrices = gguf.tensors().iter().filter(|tensor| tensor.shape.len() > 1 && !tensor.format.has_kernel());
    let names: BTreeSet<&str> = matrices.map(|tensor| tensor.format.name()).collect();
    if names.is_empty() {
        return "for all of its formats".to_owned();
    }
    let names: Vec<&str> = names.into_iter().collect();
    format!("none for {}: its products take several times longer; another variant is faster", names.join(", "))
}

/// What one conversation needs at each context length.
fn memory(facts: &VariantFacts) -> Vec<(u32, Needs)> {
    let trained = facts.model.context_tokens;
    let mut contexts: Vec<u32> = CONTEXTS.into_iter().filter(|context| *context < trained).collect();
    contexts.push(trained);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = u32::try_from(threads).unwrap_or(u32::MAX);
    let setting = |context_tokens| Setting { context_tokens, slots: 1, threads, kv_type: KvType::default() };
    contexts.into_iter().map(|context| (context, needs(facts, &setting(context)))).collect()
}

fn memory_json(context_tokens: u32, needs: &Needs) -> Value {
    json!({
        "context_tokens": context_tokens, "weight_bytes": needs.weight_bytes, "kv_bytes": needs.kv_bytes,
        "compute_bytes": needs.compute_bytes, "tokenizer_bytes": needs.tokenizer_bytes,
        "total_bytes": needs.weight_bytes + needs.kv_bytes + needs.compute_bytes + needs.tokenizer_bytes,
    })
}
