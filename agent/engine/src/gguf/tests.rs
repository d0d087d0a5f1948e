//! The validator against every broken file we could think of, and random ones.

use proptest::prelude::*;

use super::*;
use crate::gguf::write::{Outline, write};

/// Name, dimension count if it lies, dimensions, format, offset.
type RawTensor = (String, Option<u32>, Vec<u64>, u32, u64);

/// A GGUF file made by hand, so that every figure in it can lie.
#[derive(Clone)]
struct Raw {
    version: u32,
    tensor_count: Option<u64>,
    key_count: Option<u64>,
    metadata: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<RawTensor>,
    data: usize,
}

impl Raw {
    fn sound() -> Self {
        Self {
            version: 3,
            tensor_count: None,
            key_count: None,
            metadata: vec![("general.architecture".to_owned(), 8, text("qwen3"))],
            tensors: vec![tensor("first", &[8, 4], 0, 0), tensor("second", &[8], 0, 128)],
            data: 160,
        }
    }

    fn key(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        self.metadata.push((key.to_owned(), type_id, value.to_vec()));
        self
    }

    fn tensor(mut self, entry: (String, Option<u32>, Vec<u64>, u32, u64)) -> Self {
        self.tensors = vec![entry];
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, type_id, value) in &self.metadata {
            bytes.extend(text(key));
            bytes.extend(type_id.to_le_bytes());
            bytes.extend(value);
        }
        for (name, dimensions, shape, format, offset) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend(dimensions.unwrap_or(shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|dimension| bytes.extend(dimension.to_le_bytes()));
            bytes.extend(format.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32) + self.data, 0);
        bytes
    }

    fn fault(&self) -> GgufError {
        parse(&self.bytes()).expect_err("this file is broken")
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn list(type_id: u32, count: u64) -> Vec<u8> {
    [type_id.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat()
}

fn tensor(name: &str, shape: &[u64], format: u32, offset: u64) -> (String, Option<u32>, Vec<u64>, u32, u64) {
    (name.to_owned(), None, shape.to_vec(), format, offset)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden").join(name)
}

#[test]
fn a_header_is_read_from_how_its_file_begins_and_says_when_more_of_it_is_needed() {
    let whole = Raw::sound().bytes();
    let length = whole.len() as u64;
    let read = Gguf::from_bytes("a.gguf", whole.clone()).expect("it is sound");
    let end = read.tensors().iter().map(|tensor| tensor.range.start).min().expect("it has tensors");
    let begun = Gguf::from_beginning("a.gguf", &whole[..end], length).expect("the header is all there");
    assert_eq!(begun.info(), read.info());
    assert_eq!(begun.bytes(&begun.tensors()[0]), b"");
    let cut = Gguf::from_beginning("a.gguf", &whole[..end / 2], length).map(|_| ()).expect_err("half a header");
    assert!(matches!(cut.fault(), GgufError::Truncated { .. }), "{cut}");
}

#[test]
fn a_sound_file_is_read() {
    let header = parse(&Raw::sound().bytes()).expect("it is sound");
    assert_eq!(header.tensors.len(), 2);
    assert_eq!(header.tensor("second").map(|tensor| tensor.range.len()), Some(32));
    assert_eq!(header.get("general.architecture").and_then(Value::as_text), Some("qwen3"));
}

#[test]
fn an_alignment_of_zero_is_refused() {
    let zero = Raw::sound().key("general.alignment", 4, &0u32.to_le_bytes());
    assert!(matches!(zero.fault(), GgufError::Alignment { alignment: 0 }), "{}", zero.fault());
    for odd in [1u32, 4, 31, 48, 1 << 20] {
        let fault = Raw::sound().key("general.alignment", 4, &odd.to_le_bytes()).fault();
        assert!(matches!(fault, GgufError::Alignment { .. }), "{odd}: {fault}");
    }
    let text = Raw::sound().key("general.alignment", 8, &text("32")).fault();
    assert!(matches!(text, GgufError::Alignment { .. }), "{text}");
}

#[test]
fn a_tensor_of_two_to_the_forty_dimensions_is_refused() {
    let long = Raw::sound().tensor(tensor("long", &[1 << 40], 0, 0)).fault();
    assert!(matches!(long, GgufError::Shape { .. }), "{long}");
    assert!(long.to_string().contains("`long`"), "{long}");
    let mut many = tensor("many", &[8], 0, 0);
    many.1 = Some(u32::MAX);
    let many = Raw::sound().tensor(many).fault();
    assert!(matches!(many, GgufError::TooLarge { .. }), "{many}");
}

#[test]
fn dimensions_whose_product_overflows_are_refused() {
    for shape in [[1u64 << 33, 1 << 33], [u64::MAX, 2], [32, u64::MAX / 16], [1 << 20, 1 << 19]] {
        let fault = Raw::sound().tensor(tensor("wide", &shape, 0, 0)).fault();
        assert!(matches!(fault, GgufError::Shape { .. }), "{shape:?}: {fault}");
    }
    let none = Raw::sound().tensor(tensor("none", &[8, 0], 0, 0)).fault();
    assert!(matches!(none, GgufError::Shape { .. }), "{none}");
}

#[test]
fn rows_that_do_not_fill_blocks_are_refused() {
    let fault = Raw::sound().tensor(tensor("ragged", &[16, 4], 8, 0)).fault();
    assert!(matches!(fault, GgufError::Shape { .. }), "{fault}");
}

#[test]
fn a_truncated_file_is_refused_wherever_it_is_cut() {
    let whole = Raw::sound().bytes();
    for length in 0..whole.len() {
        let fault = parse(&whole[..length]).expect_err("it is cut");
        assert!(matches!(fault, GgufError::Magic | GgufError::Truncated { .. }), "{length}: {fault}");
    }
}

#[test]
fn tensors_that_overlap_are_refused() {
    let mut raw = Raw::sound();
    raw.tensors = vec![tensor("second", &[8], 0, 96), tensor("first", &[8, 4], 0, 0)];
    match raw.fault() {
        GgufError::Overlap { first, second } => assert_eq!((first.as_str(), second.as_str()), ("first", "second")),
        other => panic!("{other}"),
    }
}

#[test]
fn a_tensor_outside_the_file_is_refused() {
    for offset in [160, 1 << 40, u64::MAX - 31] {
        let fault = Raw::sound().tensor(tensor("far", &[8], 0, offset)).fault();
        assert!(matches!(fault, GgufError::Truncated { .. }), "{offset}: {fault}");
    }
    let odd = Raw::sound().tensor(tensor("odd", &[8], 0, 4)).fault();
    assert!(matches!(odd, GgufError::Misaligned { .. }), "{odd}");
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    let many = |change: fn(&mut Raw)| {
        let mut raw = Raw::sound();
        change(&mut raw);
        raw.fault()
    };
    assert!(matches!(many(|raw| raw.tensor_count = Some(u64::MAX)), GgufError::TooLarge { .. }));
    assert!(matches!(many(|raw| raw.key_count = Some(1 << 40)), GgufError::TooLarge { .. }));
    many(|raw| raw.tensor_count = Some(60_000));
    let list_too_long = Raw::sound().key("list", 9, &list(4, u64::MAX)).fault();
    assert!(matches!(list_too_long, GgufError::TooLarge { .. }), "{list_too_long}");
    let list_beyond_end = Raw::sound().key("list", 9, &list(12, 8_000_000)).fault();
    assert!(matches!(list_beyond_end, GgufError::Truncated { .. }), "{list_beyond_end}");
    let text_too_long = Raw::sound().key("text", 8, &(1u64 << 62).to_le_bytes()).fault();
    assert!(matches!(text_too_long, GgufError::TooLarge { .. }), "{text_too_long}");
}

#[test]
fn a_header_that_goes_on_and_on_is_refused() {
    let long = text(&"x".repeat(4 << 20));
    let endless = (0..33).fold(Raw::sound(), |raw, index| raw.key(&format!("key {index}"), 8, &long)).fault();
    assert!(matches!(endless, GgufError::TooLarge { .. }), "{endless}");
}

#[test]
fn lists_of_lists_and_unknown_types_are_refused() {
    let nested = Raw::sound().key("nested", 9, &list(9, 1)).fault();
    assert!(matches!(nested, GgufError::ValueType { type_id: 9, .. }), "{nested}");
    let unknown = Raw::sound().key("odd", 13, &[]).fault();
    assert!(matches!(unknown, GgufError::ValueType { type_id: 13, .. }), "{unknown}");
}

#[test]
fn an_unknown_block_format_is_refused_by_name() {
    for (type_id, name) in [(39, "MXFP4"), (16, "IQ2_XXS"), (36, "I2_S of a family that is not BitNet")] {
        let raw = Raw::sound().tensor(tensor("odd", &[256, 4], type_id, 0));
        let error = parse(&raw.bytes()).expect_err("it is not read here");
        assert!(matches!(&error, GgufError::TensorFormat { type_id: named, .. } if *named == type_id), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let nameless = Raw::sound().tensor(tensor("odd", &[256, 4], 999, 0));
    assert!(parse(&nameless.bytes()).expect_err("nobody knows it").to_string().contains("block format 999,"));
}

#[test]
fn bitnets_own_format_is_read_in_bitnets_files_with_its_tail() {
    for (architecture, sound) in [("bitnet", true), ("bitnet-b1.58", true), ("bitnet-25", true), ("llama", false)] {
        let mut raw = Raw::sound().tensor(tensor("ternary", &[256, 4], 36, 0));
        raw.metadata = vec![("general.architecture".to_owned(), 8, text(architecture))];
        // 1,024 weights at four to a byte, and 32 bytes that begin with the scale.
        raw.data = 256 + 32;
        assert_eq!(parse(&raw.bytes()).is_ok(), sound, "{architecture}");
        raw.data -= 1;
        assert!(parse(&raw.bytes()).is_err(), "{architecture}");
    }
}

#[test]
fn names_that_occur_twice_are_refused() {
    let key = Raw::sound().key("general.architecture", 8, &text("llama")).fault();
    assert!(matches!(key, GgufError::Duplicate { what: "metadata key", .. }), "{key}");
    let mut raw = Raw::sound();
    raw.tensors[1].0 = "first".to_owned();
    assert!(matches!(raw.fault(), GgufError::Duplicate { what: "tensor", .. }));
}

#[test]
fn text_that_is_not_utf_8_and_foreign_versions_are_refused() {
    let fault = Raw::sound().key("name", 8, &[2, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFE]).fault();
    assert!(matches!(fault, GgufError::Text { .. }), "{fault}");
    let mut raw = Raw::sound();
    raw.version = 50_331_648; // 3 in the other byte order
    assert!(matches!(raw.fault(), GgufError::Version { .. }));
    assert!(matches!(parse(b"{\"json\": true}"), Err(GgufError::Magic)));
    assert!(matches!(parse(b""), Err(GgufError::Magic)));
}

#[test]
fn an_error_names_the_file_and_the_fault() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("broken.gguf");
    std::fs::write(&path, Raw::sound().key("general.alignment", 4, &0u32.to_le_bytes()).bytes())
        .expect("it is written");
    let error = Gguf::open(&path).expect_err("it is broken");
    assert!(error.to_string().contains("broken.gguf") && error.to_string().contains("alignment"), "{error}");
    assert!(matches!(error.fault(), GgufError::Alignment { .. }));
    assert!(matches!(Gguf::open(folder.path().join("absent.gguf")), Err(GgufError::Open { .. })));
    let empty = folder.path().join("empty.gguf");
    std::fs::write(&empty, b"").expect("it is written");
    assert!(matches!(Gguf::open(&empty).expect_err("it is empty").fault(), GgufError::Magic));
}

#[test]
fn a_file_tells_the_catalogue_what_it_holds() {
    let info = Gguf::open(golden("qwen3.gguf")).expect("it is sound").info();
    assert_eq!((info.architecture.as_str(), info.quantisation.as_str()), ("qwen3", "F32"));
    assert_eq!((info.layers, info.embedding_length, info.vocabulary, info.context_tokens), (2, 64, 320, 4_096));
    assert_eq!((info.kv_elements_per_layer, info.query_elements, info.feed_forward_length), (64, 128, 96));
    assert_eq!(info.weight_bytes, info.parameters * 4);
    assert!(info.file_bytes > info.weight_bytes);
}

#[test]
fn what_is_written_is_read_back() {
    let source = Gguf::open(golden("llama.gguf")).expect("it is sound");
    let mut metadata = source.metadata().to_vec();
    metadata.push(("test.list".to_owned(), Value::Array(Array::F64(vec![1.5, -2.0]))));
    metadata.push(("test.flag".to_owned(), Value::Bool(true)));
    let entries = source.tensors().iter().map(|entry| (entry.name.clone(), entry.shape.clone(), entry.format));
    let outline = Outline { metadata: metadata.clone(), tensors: entries.collect() };
    let mut bytes = Vec::new();
    write(&mut bytes, &outline, |index, out| {
        out.extend_from_slice(source.bytes(&source.tensors()[index]));
        Ok(())
    })
    .expect("memory takes it");
    let header = parse(&bytes).expect("what we write is sound");
    assert_eq!(header.metadata, metadata);
    for (before, after) in source.tensors().iter().zip(&header.tensors) {
        assert_eq!((&before.name, source.bytes(before)), (&after.name, &bytes[after.range.clone()]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_the_validator_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tail);
        let _ = parse(&bytes);
    }

    #[test]
    fn a_flipped_header_is_refused_or_still_sound(flips in proptest::collection::vec((0usize..400, any::<u8>()), 1..6)) {
        let mut bytes = Raw::sound().bytes();
        for (at, value) in flips {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if let Ok(header) = parse(&bytes) {
            for tensor in &header.tensors {
                prop_assert!(tensor.range.end <= bytes.len());
                prop_assert_eq!(Some(tensor.range.len() as u64), tensor.format.bytes_for(tensor.weights()));
            }
        }
    }
}
