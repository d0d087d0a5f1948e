//! Operations logs: readable text on standard error, rolling JSON files in the state directory.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Days of files to keep.
const KEEP_DAYS: usize = 14;

/// Starts logging; the guard flushes the files when it is dropped. `OUTPOST_LOG` sets the level.
pub(crate) fn start(directory: &Path) -> Result<WorkerGuard> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    let files = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("control")
        .filename_suffix("jsonl")
        .max_log_files(KEEP_DAYS)
        .build(directory)
        .with_context(|| format!("cannot write logs to `{}`", directory.display()))?;
    let (writer, guard) = tracing_appender::non_blocking(files);
    let filter = || {
        let chosen = std::env::var("OUTPOST_LOG").unwrap_or_else(|_| "info,rmqtt=warn".to_owned());
        EnvFilter::try_new(chosen).unwrap_or_else(|_| EnvFilter::new("info"))
    };
    let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).with_filter(filter());
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_filter(filter());
    tracing_subscriber::registry().with(json).with(text).try_init().context("logging was started twice")?;
    Ok(guard)
}
