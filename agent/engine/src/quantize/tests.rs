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
        (Quantisation::Q6_K, 0.99),
        (Quantisation::Q5_1, 0.98),
        (Quantisation::Q4_K_M, 0.94),
        (Quantisation::Q4_0, 0.94),
        (Quantisation::TQ2_0, 0.3),
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

/// What a pass over a text gives the right next token, in nats, on average.
fn surprise(model: &Model, tokens: &[u32]) -> f64 {
    let positions: Vec<usize> = (0..tokens.len() - 1).collect();
    let rows = logits(model, tokens, &positions).expect("it computes");
    let one = |(row, next): (&Vec<f32>, &u32)| {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|logit| f64::from(logit - most).exp()).sum();
        sum.ln() - f64::from(row[*next as usize] - most)
    };
    rows.iter().zip(&tokens[1..]).map(one).sum::<f64>() / positions.len() as f64
}

#[test]
fn every_variant_of_the_demo_model_answers_nearly_as_it_does() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let demo = golden("../outpost-demo-f16.gguf");
    let load =
        |path: &Path| Model::load(path, &LoadOptions { threads: 2, ..LoadOptions::default() }).expect("it loads");
    let text = "The device is enrolled once. It then asks for its desired state, and runs what it was told to.";
    let original = load(&demo);
    let tokens = original.tokenizer().encode(text, false, false);
    let expected = surprise(&original, &tokens);
    let mut sizes = Vec::new();
    for to in Quantisation::ALL {
        let path = folder.path().join(to.name());
        let summary = quantize(&demo, &path, to).expect("it converts");
        sizes.push(summary.output_bytes);
        let off = surprise(&load(&path), &tokens) - expected;
        // A model that was not trained to be ternary is no model any more as TQ2_0: it only must load and compute.
        let bound = match to {
            Quantisation::F16 => 1e-6,
            Quantisation::Q8_0 => 0.02,
            Quantisation::Q6_K | Quantisation::Q5_1 => 0.1,
            Quantisation::Q4_K_M | Quantisation::Q4_0 => 0.4,
            Quantisation::TQ2_0 => f64::MAX,
        };
        assert!(off.abs() <= bound, "{}: {off} nats per token", to.name());
    }
    // Q4_0 keeps this model's large table in eight bits, which brings it to the size of Q4_K_M.
    let in_order = |at: &[usize]| at.windows(2).all(|pair| sizes[pair[0]] > sizes[pair[1]]);
    assert!(in_order(&[0, 1, 2, 3, 4, 6]) && in_order(&[3, 5, 6]), "{sizes:?}");
}

#[test]
fn the_bytes_are_the_same_whatever_the_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let made = |threads: usize| {
        let path = folder.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        pool.install(|| quantize(golden("llama.gguf"), &path, Quantisation::Q4_K_M)).expect("it converts");
        fs::read(path).expect("it is there")
    };
    assert_eq!(made(1), made(5));
}

#[test]
fn progress_grows_to_the_whole() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let output = folder.path().join("out.gguf");
    let mut heard = Vec::new();
    let summary = quantize_with_progress(golden("qwen3.gguf"), &output, Quantisation::Q8_0, &mut |at| heard.push(at));
    let tensors = summary.expect("it converts").tensors;
    assert!(heard.is_sorted_by_key(|at| (at.bytes_done, at.tensors_done)));
    let last = heard.last().expect("it was heard");
    assert_eq!((last.tensors_done, last.bytes_done), (tensors, last.bytes));
    assert!(last.bytes > 0 && last.tensors == tensors);
}

/// A file of one matrix of 256 columns.
fn file_of(path: &Path, architecture: &str, format: Format, rows: u64, bytes: &[u8]) {
    let outline = Outline {
        metadata: vec![("general.architecture".to_owned(), Value::Text(architecture.to_owned()))],
        tensors: vec![("blk.0.ffn_up.weight".to_owned(), vec![256, rows], format)],
    };
    let mut file = Vec::new();
    crate::gguf::write::write(&mut file, &outline, |_, out| {
        out.extend_from_slice(bytes);
        Ok(())
    })
    .expect("memory takes it");
    fs::write(path, file).expect("it is written");
}

#[test]
fn a_weight_that_is_no_number_is_refused_with_its_tensors_name() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (input, output) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    let mut weights = vec![0u8; 256 * 32 * 4];
    weights[4_000..4_004].copy_from_slice(&f32::NAN.to_le_bytes());
    file_of(&input, "llama", Format::F32, 32, &weights);
    let error = quantize(&input, &output, Quantisation::Q4_0).expect_err("that is no weight");
    assert!(error.to_string().contains("blk.0.ffn_up.weight"), "{error}");
    assert!(!output.exists());
}

#[test]
fn ternary_weights_of_bitnets_own_format_become_tq2_0_without_loss() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (input, output) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    let mut bytes: Vec<u8> =
        (0..256 * 32 / 4).map(|index| [0b00_01_10_01, 0b10_10_00_01, 0b01_00_10_10][index % 3]).collect();
    bytes.extend(0.375f32.to_le_bytes());
    bytes.resize(bytes.len() + 28, 0);
    file_of(&input, "bitnet-b1.58", Format::I2_S, 32, &bytes);
    assert_eq!(Gguf::open(&input).expect("sound").info().quantisation, "I2_S");
    quantize(&input, &output, Quantisation::TQ2_0).expect("it converts");
    let wide = |path: &Path| {
        let gguf = Gguf::open(path).expect("sound");
        let tensor = &gguf.tensors()[0];
        let tail = tensor.format.tail_bytes() as usize;
        let mut wide = vec![0.0; 256 * 32];
        crate::blocks::widen(tensor.format, &gguf.bytes(tensor)[..tensor.range.len() - tail], &mut wide);
        wide.iter().map(|weight| weight * gguf.scale(tensor)).collect::<Vec<f32>>()
    };
    assert_eq!(wide(&input), wide(&output));
    assert_eq!(wide(&input)[..3], [-0.375, 0.375, 0.0]);
}

/// FNV-1a of the file that each quantisation made of `golden/llama.gguf` before scales could be searched with a sample.
const MADE_BEFORE: [(Quantisation, u64); 7] = [
    (Quantisation::F16, 0x6735_be4e_a5f5_1323),
    (Quantisation::Q8_0, 0x2d86_2e1d_7414_b41d),
    (Quantisation::Q6_K, 0xf5e0_fe94_120a_8e46),
    (Quantisation::Q5_1, 0x9679_b6c6_4237_cc2c),
    (Quantisation::Q4_K_M, 0x2372_ba0f_bf86_9614),
    (Quantisation::Q4_0, 0xc472_e49d_4601_a6ba),
    (Quantisation::TQ2_0, 0x170e_01a7_6220_db7c),
];

#[test]
fn without_a_sample_every_byte_is_what_it_always_was() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for (to, expected) in MADE_BEFORE {
        let path = folder.path().join(to.name());
        quantize(golden("llama.gguf"), &path, to).expect("it converts");
        let bytes = fs::read(&path).expect("it is there");
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(hash, expected, "{}", to.name());
    }
}
