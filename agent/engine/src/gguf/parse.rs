//! The validator: reads a GGUF header with checked arithmetic and bounded memory, and vouches for every tensor's range.
//!
//! Layout (GGUF specification, version 3, little endian): magic, version u32, tensor count u64, metadata count u64,
//! metadata (key, type, value), tensor entries (name, dimension count u32, dimensions u64…, format u32, offset u64),
//! padding to the alignment, tensor data.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::{Array, Format, GgufError, Value};

/// Most metadata keys of a file; real files have under 100.
const METADATA_KEYS: u64 = 4_096;
/// Most tensors of a file; the largest dense models have about 2,000.
const TENSORS: u64 = 65_536;
/// Longest key or tensor name, bytes; `ggml` allows 64 for tensors and 65,535 for keys.
const NAME_BYTES: u64 = 1_024;
/// Longest text value, bytes; chat templates reach a few tens of KiB.
const TEXT_BYTES: u64 = 4 << 20;
/// Most elements of all arrays together; the largest vocabularies have 262,144 tokens and half a million merges.
const ARRAY_ELEMENTS: u64 = 8 << 20;
/// Longest header, bytes: all that is copied out of the file before its tensors are believed. A vocabulary of 262,144 tokens
/// with its merges takes 16 MiB.
const HEADER_BYTES: u64 = 128 << 20;
/// Dimensions of a tensor.
const DIMENSIONS: u32 = 4;
/// Most weights of one tensor. Real ones stay below 2^33.
const TENSOR_WEIGHTS: u64 = 1 << 38;

/// A validated header.
#[derive(Debug)]
pub struct Header {
    /// GGUF version.
    pub version: u32,
    /// Alignment of tensors, bytes.
    pub alignment: u64,
    /// Metadata in file order.
    pub metadata: Vec<(String, Value)>,
    /// Tensors in file order.
    pub tensors: Vec<TensorEntry>,
    keys: HashMap<String, usize>,
    names: HashMap<String, usize>,
}

/// One tensor: its name, shape and where its bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Name, as in `blk.0.attn_q.weight`.
    pub name: String,
    /// Dimensions, the fastest-running first: a matrix is `[columns, rows]`.
    pub shape: Vec<u64>,
    /// Block format.
    pub format: Format,
    /// Where the bytes lie in the file; checked to be inside it.
    pub range: Range<usize>,
}

impl TensorEntry {
    /// Number of weights.
    #[must_use]
    pub fn weights(&self) -> u64 {
        self.shape.iter().product()
    }
}

impl Header {
    /// One metadata value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).map(|index| &self.metadata[*index].1)
    }

    /// One tensor's entry.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorEntry> {
        self.names.get(name).map(|index| &self.tensors[*index])
    }
}

/// Validates a whole file's bytes.
///
/// # Errors
/// Says which promise of the header does not hold.
pub fn parse(file: &[u8]) -> Result<Header, GgufError> {
    parse_header(file, file.len() as u64)
}

/// Validates the first bytes of a file that has so many.
pub(super) fn parse_header(file: &[u8], length: u64) -> Result<Header, GgufError> {
    let mut reader = Reader { file, at: 0, elements_left: ARRAY_ELEMENTS };
    if reader.take(4, "the magic number").map_err(|_| GgufError::Magic)? != b"GGUF" {
        return Err(GgufError::Magic);
    }
    let version = reader.u32("the version")?;
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version { version });
    }
    let tensor_count = reader.u64("the tensor count")?;
    let key_count = reader.u64("the metadata count")?;
    limit("the tensor count", tensor_count, TENSORS)?;
    limit("the metadata count", key_count, METADATA_KEYS)?;

    let (metadata, keys) = read_metadata(&mut reader, key_count)?;
    let alignment = match keys.get("general.alignment").map(|index| &metadata[*index].1) {
        None => 32,
        Some(value) => value
            .as_count()
            .filter(|alignment| alignment.is_power_of_two() && (8..=65_536).contains(alignment))
            .ok_or_else(|| GgufError::Alignment { alignment: value.as_count().unwrap_or(0) })?,
    };
    let architecture =
        keys.get("general.architecture").and_then(|index| metadata[*index].1.as_text()).unwrap_or_default();
    let drafts = read_entries(&mut reader, tensor_count, architecture)?;
    let (tensors, names) = place(length, reader.at as u64, alignment, drafts)?;
    Ok(Header { version, alignment, metadata, tensors, keys, names })
}

type Metadata = (Vec<(String, Value)>, HashMap<String, usize>);

fn read_metadata(reader: &mut Reader<'_>, count: u64) -> Result<Metadata, GgufError> {
    let mut metadata = Vec::new();
    let mut keys = HashMap::new();
    for index in 0..count {
        let key = reader.text(NAME_BYTES, || format!("metadata key {index}"))?;
        let type_id = reader.u32("a value type")?;
        let value = reader.value(&key, type_id)?;
        if keys.insert(key.clone(), metadata.len()).is_some() {
            return Err(GgufError::Duplicate { what: "metadata key", name: key });
        }
        metadata.push((key, value));
    }
    Ok((metadata, keys))
}

/// A tensor entry whose place in the file is not yet checked.
struct Draft {
    name: String,
    shape: Vec<u64>,
    format: Format,
    offset: u64,
    bytes: u64,
}

fn read_entries(reader: &mut Reader<'_>, count: u64, architecture: &str) -> Result<Vec<Draft>, GgufError> {
    let mut drafts = Vec::new();
    let mut seen = HashSet::new();
    for index in 0..count {
        let name = reader.text(NAME_BYTES, || format!("name of tensor {index}"))?;
        let dimensions = reader.u32("a dimension count")?;
        if !(1..=DIMENSIONS).contains(&dimensions) {
            return Err(GgufError::TooLarge {
                what: format!("the dimension count of tensor `{name}`"),
                value: u64::from(dimensions),
                limit: u64::from(DIMENSIONS),
            });
        }
        let shape = (0..dimensions).map(|_| reader.u64("a dimension")).collect::<Result<Vec<_>, _>>()?;
        let type_id = reader.u32("a block format")?;
        let offset = reader.u64("a tensor offset")?;
        let Some(format) = Format::from_id(type_id, architecture) else {
            return Err(GgufError::TensorFormat { tensor: name, type_id });
        };
        let wrong = |why| GgufError::Shape { tensor: name.clone(), shape: shape.clone(), why };
        if shape.contains(&0) {
            return Err(wrong("a dimension is 0"));
        }
        let weights = shape
            .iter()
            .try_fold(1u64, |product, dimension| product.checked_mul(*dimension))
            .filter(|weights| *weights <= TENSOR_WEIGHTS)
            .ok_or_else(|| wrong("no real tensor has so many weights"))?;
        if !shape[0].is_multiple_of(format.block_weights()) {
            return Err(wrong("the first dimension does not fill whole blocks of its format"));
        }
        let bytes = format.bytes_for(weights).ok_or_else(|| wrong("its size in bytes overflows"))?;
        if !seen.insert(name.clone()) {
            return Err(GgufError::Duplicate { what: "tensor", name });
        }
        drafts.push(Draft { name, shape, format, offset, bytes });
    }
    Ok(drafts)
}

type Placed = (Vec<TensorEntry>, HashMap<String, usize>);

fn place(length: u64, header_end: u64, alignment: u64, drafts: Vec<Draft>) -> Result<Placed, GgufError> {
    let data = header_end.next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if !draft.offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned { tensor: draft.name, offset: draft.offset, alignment });
        }
        let begin = data.checked_add(draft.offset);
        let end = begin.and_then(|begin| begin.checked_add(draft.bytes));
        let range = match (begin, end) {
            (Some(begin), Some(end)) if end <= length => {
                usize::try_from(begin).ok().zip(usize::try_from(end).ok()).map(|(begin, end)| begin..end)
            }
            _ => None,
        };
        let Some(range) = range else {
            return Err(GgufError::Truncated {
                what: format!("tensor `{}`", draft.name),
                offset: data.saturating_add(draft.offset),
                needed: draft.bytes,
                length,
            });
        };
        tensors.push(TensorEntry { name: draft.name, shape: draft.shape, format: draft.format, range });
    }
    no_overlap(&tensors)?;
    let names = tensors.iter().enumerate().map(|(index, tensor)| (tensor.name.clone(), index)).collect();
    Ok((tensors, names))
}

fn no_overlap(tensors: &[TensorEntry]) -> Result<(), GgufError> {
    let mut order: Vec<&TensorEntry> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.range.start);
    match order.windows(2).find(|pair| pair[0].range.end > pair[1].range.start) {
        None => Ok(()),
        Some(pair) => Err(GgufError::Overlap { first: pair[0].name.clone(), second: pair[1].name.clone() }),
    }
}

fn limit(what: &str, value: u64, limit: u64) -> Result<(), GgufError> {
    if value > limit { Err(GgufError::TooLarge { what: what.to_owned(), value, limit }) } else { Ok(()) }
}

/// A cursor that can only move forward inside the file.
struct Reader<'file> {
    file: &'file [u8],
    at: usize,
    elements_left: u64,
}

impl<'file> Reader<'file> {
    fn take(&mut self, bytes: u64, what: &str) -> Result<&'file [u8], GgufError> {
        limit("the header's length", (self.at as u64).saturating_add(bytes), HEADER_BYTES)?;
        let rest = &self.file[self.at..];
        match usize::try_from(bytes).ok().and_then(|bytes| rest.get(..bytes)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(GgufError::Truncated {
                what: what.to_owned(),
                offset: self.at as u64,
                needed: bytes,
                length: self.file.len() as u64,
            }),
        }
    }

    fn array_of<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, what)?);
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array_of(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array_of(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, most: u64, what: impl Fn() -> String) -> Result<String, GgufError> {
        let bytes = self.u64("a text length")?;
        if bytes > most {
            return Err(GgufError::TooLarge { what: format!("the length of {}", what()), value: bytes, limit: most });
        }
        let taken = self.take(bytes, "a text")?;
        std::str::from_utf8(taken).map(str::to_owned).map_err(|_| GgufError::Text { what: what() })
    }

    fn value(&mut self, key: &str, type_id: u32) -> Result<Value, GgufError> {
        Ok(match type_id {
            0 => Value::U8(u8::from_le_bytes(self.array_of(key)?)),
            1 => Value::I8(i8::from_le_bytes(self.array_of(key)?)),
            2 => Value::U16(u16::from_le_bytes(self.array_of(key)?)),
            3 => Value::I16(i16::from_le_bytes(self.array_of(key)?)),
            4 => Value::U32(self.u32(key)?),
            5 => Value::I32(i32::from_le_bytes(self.array_of(key)?)),
            6 => Value::F32(f32::from_le_bytes(self.array_of(key)?)),
            7 => Value::Bool(self.array_of::<1>(key)?[0] != 0),
            8 => Value::Text(self.text(TEXT_BYTES, || format!("`{key}`"))?),
            9 => Value::Array(self.array(key)?),
            10 => Value::U64(self.u64(key)?),
            11 => Value::I64(i64::from_le_bytes(self.array_of(key)?)),
            12 => Value::F64(f64::from_le_bytes(self.array_of(key)?)),
            _ => return Err(GgufError::ValueType { key: key.to_owned(), type_id }),
        })
    }

    fn array(&mut self, key: &str) -> Result<Array, GgufError> {
        let type_id = self.u32(key)?;
        let count = self.u64(key)?;
        limit(&format!("the element count of `{key}`"), count, self.elements_left)?;
        self.elements_left -= count;
        Ok(match type_id {
            0 => Array::U8(self.numbers(key, count, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(key, count, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(key, count, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(key, count, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(key, count, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(key, count, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(key, count, f32::from_le_bytes)?),
            7 => Array::Bool(self.numbers(key, count, |bytes: [u8; 1]| bytes[0] != 0)?),
            8 => Array::Text(
                (0..count)
                    .map(|index| self.text(TEXT_BYTES, || format!("element {index} of `{key}`")))
                    .collect::<Result<_, _>>()?,
            ),
            10 => Array::U64(self.numbers(key, count, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(key, count, i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(key, count, f64::from_le_bytes)?),
            // Lists of lists are legal and no model uses them: refusing them bounds the recursion.
            _ => return Err(GgufError::ValueType { key: key.to_owned(), type_id }),
        })
    }

    fn numbers<const N: usize, T>(
        &mut self,
        key: &str,
        count: u64,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, GgufError> {
        // `count` is at most ARRAY_ELEMENTS, so the product cannot overflow.
        let bytes = self.take(count * N as u64, key)?;
        Ok(bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect())
    }
}
