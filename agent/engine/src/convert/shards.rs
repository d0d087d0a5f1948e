//! The tensors of a directory: one safetensors file, or shards that an index names; checked, then memory-mapped.
//!
//! A file is: header length u64 (little endian), header (JSON: name → type, shape, offsets), tensor bytes. The `safetensors`
//! library vouches for a header: every tensor's length is its shape times its type, all lie in the file, none overlap and
//! nothing lies between them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use safetensors::{Dtype, SafeTensors};

use super::{ConvertError, directory::Directory};
use crate::gguf::FileMap;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Longest header; the largest models' shards have less than 1 MiB.
const HEADER_BYTES: u64 = 32 << 20;
/// Most shards of one model; the largest have some hundred.
const SHARDS: usize = 1_024;
/// Most dimensions; a model's weights have one or two, and what is left out (vision) up to four.
const DIMENSIONS: usize = 8;

/// One tensor as it lies in its file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) kind: Dtype,
    /// The slowest-running first: a matrix is `[rows, columns]`.
    pub(super) shape: Vec<usize>,
    shard: usize,
    range: Range<usize>,
}

impl Stored {
    pub(super) fn describe(&self) -> String {
        format!("{} {:?}", self.kind, self.shape)
    }
}

/// All tensors of a directory by name.
#[derive(Debug)]
pub(super) struct Shards {
    files: Vec<FileMap>,
    tensors: BTreeMap<String, Stored>,
}

impl Shards {
    pub(super) fn open(directory: &Directory) -> Result<Self, ConvertError> {
        let named = if directory.has(INDEX) { Some(index(directory)?) } else { None };
        let names = match &named {
            Some(index) => index.values().cloned().collect::<BTreeSet<_>>(),
            None => BTreeSet::from([SINGLE.to_owned()]),
        };
        let mut all = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for name in names {
            all.add(directory, &name, named.as_ref())?;
        }
        if let Some(missing) = named.iter().flat_map(BTreeMap::keys).find(|tensor| !all.tensors.contains_key(*tensor)) {
            return Err(ConvertError::MissingTensor { tensor: missing.clone() });
        }
        Ok(all)
    }

    fn add(
        &mut self,
        directory: &Directory,
        name: &str,
        index: Option<&BTreeMap<String, String>>,
    ) -> Result<(), ConvertError> {
        let path = directory.path(name);
        let refuse = |why: String| ConvertError::File { path: path.clone(), why };
        let map =
            FileMap::of(&directory.open(name)?).map_err(|source| ConvertError::Read { path: path.clone(), source })?;
        let file = map.bytes();
        // The length first: nothing of the header is read before it is known to be in the file and of a sane size.
        let length = file.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
        match length {
            Some(length) if length > HEADER_BYTES => {
                return Err(ConvertError::TooLarge { path, bytes: length, limit: HEADER_BYTES });
            }
            Some(length) if length <= file.len() as u64 - 8 => {}
            _ => return Err(refuse("it ends before its header does; fetch it again".to_owned())),
        }
        let (header, described) = SafeTensors::read_metadata(file).map_err(|error| refuse(error.to_string()))?;
        for tensor in described.offset_keys() {
            let Some(info) = described.info(&tensor) else { continue };
            if index.is_some_and(|index| index.get(&tensor).map(String::as_str) != Some(name)) {
                return Err(refuse(format!("it holds tensor `{tensor}`, which the index does not look for there")));
            }
            if info.shape.len() > DIMENSIONS {
                return Err(refuse(format!("tensor `{tensor}` has {} dimensions", info.shape.len())));
            }
            let data = header + 8;
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            let stored = Stored { kind: info.dtype, shape: info.shape.clone(), shard: self.files.len(), range };
            if self.tensors.insert(tensor.clone(), stored).is_some() {
                return Err(refuse(format!("tensor `{tensor}` is in another shard too")));
            }
        }
        self.files.push(map);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Stored> {
        self.tensors.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's bytes as they lie in the file.
    pub(super) fn bytes(&self, tensor: &Stored) -> &[u8] {
        // The library checked that the range lies in the file, and entries are only made in `add`.
        self.files[tensor.shard].bytes().get(tensor.range.clone()).unwrap_or_default()
    }
}

/// Tensor → file name, where every name is nothing but a name.
fn index(directory: &Directory) -> Result<BTreeMap<String, String>, ConvertError> {
    let refuse = |why: &str| ConvertError::File { path: directory.path(INDEX), why: why.to_owned() };
    let mut whole = directory.json_object(INDEX)?;
    let Some(serde_json::Value::Object(map)) = whole.remove("weight_map") else {
        return Err(refuse("it has no `weight_map`"));
    };
    let mut index = BTreeMap::new();
    for (tensor, name) in map {
        let serde_json::Value::String(name) = name else { return Err(refuse("a shard's name is no text")) };
        let plain = name.ends_with(".safetensors")
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !plain {
            return Err(ConvertError::ShardName { name });
        }
        index.insert(tensor, name);
    }
    if index.values().collect::<BTreeSet<_>>().len() > SHARDS {
        return Err(refuse("it names more shards than any model has"));
    }
    Ok(index)
}
