//! Variants load, say what they are, and answer nearly as the original does.

use super::*;
use crate::model::{LoadOptions, Model, logits};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(name)
}

fn answers(path: &Path) -> Vec<f32> {
    let model = Model::load(path, &LoadOptions::threads(1)).expect("it loads");
    let tokens: Vec<u32> = (0..40).map(|index| index * 7 % 300).collect();
    logits(&model, &tokens, &[5, 39]).expect("it computes").concat()
}

fn likeness(left: &[f32], right: &[f32]) -> f32 {
    let dot = |left: &[f32], right: &[f32]| left.iter().zip(right).map(|(left, right)| left * right).sum::<f32>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

#[test]
fn every_variant_loads_and_answers_nearly_as_the_original() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let bounds = [
        (Quantisation::F16, 0.9999),
        (Quantisation::Q8_0, 0.999),
        (Quantisation::Q5_1, 0.98),
        (Quantisation::Q4_0, 0.94),
    ];
    for family in ["qwen3.gguf", "llama.gguf"] {
        let original = golden(family);
        let expected = answers(&original);
        for (to, bound) in bounds {
            let output = folder.path().join(format!("{}-{family}", to.name()));
            let summary = quantize(&original, &output, to).expect("it converts");
            let info = Gguf::open(&output).expect("what we write is sound").info();
            assert_eq!(info.quantisation, to.name());
            assert_eq!(info.file_bytes, summary.output_bytes);
            assert!(summary.changed > 0 && summary.output_bytes < summary.input_bytes, "{summary:?}");
            let likeness = likeness(&answers(&output), &expected);
            assert!(likeness > bound, "{family} as {}: {likeness}", to.name());
        }
    }
}

#[test]
fn metadata_and_norms_are_kept() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let output = folder.path().join("small.gguf");
    quantize(golden("llama.gguf"), &output, Quantisation::Q4_0).expect("it converts");
    let (before, after) = (Gguf::open(golden("llama.gguf")).expect("sound"), Gguf::open(&output).expect("sound"));
    for (key, value) in before.metadata().iter().filter(|(key, _)| key != "general.file_type") {
        assert_eq!(after.get(key), Some(value), "{key}");
    }
    assert_eq!(after.count("general.file_type"), Some(2));
    for name in ["output_norm.weight", "blk.0.attn_norm.weight", "rope_freqs.weight"] {
        let [before, after] =
            [&before, &after].map(|file| file.bytes(file.tensor(name).expect("it is there")).to_vec());
        assert_eq!(before, after, "{name}");
    }
    assert_eq!(after.tensor("blk.0.attn_q.weight").map(|tensor| tensor.format), Some(Format::Q4_0));
    assert_eq!(after.tensor("token_embd.weight").map(|tensor| tensor.format), Some(Format::Q8_0));
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let broken = folder.path().join("broken.gguf");
    fs::write(&broken, b"GGUF").expect("it is written");
    assert!(matches!(
        quantize(&broken, folder.path().join("out.gguf"), Quantisation::F16),
        Err(QuantizeError::Gguf(_))
    ));
    let nowhere = folder.path().join("no/such/folder/out.gguf");
    assert!(matches!(quantize(golden("qwen3.gguf"), &nowhere, Quantisation::F16), Err(QuantizeError::Write { .. })));
    // A folder stands where the file should go: the rename fails after everything was written.
    let taken = folder.path().join("taken");
    fs::create_dir_all(taken.join("full")).expect("it is made");
    assert!(quantize(golden("qwen3.gguf"), &taken, Quantisation::F16).is_err());
    let names: Vec<_> =
        fs::read_dir(folder.path()).expect("it is read").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_variant_can_be_made_of_a_variant() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (half, small) = (folder.path().join("half.gguf"), folder.path().join("small.gguf"));
    quantize(golden("qwen3.gguf"), &half, Quantisation::F16).expect("it converts");
    quantize(&half, &small, Quantisation::Q8_0).expect("it converts");
    assert!(likeness(&answers(&small), &answers(&golden("qwen3.gguf"))) > 0.999);
}

#[test]
fn names_are_read_in_either_case() {
    assert_eq!(Quantisation::from_name("q4_0"), Some(Quantisation::Q4_0));
    assert_eq!(Quantisation::from_name("Q9_9"), None);
}
