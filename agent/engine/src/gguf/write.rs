//! Writes a GGUF file: header, metadata, tensor entries, then each tensor's bytes at its aligned place.

use std::io::{self, Write};

use super::{Array, Format, Value};

/// Alignment of tensors in files written here, bytes: the default of the format.
pub(crate) const ALIGNMENT: u64 = 32;

/// What stands in front of the tensor bytes.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// Metadata in the order to write. `general.alignment` is left out: the default is used.
    pub metadata: Vec<(String, Value)>,
    /// Tensors in the order to write: name, shape (fastest-running first), format.
    pub tensors: Vec<(String, Vec<u64>, Format)>,
}

/// Writes a file; `fill` is asked for each tensor's bytes in order, by index.
///
/// # Errors
/// Fails when writing fails, when `fill` fails, or when a tensor's bytes do not fit its shape and format.
pub fn write(
    out: &mut impl Write,
    outline: &Outline,
    mut fill: impl FnMut(usize, &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    write_in_parts(out, outline, |index, out| {
        bytes.clear();
        fill(index, &mut bytes)?;
        out.write_all(&bytes)
    })
}

/// As [`write`], for tensors that are never in memory as a whole: `fill` writes each tensor's bytes in as many parts as it
/// likes.
///
/// # Errors
/// As [`write`].
pub fn write_in_parts(
    out: &mut impl Write,
    outline: &Outline,
    mut fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let (header, sizes) = header(outline)?;
    out.write_all(&header)?;
    for (index, size) in sizes.iter().enumerate() {
        let mut counted = Counted { out, bytes: 0 };
        fill(index, &mut counted)?;
        if counted.bytes != *size {
            return Err(io::Error::other(format!(
                "tensor `{}` has {} bytes, its shape needs {size}",
                outline.tensors[index].0, counted.bytes
            )));
        }
        out.write_all(&vec![0; padding(*size)])?;
    }
    Ok(())
}

/// Knows how many bytes went through it.
struct Counted<'out, W> {
    out: &'out mut W,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

pub(crate) fn header(outline: &Outline) -> io::Result<(Vec<u8>, Vec<u64>)> {
    let metadata: Vec<_> = outline.metadata.iter().filter(|(key, _)| key != "general.alignment").collect();
    let mut header = Vec::new();
    header.extend_from_slice(b"GGUF");
    header.extend_from_slice(&3u32.to_le_bytes());
    header.extend_from_slice(&(outline.tensors.len() as u64).to_le_bytes());
    header.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_text(&mut header, key);
        put_value(&mut header, value);
    }
    let mut offset = 0u64;
    let mut sizes = Vec::new();
    for (name, shape, format) in &outline.tensors {
        let size = shape
            .iter()
            .try_fold(1u64, |product, dimension| product.checked_mul(*dimension))
            .and_then(|weights| format.bytes_for(weights))
            .ok_or_else(|| {
                io::Error::other(format!("tensor `{name}` cannot be {} in shape {shape:?}", format.name()))
            })?;
        put_text(&mut header, name);
        header.extend_from_slice(&u32::try_from(shape.len()).map_err(io::Error::other)?.to_le_bytes());
        shape.iter().for_each(|dimension| header.extend_from_slice(&dimension.to_le_bytes()));
        header.extend_from_slice(&format.id().to_le_bytes());
        header.extend_from_slice(&offset.to_le_bytes());
        offset = (offset + size).next_multiple_of(ALIGNMENT);
        sizes.push(size);
    }
    let length = header.len();
    header.resize(length + padding(length as u64), 0);
    Ok((header, sizes))
}

fn padding(length: u64) -> usize {
    // Below ALIGNMENT, so the cast loses nothing.
    (length.next_multiple_of(ALIGNMENT) - length) as usize
}

fn put_text(header: &mut Vec<u8>, text: &str) {
    header.extend_from_slice(&(text.len() as u64).to_le_bytes());
    header.extend_from_slice(text.as_bytes());
}

fn put_value(header: &mut Vec<u8>, value: &Value) {
    header.extend_from_slice(&value_type(value).to_le_bytes());
    match value {
        Value::U8(number) => header.push(*number),
        Value::I8(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::U16(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::I16(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::U32(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::I32(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::F32(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::Bool(flag) => header.push(u8::from(*flag)),
        Value::Text(text) => put_text(header, text),
        Value::Array(array) => put_array(header, array),
        Value::U64(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::I64(number) => header.extend_from_slice(&number.to_le_bytes()),
        Value::F64(number) => header.extend_from_slice(&number.to_le_bytes()),
    }
}

fn value_type(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::Text(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn put_array(header: &mut Vec<u8>, array: &Array) {
    fn put<T>(header: &mut Vec<u8>, type_id: u32, items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
        header.extend_from_slice(&type_id.to_le_bytes());
        header.extend_from_slice(&(items.len() as u64).to_le_bytes());
        items.iter().for_each(|item| each(header, item));
    }
    match array {
        Array::U8(items) => put(header, 0, items, |out, item| out.push(*item)),
        Array::I8(items) => put(header, 1, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::U16(items) => put(header, 2, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::I16(items) => put(header, 3, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::U32(items) => put(header, 4, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::I32(items) => put(header, 5, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::F32(items) => put(header, 6, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::Bool(items) => put(header, 7, items, |out, item| out.push(u8::from(*item))),
        Array::Text(items) => put(header, 8, items, |out, item| put_text(out, item)),
        Array::U64(items) => put(header, 10, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::I64(items) => put(header, 11, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
        Array::F64(items) => put(header, 12, items, |out, item| out.extend_from_slice(&item.to_le_bytes())),
    }
}
