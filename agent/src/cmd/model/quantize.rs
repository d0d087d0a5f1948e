//! `outpost model quantize`: a smaller variant of a file, by rule or by what a sample text shows.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use outpost_engine::quantize::calibrated::{Budget, Calibrated, Sample, Stage, Target, Workshop};
use outpost_engine::quantize::{Progress, Quantisation, Summary, quantize_with_progress};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::bar::Bar;
use super::{Here, read_text, say, say_json};
use crate::args::Quantize;

/// What `--to` says for a mix.
const MIXED: &str = "mixed";
/// Bits per weight that somebody may ask for.
const BITS: std::ops::RangeInclusive<f64> = 1.0..=32.0;

pub(super) fn run(here: &Here, arguments: &Quantize) -> Result<()> {
    let target = target(arguments)?;
    check_apart(arguments)?;
    match (&arguments.sample, target) {
        (Some(sample), target) => with_sample(here, arguments, sample, target),
        (None, Target::Uniform(to)) => by_rule(here, arguments, to),
        (None, Target::Mixed(_)) => bail!(
            "`--to {MIXED}` measures on a text what each matrix needs: give one with `--sample FILE`, like what the model \
             will be asked, of 512 tokens or more"
        ),
    }
}

/// What was written on the command line, as what it means.
fn target(arguments: &Quantize) -> Result<Target> {
    let budget = match (arguments.bits, arguments.size, &arguments.like) {
        (Some(bits), _, _) if BITS.contains(&bits) => Some(Budget::BitsMilli((bits * 1_000.0).round() as u64)),
        (Some(bits), _, _) => bail!("`--bits {bits}` is no size of a weight: give 1 to 32, as in `--bits 4.8`"),
        (_, Some(bytes), _) => Some(Budget::FileBytes(bytes)),
        (_, _, Some(name)) => Some(Budget::Like(named(name)?)),
        _ => None,
    };
    match (arguments.to.eq_ignore_ascii_case(MIXED), budget) {
        (true, Some(budget)) => Ok(Target::Mixed(budget)),
        (true, None) => {
            bail!(
                "`--to {MIXED}` needs a size: `--bits 4.8`, `--size BYTES`, or `--like Q4_K_M` to be no larger than that"
            )
        }
        (false, None) => Ok(Target::Uniform(named(&arguments.to)?)),
        (false, Some(_)) => {
            bail!("`--bits`, `--size` and `--like` are for `--to {MIXED}`: `{}` has the size that it has", arguments.to)
        }
    }
}

fn named(name: &str) -> Result<Quantisation> {
    let Some(found) = Quantisation::from_name(name) else {
        let names: Vec<_> = Quantisation::ALL.iter().map(|known| known.name()).collect();
        bail!("`{name}` is not a quantisation that can be written here; choose one of {}, {MIXED}", names.join(", "));
    };
    Ok(found)
}

/// Whoever writes over what he reads has lost both if anything goes wrong, and the larger variant if nothing does.
fn check_apart(arguments: &Quantize) -> Result<()> {
    let file = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if file(&arguments.input).is_some_and(|input| file(&arguments.output) == Some(input)) {
        bail!("`{}` is what would be read: name another file to write", arguments.output.display());
    }
    Ok(())
}

fn by_rule(here: &Here, arguments: &Quantize, to: Quantisation) -> Result<()> {
    let mut bar = Bar::new("MiB");
    let mut progress = |progress: Progress| bar.at(progress.bytes_done >> 20, progress.bytes >> 20);
    let summary = quantize_with_progress(&arguments.input, &arguments.output, to, &mut progress);
    drop(bar);
    let summary = summary.context("no variant was written")?;
    if here.json {
        return say_json(&json!({
            "tensors": summary.tensors, "changed": summary.changed,
            "input_bytes": summary.input_bytes, "output_bytes": summary.output_bytes,
        }));
    }
    say(told(&arguments.output, &summary))
}

fn with_sample(here: &Here, arguments: &Quantize, file: &Path, target: Target) -> Result<()> {
    let text = read_text(file)?;
    let workshop = Workshop::open(&arguments.input, arguments.threads.unwrap_or(0))
        .with_context(|| format!("cannot load `{}`", arguments.input.display()))?;
    let id = format!("sha256:{}", hex::encode(Sha256::digest(text.as_bytes())));
    let sample = Sample::of_text(workshop.model(), &text, arguments.special, id)
        .with_context(|| format!("`{}` cannot be measured on", file.display()))?;
    let mut bars = Bars::default();
    let made = workshop.write(&arguments.output, target, &sample, &mut |stage| bars.at(stage));
    drop(bars);
    let made = made.context("no variant was written")?;
    if here.json {
        return say_json(&json!({
            "tensors": made.summary.tensors, "changed": made.summary.changed,
            "input_bytes": made.summary.input_bytes, "output_bytes": made.summary.output_bytes,
            "sample_tokens": made.tokens, "mean_divergence": made.divergence, "top1_agreement": made.agreement,
            "predicted_divergence": made.predicted,
        }));
    }
    show(&arguments.output, &made)
}

fn show(output: &Path, made: &Calibrated) -> Result<()> {
    say(told(output, &made.summary))?;
    say(format!("measured on     {} tokens of the sample", made.tokens))?;
    if let Some(predicted) = made.predicted {
        say(format!("predicted       {predicted:.6} nats per token from the original"))?;
    }
    say(format!(
        "divergence      {:.6} nats per token, on a part of the sample that was kept for it",
        made.divergence
    ))?;
    say(format!("same choice     {:.2} % of tokens there", made.agreement * 100.0))
}

fn told(output: &Path, summary: &Summary) -> String {
    format!(
        "{}: {} of {} tensors changed, {} → {} bytes",
        output.display(),
        summary.changed,
        summary.tensors,
        summary.input_bytes,
        summary.output_bytes
    )
}

/// A bar for each stage of the work.
#[derive(Default)]
struct Bars {
    stage: Option<(&'static str, Bar)>,
}

impl Bars {
    fn at(&mut self, stage: Stage) {
        let (what, done, all) = match stage {
            Stage::Listening(done, all) => ("passages listened to", done as u64, all as u64),
            Stage::Measuring(done, all) => ("matrices measured", done as u64, all as u64),
            Stage::Judging(done, all) => ("matrices to be judged", done as u64, all as u64),
            Stage::Writing(at) => ("MiB", at.bytes_done >> 20, at.bytes >> 20),
        };
        if self.stage.as_ref().is_none_or(|(known, _)| *known != what) {
            self.stage = Some((what, Bar::new(what)));
        }
        if let Some((_, bar)) = &mut self.stage {
            bar.at(done, all);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        quantize: Quantize,
    }

    fn meant(line: &str) -> Result<Target> {
        let words = ["quantize", "in.gguf", "out.gguf"].into_iter().chain(line.split_whitespace());
        target(&Line::try_parse_from(words)?.quantize)
    }

    #[test]
    fn what_is_written_is_understood() {
        assert_eq!(meant("--to q4_0").ok(), Some(Target::Uniform(Quantisation::Q4_0)));
        assert_eq!(meant("--to mixed --bits 4.8").ok(), Some(Target::Mixed(Budget::BitsMilli(4_800))));
        assert_eq!(meant("--to Mixed --size 1000").ok(), Some(Target::Mixed(Budget::FileBytes(1_000))));
        let like = Target::Mixed(Budget::Like(Quantisation::Q4_K_M));
        assert_eq!(meant("--to mixed --like q4_k_m --sample words.txt --special").ok(), Some(like));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_way_out() {
        let refusal = |line: &str| meant(line).expect_err("that means nothing").to_string();
        assert!(refusal("--to mixed").contains("--like Q4_K_M"));
        assert!(refusal("--to Q9").contains("Q4_0"));
        assert!(refusal("--to mixed --like mixed").contains("choose one"));
        assert!(refusal("--to Q4_0 --bits 4.8").contains("for `--to mixed`"));
        for bits in ["0", "nan", "inf", "1e9"] {
            assert!(refusal(&format!("--to mixed --bits {bits}")).contains("1 to 32"), "{bits}");
        }
        assert!(refusal("--to mixed --bits 5 --size 5").contains("cannot be used with"));
        assert!(refusal("--to Q4_0 --special").contains("--sample"));
    }
}
