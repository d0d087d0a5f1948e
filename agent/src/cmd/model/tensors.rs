//! The tensor table of a file, with the tensors that repeat in every layer folded into one line.

use outpost_engine::gguf::{Gguf, TensorEntry};
use serde_json::{Value, json};

/// Tensors that are alike but for their layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The name, with `*` for the layer.
    pub(super) name: String,
    /// How many.
    pub(super) count: usize,
    /// Dimensions, fastest-running first.
    pub(super) shape: String,
    /// Format, as in `Q4_0`.
    pub(super) format: &'static str,
    /// Bytes of all of them.
    pub(super) bytes: u64,
}

/// The table in the order of first appearance.
pub(super) fn groups(gguf: &Gguf) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for tensor in gguf.tensors() {
        let (name, shape) = (folded(&tensor.name), shape(tensor));
        let alike =
            |group: &&mut Group| group.name == name && group.shape == shape && group.format == tensor.format.name();
        let bytes = tensor.range.len() as u64;
        match groups.iter_mut().find(alike) {
            Some(group) => {
                group.count += 1;
                group.bytes += bytes;
            }
            None => groups.push(Group { name, count: 1, shape, format: tensor.format.name(), bytes }),
        }
    }
    groups
}

/// Every tensor.
pub(super) fn json(gguf: &Gguf) -> Vec<Value> {
    let one = |tensor: &TensorEntry| {
        json!({
            "name": tensor.name, "shape": tensor.shape, "format": tensor.format.name(),
            "offset": tensor.range.start, "bytes": tensor.range.len(),
        })
    };
    gguf.tensors().iter().map(one).collect()
}

fn shape(tensor: &TensorEntry) -> String {
    tensor.shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ")
}

/// `blk.7.attn_q.weight` → `blk.*.attn_q.weight`. What a stranger's file writes into a name is shown escaped.
fn folded(name: &str) -> String {
    let parts = name.split('.').map(|part| match part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty() {
        true => "*".to_owned(),
        false => part.escape_debug().to_string(),
    });
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_becomes_a_star_and_control_characters_are_shown() {
        assert_eq!(folded("blk.12.attn_q.weight"), "blk.*.attn_q.weight");
        assert_eq!(folded("output.weight"), "output.weight");
        assert_eq!(folded("a.\u{1b}[2J"), "a.\\u{1b}[2J");
    }
}
