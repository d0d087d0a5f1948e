//! The `outpost` binary: reads the command line, hands over to one file of `cmd/`, turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser;
use outpost_agent::args::Cli;
use outpost_agent::{cmd, template_worker};

/// As much as the first thread has on most systems.
const STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    if let Some(code) = template_worker::work_if_asked() {
        return code;
    }
    // Not even the command line is read on the first thread, nor are policies judged there: it may have little of a stack, and cannot be
    // asked. A static program's C library takes what it has grown to for all that there is, and limits of a shell make it small.
    let started = std::thread::Builder::new().name("outpost-main".into()).stack_size(STACK_BYTES).spawn(begin);
    match started.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => cmd::fail(&anyhow::Error::new(error).context("cannot start a thread")),
    }
}

/// What the agent is, while its first thread does nothing but wait.
fn begin() -> ExitCode {
    let cli = Cli::parse();
    // First of all: from here on this process may be another build.
    let launched = match cmd::launch(&cli) {
        Ok(launched) => launched,
        Err(error) => return cmd::fail(&error),
    };
    // Before there is a thread that reads the environment: it is taken out of it.
    let socket = match outpost_supervisor::handed_socket() {
        Ok(socket) => socket,
        Err(error) => {
            return cmd::fail(&anyhow::Error::new(error).context("the supervisor handed over no socket of use"));
        }
    };
    let brought = cmd::Brought { socket, launched };
    // Two providers are compiled in where the control plane is; this one is ours.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return cmd::fail(&anyhow::anyhow!("a second cryptography provider is installed"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cmd::fail(&anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    let code = runtime.block_on(cmd::run(cli, brought));
    // A blocking read of standard input would otherwise hold the process open.
    runtime.shutdown_background();
    code
}
