//! Puts other weights in a loaded model's place, to see what they would change.

use super::Model;
use super::layer::Layer;
use crate::cpu::Cpu;
use crate::gguf::Format;
use crate::weights::Matrix;

impl Model {
    /// Puts a tensor's weights, in these blocks, where those of the file are, and gives back what was there, for
    /// [`Model::put_back`]. Nothing for a tensor that is no matrix of this model.
    ///
    /// # Errors
    /// Fails when the system gives no memory.
    pub(crate) fn replace(
        &mut self,
        tensor: &str,
        format: Format,
        blocks: &[u8],
    ) -> std::io::Result<Option<Vec<Matrix>>> {
        let (cpu, mut places) = self.matrices_of(tensor);
        if places.is_empty() {
            return Ok(None);
        }
        let row_bytes = blocks.len() / places.iter().map(|place| place.rows).sum::<usize>().max(1);
        let (mut begin, mut before) = (0, Vec::with_capacity(places.len()));
        for place in &mut places {
            let end = begin + place.rows * row_bytes;
            let other = Matrix::owned(cpu, place.rows, place.columns, format, blocks[begin..end].to_vec())?;
            before.push(std::mem::replace(&mut **place, other));
            begin = end;
        }
        Ok(Some(before))
    }

    /// Takes back what [`Model::replace`] did to a tensor.
    pub(crate) fn put_back(&mut self, tensor: &str, before: Vec<Matrix>) {
        for (place, matrix) in self.matrices_of(tensor).1.into_iter().zip(before) {
            *place = matrix;
        }
    }

    /// The matrices that a tensor's rows became, in their order: several where a family stores projections in one.
    fn matrices_of(&mut self, tensor: &str) -> (&Cpu, Vec<&mut Matrix>) {
        let Self { cpu, embedding, output, layers, traits, .. } = self;
        let name = tensor.strip_suffix(".weight").unwrap_or_default();
        let places = match name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, part)) => {
                let layer = layer.parse().ok().and_then(|layer: usize| layers.get_mut(layer));
                layer.map_or_else(Vec::new, |layer| layer.matrices_of(part, traits.fused))
            }
            None if name == "token_embd" => vec![embedding],
            None if name == "output" => output.iter_mut().collect(),
            None => Vec::new(),
        };
        (cpu, places)
    }
}

impl Layer {
    fn matrices_of(&mut self, part: &str, fused: bool) -> Vec<&mut Matrix> {
        let linears = match (part, fused) {
            ("attn_qkv", true) => vec![&mut self.query, &mut self.key, &mut self.value],
            ("ffn_up", true) => vec![&mut self.gate, &mut self.up],
            ("attn_q", false) => vec![&mut self.query],
            ("attn_k", false) => vec![&mut self.key],
            ("attn_v", false) => vec![&mut self.value],
            ("ffn_gate", false) => vec![&mut self.gate],
            ("ffn_up", false) => vec![&mut self.up],
            ("attn_output", _) => vec![&mut self.attention_output],
            ("ffn_down", _) => vec![&mut self.down],
            _ => Vec::new(),
        };
        linears.into_iter().map(|linear| &mut linear.weight).collect()
    }
}
