//! What a variant will be, before anybody makes it: so that one which cannot be used is never made.

use super::{Quantisation, formats};
use crate::footprint;
use crate::gguf::{Gguf, ModelInfo};

/// What [`Gguf::info`](crate::gguf::Gguf::info) will say of the variant, exactly but for the length of the file, which is a few
/// bytes off.
#[must_use]
pub fn preview(gguf: &Gguf, to: Quantisation) -> ModelInfo {
    let named: Vec<_> = gguf.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let formats = formats(&named, to);
    let tensors = named.iter().zip(&formats).zip(gguf.tensors()).map(|((&(name, shape), format), tensor)| {
        (name, shape, *format, format.bytes_for(tensor.weights()).unwrap_or(0))
    });
    let info = gguf.info();
    let weight_bytes = tensors.clone().map(|(.., bytes)| bytes).fold(0, u64::saturating_add);
    let footprint = footprint::Footprint {
        weight_bytes: footprint::kept(tensors.clone()),
        matrices: footprint::matrices(tensors),
        ..info.footprint
    };
    ModelInfo {
        quantisation: to.name().to_owned(),
        file_bytes: info.file_bytes.saturating_sub(info.weight_bytes).saturating_add(weight_bytes),
        weight_bytes,
        footprint,
        ..info
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::quantize;

    #[test]
    fn what_is_said_of_a_variant_before_it_is_made_is_true_of_it_afterwards() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for family in ["qwen3.gguf", "llama.gguf", "gemma3.gguf"] {
            let path = format!("{}/../../tests/fixtures/golden/{family}", env!("CARGO_MANIFEST_DIR"));
            let original = Gguf::open(&path).expect("the golden model opens");
            for to in Quantisation::ALL {
                let output = folder.path().join(to.name());
                quantize(&path, &output, to).expect("it converts");
                let made = Gguf::open(&output).expect("what we write is sound").info();
                let said = preview(&original, to);
                assert!(said.file_bytes.abs_diff(made.file_bytes) < 8_192, "{family} {}", to.name());
                assert_eq!(ModelInfo { file_bytes: made.file_bytes, ..said }, made, "{family} {}", to.name());
            }
        }
    }
}
