//! Builds of the agent for stories of updates: copies of one program, each with a line behind it that says what it is to be.
//!
//! The line is this test's own; the product asks the program itself, which reads it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::process::{binary, output};

/// What a stand-in is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StandIn {
    /// The version that it says.
    pub version: String,
    /// The target that it says.
    pub target: String,
    /// How it behaves.
    pub does: Does,
    /// The real agent.
    pub real: PathBuf,
}

/// How a stand-in behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Does {
    /// As the real agent.
    Serves,
    /// It ends by a signal at once.
    Crashes,
    /// It never does anything.
    Hangs,
    /// It is the real agent, and cannot find the model that served before.
    LosesTheModel,
    /// Its self-check says that its kernels give wrong numbers.
    Miscounts,
    /// Its self-check ends by an illegal instruction.
    NeedsAnotherProcessor,
}

impl StandIn {
    /// Makes one of this machine's target in a folder, and gives its file.
    ///
    /// # Errors
    /// If the programs are not built, or it cannot be written.
    pub fn make(folder: &Path, version: &str, does: Does) -> Result<PathBuf> {
        let real = binary("outpost")?;
        let said: serde_json::Value = serde_json::from_str(&output(&real, &["--json", "self-check"])?)?;
        let target = said["target"].as_str().context("the agent names its target")?.to_owned();
        let told = Self { version: version.to_owned(), target, does, real };
        let file = folder.join(format!("outpost-{version}"));
        std::fs::copy(binary("outpost-stand-in")?, &file)?;
        let mut written = std::fs::OpenOptions::new().append(true).open(&file)?;
        write!(written, "\n{}", serde_json::to_string(&told)?)?;
        Ok(file)
    }

    /// What is written behind a program.
    ///
    /// # Errors
    /// If nothing is, or it cannot be read.
    pub fn of(program: &Path) -> Result<Self> {
        let bytes = std::fs::read(program)?;
        let line = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        serde_json::from_slice(line).context("nothing is written behind this program")
    }
}
