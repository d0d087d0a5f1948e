//! The `outpost-control` binary: reads the command line, hands over to one file of `cmd/`, turns the outcome into an exit code.

mod args;
mod cmd;
mod logging;

use std::process::ExitCode;

use clap::Parser;

/// As much as the first thread has on most systems.
const STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    // Policies are judged only where enough of the stack is left. The first thread cannot be asked: a static program's C library takes
    // what it has grown to for all that there is, and limits of a shell make it small.
    let started = std::thread::Builder::new().name("control-main".into()).stack_size(STACK_BYTES).spawn(run);
    match started.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => cmd::fail(&anyhow::Error::new(error).context("cannot start a thread")),
    }
}

fn run() -> ExitCode {
    let cli = args::Cli::parse();
    // Two providers are compiled in, one of them by the broker's library; this one is ours.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return cmd::fail(&anyhow::anyhow!("a second cryptography provider is installed"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return cmd::fail(&anyhow::Error::new(error).context("cannot start the async runtime")),
    };
    let code = runtime.block_on(cmd::run(cli));
    runtime.shutdown_background();
    code
}
