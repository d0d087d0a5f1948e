//! Tells the story on the terminal as it happens: numbered chapters, what was done, what was checked.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The teller; counts chapters and checks.
#[derive(Debug)]
pub(crate) struct Narrator {
    chapter: u32,
    title: String,
    checks: u32,
    started: Instant,
}

impl Narrator {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        Self { chapter: 0, title: "start".into(), checks: 0, started: Instant::now() }
    }

    /// Begins the next chapter.
    pub(crate) fn chapter(&mut self, title: &str) -> Result<()> {
        self.chapter += 1;
        title.clone_into(&mut self.title);
        print(&format!("\n{}. {title}  ({:.1} s)\n", self.chapter, self.started.elapsed().as_secs_f32()))
    }

    /// Says one thing that happened; further lines are indented alike.
    pub(crate) fn say(&self, text: impl AsRef<str>) -> Result<()> {
        let mut lines = text.as_ref().lines();
        print(&format!("   {}\n", lines.next().unwrap_or_default()))?;
        for line in lines {
            print(&format!("     {line}\n"))?;
        }
        Ok(())
    }

    /// Says what was checked, or fails the chapter by name.
    pub(crate) fn check(&mut self, what: impl AsRef<str>, holds: bool) -> Result<()> {
        let what = what.as_ref();
        if !holds {
            bail!("chapter {} ({}): does not hold: {what}", self.chapter, self.title);
        }
        self.checks += 1;
        print(&format!("   ✓ {what}\n"))
    }

    /// Which chapter is being told, for an error's context.
    pub(crate) fn place(&self) -> String {
        format!("chapter {} ({})", self.chapter, self.title)
    }

    /// The last line.
    pub(crate) fn end(&self) -> Result<()> {
        let seconds = self.started.elapsed().as_secs_f32();
        print(&format!("\n{} chapters, {} checks held, {seconds:.1} s\n", self.chapter, self.checks))
    }
}

/// Writes to standard output at once, so that a reader sees the story as it happens.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context("cannot write to standard output")
}
