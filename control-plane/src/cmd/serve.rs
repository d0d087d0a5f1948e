//! `outpost-control serve`: the server, until a signal asks it to stop.

use anyhow::{Context, Result};
use outpost_control::{Config, ControlPlane};
use tokio::signal::unix::{SignalKind, signal};

use crate::logging;

/// Runs the command.
pub(super) async fn serve(config: Config) -> Result<()> {
    let logs = config.state_dir.join("logs");
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    // Before the fleet is made, its directory must not appear.
    let running = ControlPlane::start(config).await?;
    let _logs = logging::start(&logs)?;
    tracing::info!(url = running.url(), mqtt = %running.mqtt_address(), "the control plane answers");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}
