//! Records as lines for people and for other systems, beside a manifest that proves that none is missing.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use aws_lc_rs::digest;

use super::manifest::{FILE, HASHES, Manifest};
use super::staging::{Staging, failed};
use super::{Form, Options};
use crate::source::Source;
use crate::tree::{Tree, leaf_hash};
use crate::{AuditError, Leaf, form, tile};

/// Writes the lines, the hashes of the records and the manifest over `from..to`.
pub(super) fn write(
    source: &Source,
    staging: &mut Staging,
    form: Form,
    (from, to): (u64, u64),
    options: &Options<'_>,
) -> Result<(), AuditError> {
    let size = source.checkpoint.size;
    let left = source.roots(&tile::cover(0, from))?;
    let right = source.roots(&tile::cover(to, size))?;
    let mut tree = Tree::restore(from, &left.concat())
        .ok_or_else(|| source.damaged("the hashes before the range do not fit it".to_owned()))?;
    let mut lines = Counted::new(staging, form.file_name())?;
    let mut hashes = Counted::new(staging, HASHES)?;
    let mut counts = BTreeMap::new();
    lines.write(form.heading())?;
    source.each(from, to, |index, bytes| {
        let leaf = Leaf::parse(bytes).map_err(|cause| source.damaged(format!("record {index}: {cause}")))?;
        *counts.entry(leaf.kind().unwrap_or_default().to_owned()).or_insert(0) += 1;
        lines.write(&form::line(form, index, bytes, &leaf))?;
        let hash = leaf_hash(bytes);
        hashes.write(&hash)?;
        tree.push(hash);
        Ok(())
    })?;
    for (subtree, root) in tile::cover(to, size).into_iter().zip(&right) {
        tree.push_subtree(subtree.height, *root);
    }
    if tree.root() != source.checkpoint.root {
        return Err(source.damaged("its records do not lead to its signed root".to_owned()));
    }
    hashes.finish()?;
    let (bytes, sha256) = lines.finish()?;
    let manifest = Manifest {
        is_signed: options.key.is_some(),
        origin: source.checkpoint.origin.clone(),
        form,
        bytes,
        sha256,
        from,
        to,
        root: source.checkpoint.root,
        tool: options.tool.clone(),
        counts,
        left,
        right,
        checkpoint: source.note.clone(),
    };
    let text = match options.key {
        Some(key) => key.sign_text(&manifest.to_text(), &manifest.origin),
        None => manifest.to_text(),
    };
    staging.write(FILE, text.as_bytes())
}

/// A file whose bytes are counted and hashed as they pass.
struct Counted {
    path: std::path::PathBuf,
    file: BufWriter<std::fs::File>,
    bytes: u64,
    digest: digest::Context,
}

impl Counted {
    fn new(staging: &mut Staging, name: &str) -> Result<Self, AuditError> {
        Ok(Self {
            path: Path::new(name).to_owned(),
            file: BufWriter::new(staging.create(name)?),
            bytes: 0,
            digest: digest::Context::new(&digest::SHA256),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), AuditError> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|cause| failed("write", &self.path, &cause))
    }

    fn finish(self) -> Result<(u64, [u8; 32]), AuditError> {
        let Self { path, file, bytes, digest } = self;
        let synced = file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|cause| failed("write", &path, &cause))?;
        let digest = digest.finish();
        Ok((bytes, digest.as_ref().try_into().expect("SHA-256 has 32 bytes")))
    }
}
