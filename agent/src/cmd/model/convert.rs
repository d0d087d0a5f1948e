//! `outpost model convert`: a Hugging Face directory becomes one file.

use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_engine::convert::{Precision, convert};
use serde_json::json;

use super::{Here, say, say_json};
use crate::cmd::bar::Bar;

pub(super) fn run(here: &Here, directory: &Path, output: &Path, to: &str) -> Result<()> {
    let Some(precision) = Precision::from_name(to) else {
        let names: Vec<_> = Precision::ALL.iter().map(|known| known.name()).collect();
        bail!("`{to}` is not what a directory is converted to; choose one of {}", names.join(", "));
    };
    let mut bar = Bar::new("MiB");
    let converted = convert(directory, output, precision, &mut |at| bar.at(at.bytes_done >> 20, at.bytes >> 20));
    drop(bar);
    let summary = converted.with_context(|| format!("`{}` was not converted", directory.display()))?;
    if here.json {
        return say_json(&json!({
            "architecture": summary.architecture, "tensors": summary.tensors, "weights": summary.weights,
            "tensor_bytes": summary.tensor_bytes, "notes": summary.notes,
        }));
    }
    say(format!(
        "{}: {} in {}, {} tensors, {} weights, {} bytes",
        output.display(),
        summary.architecture,
        precision.name(),
        summary.tensors,
        summary.weights,
        summary.tensor_bytes
    ))?;
    summary.notes.iter().try_for_each(|note| say(format!("note: {note}")))
}
