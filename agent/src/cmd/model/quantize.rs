//! `outpost model quantize`: a smaller variant of a file.

use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_engine::quantize::{Progress, Quantisation, quantize_with_progress};
use serde_json::json;

use super::super::bar::Bar;
use super::{Here, say, say_json};

pub(super) fn run(here: &Here, input: &Path, output: &Path, to: &str) -> Result<()> {
    let Some(target) = Quantisation::from_name(to) else {
        let names: Vec<_> = Quantisation::ALL.iter().map(|known| known.name()).collect();
        bail!("`{to}` is not a quantisation that can be written here; choose one of {}", names.join(", "));
    };
    let mut bar = Bar::new("MiB");
    let mut progress = |progress: Progress| bar.at(progress.bytes_done >> 20, progress.bytes >> 20);
    let summary = quantize_with_progress(input, output, target, &mut progress).context("no variant was written");
    drop(bar);
    let summary = summary?;
    if here.json {
        return say_json(&json!({
            "tensors": summary.tensors, "changed": summary.changed,
            "input_bytes": summary.input_bytes, "output_bytes": summary.output_bytes,
        }));
    }
    say(format!(
        "{}: {} of {} tensors changed, {} → {} bytes",
        output.display(),
        summary.changed,
        summary.tensors,
        summary.input_bytes,
        summary.output_bytes
    ))
}
