//! The `outpost` binary: reads the command line, hands over to one file of `cmd/`, turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use outpost_agent::args::Cli;
use outpost_agent::{cmd, template_worker};

fn main() -> ExitCode {
    if let Some(code) = template_worker::work_if_asked() {
        return code;
    }
    let cli = Cli::parse();
    // First of all: from here on this process may be another build.
    let launched = match cmd::launch(&cli) {
        Ok(launched) => launched,
        Err(error) => return cmd::fail(&error),
    };
    // Before there is a second thread: it is taken out of the environment.
    let socket = match outpost_supervisor::handed_socket() {
        Ok(socket) => socket,
        Err(error) => {
            return cmd::fail(&anyhow::Error::new(error).context("the supervisor handed over no socket of use"));
        }
    };
    // Two providers are compiled in where the control plane is; this one is ours.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return cmd::fail(&anyhow::anyhow!("a second cryptography provider is installed"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cmd::fail(&anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    let code = runtime.block_on(cmd::run(cli, cmd::Brought { socket, launched }));
    // A blocking read of standard input would otherwise hold the process open.
    runtime.shutdown_background();
    code
}
