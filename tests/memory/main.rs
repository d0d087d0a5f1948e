//! The memory that the planner predicts against what a fresh process takes at the most, its context filled: none may take more.
//!
//! ```text
//! cargo test -p outpost-tests --test memory             small files, seconds
//! cargo test -p outpost-tests --test memory -- --all    6 shapes × 3 formats × 3 contexts, a quarter of an hour and up to 2 GiB
//! ```
//! A measured process loads a file of random weights, makes the tree of tokens that grammars need, fills both of its
//! conversations to the last token, scores a prompt and begins anew, and says what it held at its highest: everything that was
//! resident, mapped pages of the file included, less what it held before it opened the file and less the program itself.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its table is for people, its trace for faults")]

mod measured;
mod shapes;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use outpost_agent::facts;
use outpost_engine::gguf::Gguf;
use outpost_planner::{KvType, Needs, Setting, needs};
use outpost_tests::single::{Asked, of_itself};

/// Conversations at once.
const SLOTS: u32 = 2;
const THREADS: u32 = 2;

/// How far a prediction may be above what was measured: the larger of a twentieth and this.
const ALLOWED_BYTES: u64 = 50 << 20;

const NAME: &str = "no_process_takes_more_than_was_predicted";

/// What this test program may be asked for.
#[derive(Parser)]
struct Arguments {
    /// Every shape, format and context.
    #[arg(long)]
    all: bool,
    /// Of those, only the shapes and formats whose names hold this, as in `tied Q8_0`.
    #[arg(long, default_value = "")]
    only: String,
    /// Be the measured process of this file.
    #[arg(long, requires = "context")]
    measure: Option<std::path::PathBuf>,
    #[arg(long)]
    context: Option<u32>,
    /// Look up rows all over its table of embeddings, which is not packed.
    #[arg(long)]
    table: bool,
    #[command(flatten)]
    asked: Asked,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.asked.run(NAME, || match (&arguments.measure, arguments.context) {
        (Some(file), Some(context)) => measured::run(file, context, arguments.table),
        _ => compare(arguments.all, &arguments.only),
    })
}

fn compare(all: bool, only: &str) -> Result<()> {
    let (shapes, formats, contexts) = if all {
        (shapes::all(), ["F16", "Q8_0", "Q4_K_M"].as_slice(), [512, 1_024, 4_096].as_slice())
    } else {
        let shapes = vec![("small", shapes::small()), ("small, windowed", shapes::small_windowed())];
        (shapes, ["Q8_0", "Q4_K_M"].as_slice(), [256, 1_024].as_slice())
    };
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let (mut cells, mut wrong) = (0, Vec::new());
    println!(
        "{:<18} {:<7} {:>7}  {:>9} {:>9} {:>9}  what was predicted (MiB)",
        "shape", "format", "context", "predicted", "measured", "error"
    );
    for (name, shape) in &shapes {
        for format in formats.iter().filter(|format| format!("{name} {format}").contains(only)) {
            let file = folder.path().join("model.gguf");
            shapes::write(&file, shape, format).with_context(|| format!("no file of {name} in {format}"))?;
            for context in contexts {
                let cell = Cell::measure(&file, *context, shape.tied)?;
                cells += 1;
                println!("{name:<18} {format:<7} {context:>7}  {cell}");
                wrong.extend(cell.fault().map(|fault| format!("{name} {format} {context}: {fault}")));
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {cells} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    println!("{cells} of {cells} are kept");
    Ok(())
}

/// One process.
struct Cell {
    needs: Needs,
    predicted: u64,
    measured: u64,
}

impl Cell {
    fn measure(file: &std::path::Path, context: u32, tied: bool) -> Result<Self> {
        let info = Gguf::open(file)?.info();
        let facts = facts::variant(facts::model_id(file, &info)?, 1, &info);
        let setting = Setting { context_tokens: context, slots: SLOTS, threads: THREADS, kv_type: KvType::default() };
        let needs = needs(&facts, &setting);
        let [file, context] = [file.to_string_lossy().into_owned(), context.to_string()];
        let mut arguments = vec!["--measure", &file, "--context", &context];
        if !tied {
            arguments.push("--table");
        }
        let said = of_itself(&arguments)?;
        let measured = said.trim().parse().with_context(|| format!("the measured process printed `{said}`"))?;
        Ok(Self { predicted: needs.total() - needs.base_bytes, needs, measured })
    }

    fn fault(&self) -> Option<String> {
        let allowed = self.measured + ALLOWED_BYTES.max(self.measured / 20);
        if self.predicted < self.measured {
            return Some(format!("{} bytes more than predicted", self.measured - self.predicted));
        }
        (self.predicted > allowed).then(|| format!("{} bytes fewer than predicted", self.predicted - self.measured))
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let Needs { weight_bytes, kv_bytes, compute_bytes, tokenizer_bytes, .. } = self.needs;
        let [predicted, measured] = [self.predicted, self.measured].map(mebibytes);
        let parts = [weight_bytes, kv_bytes, compute_bytes, tokenizer_bytes].map(mebibytes);
        let [weights, kv, compute, tokenizer] = parts;
        write!(
            formatter,
            "{predicted:>9.1} {measured:>9.1} {:>+9.1}  weights {weights:.1}, cache {kv:.1}, buffers {compute:.1}, vocabulary {tokenizer:.1}",
            predicted - measured
        )
    }
}
