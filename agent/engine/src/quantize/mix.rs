//! Which format each tensor gets in each quantisation.

use super::Quantisation;
use crate::gguf::Format;

/// Matrices with fewer weights stay as they are wide: nothing is won by making them small.
const SMALL: u64 = 4_096;
/// Tables that BERT adds to its embedding: read once per token, never multiplied.
const ADDED: &[&str] = &["position_embd.weight", "token_types.weight"];

/// The format of every tensor, in the order of the file: each by its name and dimensions.
pub(crate) fn formats(tensors: &[(&str, &[u64])], to: Quantisation) -> Vec<Format> {
    let tied = tensors.iter().all(|(name, _)| *name != "output.weight");
    let layers = tensors.iter().filter_map(|(name, _)| part_of_layer(name)).map(|(layer, _)| layer + 1);
    let layers = layers.max().unwrap_or(0);
    tensors.iter().map(|(name, shape)| format(name, shape, to, tied, layers)).collect()
}

/// Norms and biases are a thousandth of the bytes and steer everything: they stay F32.
fn format(name: &str, shape: &[u64], to: Quantisation, tied: bool, layers: u64) -> Format {
    if !is_made_smaller(name, shape) {
        return Format::F32;
    }
    fitting(wanted(name, to, tied, layers), shape[0])
}

/// Whether a tensor is a matrix whose format is chosen; all others stay F32.
pub(super) fn is_made_smaller(name: &str, shape: &[u64]) -> bool {
    let is_matrix = shape.len() == 2 && name.ends_with(".weight");
    let weights = shape.iter().fold(1, |weights: u64, dimension| weights.saturating_mul(*dimension));
    is_matrix && weights >= SMALL && !ADDED.contains(&name)
}

/// The formats that a matrix with such rows may have in a mix, the smallest first. Of formats with whole scales under one,
/// those of 32 weights are larger for what they lose, but Q4_0: models are trained for it.
pub(super) fn mixable(columns: u64) -> &'static [Format] {
    match columns {
        columns if columns.is_multiple_of(256) => {
            &[Format::Q4_K, Format::Q4_0, Format::Q5_K, Format::Q6_K, Format::Q8_0, Format::F16]
        }
        columns if columns.is_multiple_of(32) => &[Format::Q4_0, Format::Q5_0, Format::Q5_1, Format::Q8_0, Format::F16],
        _ => &[Format::F16],
    }
}

/// Embedding and output keep more bits in the small variants: every token passes through them, and they suffer most.
///
/// Q4_K_M and TQ2_0 mix as `llama.cpp` does: the output, or an embedding that serves as output too, in Q6_K; in Q4_K_M,
/// the layers that `keeps_more_bits` names have values and the way down in Q6_K, and fused attention is in Q5_K.
fn wanted(name: &str, to: Quantisation, tied: bool, layers: u64) -> Format {
    let is_output = name == "output.weight" || (tied && name == "token_embd.weight");
    let is_table = name == "output.weight" || name == "token_embd.weight";
    match (to, part_of_layer(name)) {
        (Quantisation::Q5_1 | Quantisation::Q4_0, _) if is_table => Format::Q8_0,
        (Quantisation::Q4_K_M | Quantisation::TQ2_0, _) if is_output => Format::Q6_K,
        (Quantisation::TQ2_0, _) if is_table => Format::Q4_K,
        (Quantisation::Q4_K_M, Some((_, "attn_qkv"))) => Format::Q5_K,
        (Quantisation::Q4_K_M, Some((layer, "attn_v" | "ffn_down"))) if keeps_more_bits(layer, layers) => Format::Q6_K,
        _ => to.format(),
    }
}

/// The first and the last eighth of the layers, and every third between.
fn keeps_more_bits(layer: u64, layers: u64) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// Rows that are no whole blocks get the next format that fits, as in `llama.cpp`.
fn fitting(wanted: Format, columns: u64) -> Format {
    let smaller_blocks = match wanted {
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        Format::Q6_K => Format::Q8_0,
        Format::TQ2_0 => Format::Q4_0,
        other => other,
    };
    let fits = |format: &Format| columns.is_multiple_of(format.block_weights());
    [wanted, smaller_blocks].into_iter().find(fits).unwrap_or(Format::F16)
}

/// Layer and part of a name like `blk.3.ffn_down.weight`.
fn part_of_layer(name: &str) -> Option<(u64, &str)> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, rest.strip_suffix(".weight")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_of_q4_k_m_is_that_of_llama_cpp() {
        let more: Vec<u64> = (0..28).filter(|layer| keeps_more_bits(*layer, 28)).collect();
        assert_eq!(more, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]);
        let wanted = |name, tied| wanted(name, Quantisation::Q4_K_M, tied, 28);
        assert_eq!(wanted("token_embd.weight", true), Format::Q6_K);
        assert_eq!(wanted("token_embd.weight", false), Format::Q4_K);
        assert_eq!(wanted("output.weight", false), Format::Q6_K);
        assert_eq!(wanted("blk.5.attn_v.weight", true), Format::Q6_K);
        assert_eq!(wanted("blk.6.attn_v.weight", true), Format::Q4_K);
        assert_eq!(wanted("blk.27.ffn_down.weight", true), Format::Q6_K);
        assert_eq!(wanted("blk.27.ffn_up.weight", true), Format::Q4_K);
        assert_eq!(wanted("blk.3.attn_qkv.weight", true), Format::Q5_K);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_a_format_that_fits() {
        assert_eq!(fitting(Format::Q4_K, 512), Format::Q4_K);
        assert_eq!(fitting(Format::Q4_K, 96), Format::Q5_0);
        assert_eq!(fitting(Format::Q6_K, 96), Format::Q8_0);
        assert_eq!(fitting(Format::TQ2_0, 96), Format::Q4_0);
        assert_eq!(fitting(Format::Q4_K, 100), Format::F16);
        assert_eq!(fitting(Format::Q8_0, 100), Format::F16);
    }
}
