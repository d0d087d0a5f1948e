//! Operations logs: readable text on a terminal, rolling JSON files in the state directory. Never a source of audit records.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::Logs;
use crate::state::StateDir;

/// Keeps the log writer alive; dropping it flushes what is queued.
#[derive(Debug)]
#[must_use = "dropping the guard stops the log files"]
pub struct LogGuard(#[expect(dead_code, reason = "held for its Drop, which flushes the queue")] WorkerGuard);

/// Starts logging for this process: JSON to `logs/agent.<date>.jsonl`, text to standard error.
///
/// `OUTPOST_LOG` overrides the configured level, in `tracing`'s filter syntax.
///
/// # Errors
/// If the log directory cannot be written, or logging was started before.
pub fn start(logs: &Logs, state: &StateDir) -> Result<LogGuard> {
    let files = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("agent")
        .filename_suffix("jsonl")
        .max_log_files(logs.keep_days.max(1))
        .build(state.logs())
        .with_context(|| format!("cannot write logs to `{}`", state.logs().display()))?;
    // Lossy on purpose: a full disk or a slow card must not stop an answer. Audit records go elsewhere.
    let (writer, guard) = tracing_appender::non_blocking(files);
    let filter = || {
        let chosen = std::env::var("OUTPOST_LOG").unwrap_or_else(|_| format!("{},rmqtt=warn,tough=warn", logs.level));
        EnvFilter::try_new(chosen).unwrap_or_else(|_| EnvFilter::new("info"))
    };
    let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).with_filter(filter());
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_filter(filter());
    tracing_subscriber::registry().with(json).with(text).try_init().context("logging was started twice")?;
    Ok(LogGuard(guard))
}
