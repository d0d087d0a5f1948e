//! `outpost-demo`: a whole fleet in one process, on loopback, telling its story as it happens.

mod chapters;
mod narrator;
mod stay;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use narrator::Narrator;

/// The model that comes with the demo, so that the program runs wherever it is copied.
const MODEL: &[u8] = include_bytes!("../fixtures/outpost-demo-f16.gguf");

/// A whole Outpost fleet on this machine: no network, no account, no download.
#[derive(Debug, Parser)]
#[command(name = "outpost-demo", version, after_help = "Example: outpost-demo --once")]
struct Arguments {
    /// Tell the story, check each step, and end: exit code 0, or 1 with the step that failed
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    // The fleet's agents run in this process and start this program again for their models' templates.
    if let Some(code) = outpost_agent::template_worker::work_if_asked() {
        return code;
    }
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            narrator::print(&format!("\nthe story stopped: {error:#}\n")).ok();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Ok(filter) = std::env::var("OUTPOST_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    // Two providers are compiled in; this one is ours.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok().context("a second cryptography provider")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    let outcome = runtime.block_on(async {
        let folder = tempfile::tempdir().context("no room for the fleet's state")?;
        let mut narrator = Narrator::new();
        let told = chapters::tell(&mut narrator, folder.path(), MODEL).await;
        let fleet = told.with_context(|| format!("in {}", narrator.place()))?;
        narrator.end()?;
        if arguments.once { fleet.end().await } else { stay::until_interrupted(fleet).await }
    });
    runtime.shutdown_background();
    outcome
}
