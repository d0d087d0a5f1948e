//! The `outpost-control` binary: reads the command line, hands over to one file of `cmd/`, turns the outcome into an exit code.

mod args;
mod cmd;
mod logging;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
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
