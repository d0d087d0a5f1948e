//! BitNet b1.58: dense, as master weights that are rounded when loaded, or packed with one scale per matrix.

use super::{
    Description, Family, OUTER, Ternary, Treatment, decoder, head_length, keep, part, plain_decoder, rope_keys,
};
use crate::convert::ConvertError;
use crate::convert::config::{Config, unsupported};
use crate::convert::directory::Directory;
use crate::convert::rope::{Rope, Stretch};
use crate::gguf::Value;

const fn ternary(from: &'static str, to: &'static str) -> super::Part {
    part(from, to, Treatment::Ternary)
}

pub(super) const FAMILY: Family = Family {
    names: &["BitNetForCausalLM", "bitnet"],
    architecture: "bitnet",
    prefixes: &["model."],
    unused: &[],
    outer: OUTER,
    layer: "layers.",
    inner: &[
        keep("input_layernorm", "attn_norm"),
        ternary("self_attn.q_proj", "attn_q"),
        ternary("self_attn.k_proj", "attn_k"),
        ternary("self_attn.v_proj", "attn_v"),
        keep("self_attn.attn_sub_norm", "attn_sub_norm"),
        ternary("self_attn.o_proj", "attn_output"),
        keep("post_attention_layernorm", "ffn_norm"),
        ternary("mlp.gate_proj", "ffn_gate"),
        ternary("mlp.up_proj", "ffn_up"),
        keep("mlp.ffn_sub_norm", "ffn_sub_norm"),
        ternary("mlp.down_proj", "ffn_down"),
    ],
    biases: false,
    describe,
};

fn describe(config: &Config, _: &Directory) -> Result<Description, ConvertError> {
    plain_decoder(config, &["relu2"])?;
    let mut description = decoder(config)?;
    let head = head_length(config, description.heads)?;
    let rope = Rope::read(config, "full_attention", 500_000.0)?.whole()?;
    let rope = rope.only(|stretch| *stretch == Stretch::None)?;
    description.keys.extend(rope_keys(&rope));
    description.keys.extend([
        ("rope.dimension_count", Value::U32(head)),
        ("rope.scaling.type", Value::Text("linear".to_owned())),
        ("rope.scaling.factor", Value::F32(1.0)),
    ]);
    description.ternary = storage(config)?;
    Ok(description)
}

/// How the matrices are stored, as `quantization_config` says. Two classes of layer are in use: one multiplies by the number
/// beside the packed weights, the older one divides by it.
fn storage(config: &Config) -> Result<Ternary, ConvertError> {
    let Some(settings) = config.object("quantization_config")? else { return Ok(Ternary::Plain) };
    settings.must_be("quant_method", &["bitnet"], "this family's weights are stored in its own way")?;
    settings.must_not("use_rms_norm", "no graph here has a norm inside of every matrix")?;
    let mode = settings.text("quantization_mode")?.unwrap_or("offline");
    match (settings.text("linear_class")?.unwrap_or("bitlinear"), mode) {
        ("autobitlinear", "online") => Ok(Ternary::Master),
        ("autobitlinear", "offline") => Ok(Ternary::Multiplied),
        ("bitlinear", _) => Ok(Ternary::Divided),
        (class, mode) => Err(unsupported("quantization_config", format!("{class}, {mode}"), "this is not known here")),
    }
}
