//! `outpost-control serve`: the server, until a signal asks it to stop.

use anyhow::{Context, Result};
use outpost_control::{Config, ControlPlane};
use outpost_supervisor::Supervisor;
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
    let supervisor = Supervisor::of_environment();
    supervisor.ready("the API and the broker answer");
    let mut heartbeat = tokio::time::interval(supervisor.heartbeat());
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = heartbeat.tick() => supervisor.well(),
        }
    }
    tracing::info!("stopping");
    supervisor.stopping();
    running.stop().await;
    Ok(())
}
