//! Six shapes as real models have them, with fewer layers, and files of random weights in them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use outpost_engine::gguf::write::{Outline, write_in_parts};
use outpost_engine::gguf::{Array, Format, Value};
use outpost_engine::shape::Shape;

/// What is measured, by name. Each has something that the others have not.
pub(crate) fn all() -> Vec<(&'static str, Shape)> {
    let dense = Shape {
        architecture: "llama".to_owned(),
        layers: 4,
        embedding: 2_048,
        feed_forward: 5_632,
        heads: 32,
        kv_heads: 8,
        head_length: 64,
        vocabulary: 32_000,
        context_tokens: 8_192,
        tied: false,
        window_tokens: 0,
        rotated: None,
        rotary_divisors: true,
        merges: 0,
    };
    let windowed = Shape {
        architecture: "gemma3".to_owned(),
        layers: 12,
        embedding: 1_152,
        feed_forward: 6_912,
        heads: 4,
        kv_heads: 1,
        head_length: 256,
        vocabulary: 65_536,
        tied: true,
        window_tokens: 512,
        rotary_divisors: false,
        ..dense.clone()
    };
    let tied = Shape {
        architecture: "qwen3".to_owned(),
        embedding: 1_024,
        feed_forward: 3_072,
        heads: 16,
        head_length: 128,
        vocabulary: 151_936,
        tied: true,
        rotary_divisors: false,
        ..dense.clone()
    };
    let large_vocabulary = Shape {
        architecture: "phi3".to_owned(),
        layers: 3,
        embedding: 1_536,
        feed_forward: 4_096,
        heads: 12,
        kv_heads: 4,
        head_length: 128,
        vocabulary: 200_064,
        tied: true,
        rotated: Some(96),
        ..dense.clone()
    };
    let small = small();
    let ternary = Shape {
        architecture: "bitnet".to_owned(),
        layers: 3,
        embedding: 2_560,
        feed_forward: 6_912,
        heads: 20,
        kv_heads: 5,
        head_length: 128,
        vocabulary: 128_256,
        tied: true,
        rotary_divisors: false,
        ..dense.clone()
    };
    vec![
        ("dense", dense),
        ("windowed", windowed),
        ("tied", tied),
        ("large vocabulary", large_vocabulary),
        ("small", small),
        ("norms inside", ternary),
    ]
}

/// A shape whose files take a few MiB.
pub(crate) fn small() -> Shape {
    Shape {
        architecture: "llama".to_owned(),
        layers: 6,
        embedding: 256,
        feed_forward: 768,
        heads: 4,
        kv_heads: 2,
        head_length: 64,
        vocabulary: 4_096,
        context_tokens: 8_192,
        tied: false,
        window_tokens: 0,
        rotated: None,
        rotary_divisors: false,
        merges: 0,
    }
}

/// The same with windows.
pub(crate) fn small_windowed() -> Shape {
    Shape { architecture: "gemma3".to_owned(), tied: true, window_tokens: 128, ..small() }
}

/// Writes a file of a shape with random weights and a vocabulary that is as large as its table.
pub(crate) fn write(path: &Path, shape: &Shape, quantisation: &str) -> io::Result<()> {
    let mut outline = shape.outline(quantisation).ok_or_else(|| io::Error::other("no such quantisation"))?;
    vocabulary(&mut outline, shape);
    let mut out = BufWriter::new(File::create(path)?);
    let mut random = Random(7);
    write_in_parts(&mut out, &outline, |index, out| {
        let (name, shape, format) = &outline.tensors[index];
        let weights: u64 = shape.iter().product();
        let bytes = format.bytes_for(weights).ok_or_else(|| io::Error::other("no whole blocks"))?;
        tensor(out, name, *format, bytes, &mut random)
    })?;
    out.flush()
}

/// Blocks again and again: what weights say matters neither to memory nor to time.
fn tensor(out: &mut dyn Write, name: &str, format: Format, bytes: u64, random: &mut Random) -> io::Result<()> {
    const BLOCKS: usize = 4_096;
    let one_by_one = format == Format::F32;
    let mut pattern = Vec::new();
    for _ in 0..BLOCKS {
        match format {
            Format::F32 => pattern.extend_from_slice(&1.0f32.to_le_bytes()),
            _ => block(format, random, &mut pattern),
        }
    }
    if one_by_one && name.contains("rope") {
        pattern = 1.5f32.to_le_bytes().repeat(BLOCKS);
    }
    let mut left = usize::try_from(bytes).map_err(io::Error::other)?;
    while left > 0 {
        let part = left.min(pattern.len());
        out.write_all(&pattern[..part])?;
        left -= part;
    }
    Ok(())
}

/// One block of random codes and scales that keep every sum finite.
fn block(format: Format, random: &mut Random, to: &mut Vec<u8>) {
    /// 2⁻¹⁰ in half precision.
    const SCALE: [u8; 2] = 0x1400u16.to_le_bytes();
    let begin = to.len();
    let length = usize::try_from(format.block_bytes()).unwrap_or(0);
    to.extend((0..length).map(|_| random.byte()));
    let scales: &[usize] = match format {
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q6_K => &[208],
        Format::TQ2_0 => &[64],
        _ => &[0],
    };
    for at in scales {
        to[begin + at..begin + at + 2].copy_from_slice(&SCALE);
    }
    if format == Format::F16 {
        // Half precision has one weight to a block: keep its sign and fraction, and make it small.
        let sign = random.byte() & 0x80;
        to[begin] = random.byte();
        to[begin + 1] = sign | 0x20;
    }
}

/// Tokens that merge from one another as those of real vocabularies do; scores where the family has them.
fn vocabulary(outline: &mut Outline, shape: &Shape) {
    const LETTERS: &[u8; 20] = b"abcdefghijklmnopqrst";
    let by_score = shape.architecture == "gemma3";
    let count = shape.vocabulary as usize;
    let mut tokens: Vec<String> = (0..256u32).map(|byte| spelled(byte, by_score)).collect();
    let mut merges = Vec::new();
    let mut place = 0;
    // Every string of these letters, the shorter first; each is one that is there already and a letter.
    let mut strings: Vec<String> = LETTERS.iter().map(|letter| char::from(*letter).to_string()).collect();
    while tokens.len() < count {
        let stem = strings[place].clone();
        place += 1;
        for letter in LETTERS {
            let letter = char::from(*letter);
            if tokens.len() == count {
                break;
            }
            let joined = format!("{stem}{letter}");
            merges.push(format!("{stem} {letter}"));
            tokens.push(joined.clone());
            strings.push(joined);
        }
    }
    tokens.truncate(count);
    let mut key = |name: &str, value: Value| outline.metadata.push((format!("tokenizer.ggml.{name}"), value));
    if by_score {
        key("model", Value::Text("llama".to_owned()));
        key("scores", Value::Array(Array::F32((0..tokens.len()).map(|id| -(id as f32)).collect())));
        let kinds = (0..tokens.len()).map(|id| if id < 256 { 6 } else { 1 });
        key("token_type", Value::Array(Array::I32(kinds.collect())));
    } else {
        key("model", Value::Text("gpt2".to_owned()));
        key("pre", Value::Text("qwen2".to_owned()));
        key("merges", Value::Array(Array::Text(merges)));
        key("token_type", Value::Array(Array::I32(vec![1; tokens.len()])));
    }
    key("tokens", Value::Array(Array::Text(tokens)));
}

/// A byte's token: `<0x0A>` in one family; in the other a printable character of its own.
fn spelled(byte: u32, by_score: bool) -> String {
    if by_score {
        return format!("<0x{byte:02X}>");
    }
    let printable = matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let before = (0..byte).filter(|byte| !matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)).count();
    let code = if printable { byte } else { 256 + u32::try_from(before).unwrap_or(0) };
    char::from_u32(code).map(String::from).unwrap_or_default()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 56) as u8
    }
}
