//! Test programs of a single test: what `cargo test` may ask of one, and the fresh processes of itself that it measures.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// What every test program understands, as `cargo test` and other runners say it.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// Only the test whose name holds this.
    filter: Option<String>,
    /// Only the test whose name is the filter.
    #[arg(long)]
    exact: bool,
    #[arg(long)]
    list: bool,
    /// Not the tests whose names hold this.
    #[arg(long)]
    skip: Vec<String>,
    #[arg(long)]
    nocapture: bool,
    #[arg(long, short)]
    quiet: bool,
    #[arg(long)]
    test_threads: Option<u32>,
}

impl Asked {
    /// Does what was asked with the one test that there is.
    #[expect(clippy::print_stdout, clippy::print_stderr, reason = "a list is for runners, what failed for people")]
    pub fn run(&self, name: &str, test: impl FnOnce() -> Result<()>) -> ExitCode {
        if self.list {
            println!("{name}: test");
            return ExitCode::SUCCESS;
        }
        if !self.wants(name) {
            return ExitCode::SUCCESS;
        }
        match test() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn wants(&self, name: &str) -> bool {
        let is_meant = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        !self.skip.iter().any(is_meant) && self.filter.as_ref().is_none_or(is_meant)
    }
}

/// What this very program prints when a fresh process runs it with these arguments.
///
/// # Errors
/// If it cannot be started or fails; with what it says of it.
pub fn of_itself(arguments: &[&str]) -> Result<String> {
    let program = std::env::current_exe().context("this program is not found")?;
    let output = Command::new(program).args(arguments).output().context("the measured process cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the measured process failed: {said}");
    String::from_utf8(output.stdout).context("the measured process printed no text")
}
