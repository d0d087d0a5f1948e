//! Mixes fit their budgets, say what they are, are what they were judged as, and broken input is named.

use std::path::PathBuf;

use super::*;
use crate::evaluate::Passage;
use crate::model::logits;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(name)
}

fn sample() -> Sample {
    let passage =
        |seed: u32| Passage { tokens: (0..24).map(|at| (at * 7 + seed * 13) % 300).collect(), scored_from: 4 };
    Sample::of_passages((0..8).map(passage).collect(), "sample").expect("there are enough")
}

fn make(input: &str, output: &Path, target: Target) -> Result<Calibrated, QuantizeError> {
    Workshop::open(golden(input), 1)?.write(output, target, &sample(), &mut |_| {})
}

#[test]
fn a_mix_fits_its_budget_and_says_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("mix.gguf");
    let whole = Gguf::open(golden("qwen3.gguf")).expect("sound").info();
    let mut last = f64::INFINITY;
    for bits in [7_200, 8_500, 11_000] {
        let made = make("qwen3.gguf", &path, Target::Mixed(Budget::BitsMilli(bits))).expect("there is a mix so small");
        let gguf = Gguf::open(&path).expect("what we write is sound");
        let info = gguf.info();
        assert!(info.weight_bytes * 8_000 <= info.parameters * bits, "{} for {bits}", info.weight_bytes);
        assert_eq!((info.parameters, info.file_bytes), (whole.parameters, made.summary.output_bytes));
        let milli = info.weight_bytes as f64 * 8.0 / info.parameters as f64;
        assert!(info.quantisation.ends_with(&format!("_MIX_{milli:.2}")), "{}", info.quantisation);
        let said = provenance(&gguf).expect("it says where it comes from");
        assert_eq!((said.sample.as_str(), said.tokens), ("sample", 6 * 24));
        assert!((said.divergence - made.divergence).abs() < 1e-6, "{said:?} {made:?}");
        assert!(said.budget_bytes.is_some_and(|bytes| info.file_bytes <= bytes), "{said:?}");
        let predicted = made.predicted.expect("a mix is predicted");
        assert!(predicted <= last, "{predicted} after {last}");
        last = predicted;
    }
}

#[test]
fn a_mix_like_another_is_no_larger_and_one_of_so_many_bytes_neither() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (rule, mix) = (folder.path().join("rule.gguf"), folder.path().join("mix.gguf"));
    let bytes = crate::quantize::quantize(golden("llama.gguf"), &rule, Quantisation::Q5_1).expect("it converts");
    let like = make("llama.gguf", &mix, Target::Mixed(Budget::Like(Quantisation::Q5_1))).expect("it converts");
    assert!(like.summary.output_bytes <= bytes.output_bytes, "{like:?} {bytes:?}");
    let exact = make("llama.gguf", &mix, Target::Mixed(Budget::FileBytes(bytes.output_bytes))).expect("it converts");
    assert!(exact.summary.output_bytes <= bytes.output_bytes, "{exact:?} {bytes:?}");
}

#[test]
fn the_file_computes_what_was_judged() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("mix.gguf");
    for target in [Target::Mixed(Budget::BitsMilli(7_500)), Target::Uniform(Quantisation::Q4_K_M)] {
        let made = make("qwen3.gguf", &path, target).expect("it converts");
        let [original, variant] = [golden("qwen3.gguf"), path.clone()]
            .map(|path| Model::load(path, &LoadOptions::threads(1)).expect("it loads"));
        let held_out = sample().held_out(&original);
        let expected = Reference::of(&original, &held_out).expect("it computes");
        let found = expected.change(&variant, &held_out).expect("it computes");
        assert_eq!((found.divergence, found.agreement), (made.divergence, made.agreement));
    }
}

#[test]
fn fused_matrices_are_measured_and_mixed_too() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("mix.gguf");
    for family in ["phi3.gguf", "gemma3.gguf"] {
        make(family, &path, Target::Mixed(Budget::BitsMilli(9_000))).expect("it converts");
        let model = Model::load(&path, &LoadOptions::threads(1)).expect("it loads");
        assert!(logits(&model, &[1, 2, 3], &[2]).expect("it computes")[0].iter().all(|logit| logit.is_finite()));
    }
}

#[test]
fn what_is_made_of_a_mix_by_rule_is_no_mix_any_more() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (mix, rule) = (folder.path().join("mix.gguf"), folder.path().join("rule.gguf"));
    make("qwen3.gguf", &mix, Target::Mixed(Budget::BitsMilli(9_000))).expect("it converts");
    crate::quantize::quantize(&mix, &rule, Quantisation::Q4_0).expect("it converts");
    let gguf = Gguf::open(&rule).expect("sound");
    assert_eq!((provenance(&gguf), gguf.info().quantisation.as_str()), (None, "Q4_0"));
}

#[test]
fn a_budget_below_the_smallest_mix_is_refused_with_the_least() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("mix.gguf");
    let error = make("qwen3.gguf", &path, Target::Mixed(Budget::BitsMilli(2_000))).expect_err("no mix is so small");
    assert!(matches!(&error, QuantizeError::TooSmall { .. }), "{error}");
    assert!(error.to_string().contains("bits per weight"), "{error}");
    assert!(!path.exists());
    let error = make("qwen3.gguf", &path, Target::Mixed(Budget::FileBytes(0))).expect_err("no file is empty");
    assert!(matches!(&error, QuantizeError::TooSmall { .. }), "{error}");
}

#[test]
fn a_sample_that_is_too_short_or_not_of_this_vocabulary_is_refused() {
    let workshop = Workshop::open(golden("../outpost-demo-f16.gguf"), 1).expect("it loads");
    for text in ["", "Two words", &"One hundred words are no sample. ".repeat(20)] {
        let error = Sample::of_text(workshop.model(), text, false, "short").expect_err("that is too short");
        assert!(error.to_string().contains("512 tokens"), "{error}");
    }
    Sample::of_text(workshop.model(), &"That is long enough, said often. ".repeat(200), false, "long").expect("it is");
    let foreign = Passage { tokens: vec![u32::MAX; 8], scored_from: 0 };
    let sample = Sample::of_passages(vec![foreign; 4], "foreign").expect("there are enough");
    let folder = tempfile::tempdir().expect("a folder for the test");
    let target = Target::Uniform(Quantisation::Q4_0);
    let error =
        workshop.write(folder.path().join("out.gguf"), target, &sample, &mut |_| {}).expect_err("no such token");
    assert!(error.to_string().contains("vocabulary"), "{error}");
}

#[test]
fn weights_that_are_no_numbers_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (input, output) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    let gguf = Gguf::open(golden("llama.gguf")).expect("sound");
    for tensor in ["blk.0.ffn_up.weight", "token_embd.weight", "blk.0.attn_norm.weight"] {
        let mut bytes = std::fs::read(golden("llama.gguf")).expect("it is read");
        let entry = gguf.tensor(tensor).expect("it is there");
        assert_eq!(entry.format, Format::F32);
        for place in bytes[entry.range.clone()].as_chunks_mut::<4>().0 {
            *place = f32::NAN.to_le_bytes();
        }
        std::fs::write(&input, bytes).expect("it is written");
        let workshop = Workshop::open(&input, 1).expect("it loads");
        let target = Target::Mixed(Budget::BitsMilli(7_500));
        let error = workshop.write(&output, target, &sample(), &mut |_| {}).expect_err("that is no model");
        assert!(error.to_string().contains("no finite number"), "{error}");
        assert!(!output.exists());
    }
}

#[test]
fn a_claim_to_be_a_mix_gives_a_name_from_the_file_itself() {
    let outline = Outline {
        metadata: vec![
            ("general.architecture".to_owned(), Value::Text("llama".to_owned())),
            ("general.file_type".to_owned(), Value::U32(1)),
            (BUDGET_KEY.to_owned(), Value::U64(u64::MAX)),
            (SAMPLE_KEY.to_owned(), Value::U32(7)),
        ],
        tensors: vec![("blk.0.ffn_up.weight".to_owned(), vec![256, 32], Format::Q5_K)],
    };
    let gguf = Gguf::outlined(&outline).expect("sound");
    assert_eq!(gguf.info().quantisation, "Q5_K_MIX_5.50");
    assert_eq!(provenance(&gguf), None);
    // What is empty has no most common format.
    let empty = Outline { tensors: Vec::new(), ..outline };
    assert_eq!(Gguf::outlined(&empty).expect("sound").info().quantisation, "F16");
}

#[test]
fn every_format_of_a_mix_has_a_file_type() {
    for columns in [32, 256, 7] {
        for format in super::super::mix::mixable(columns) {
            let id = file_type_of(*format).expect("llama.cpp has a name for it");
            let (_, name) = FILE_TYPES.iter().find(|row| row.0 == u64::from(id)).expect("it is in the table");
            assert!(name.starts_with(format.name()), "{name}");
        }
    }
}
