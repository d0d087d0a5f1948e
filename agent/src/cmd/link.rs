//! `outpost link dead-letters …`: messages to the control plane that were given up, seen and forgotten.

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Here, Outcome, say, say_json};
use crate::args::{DeadLetters, Link};

/// Runs the command.
pub(super) async fn run(here: &Here, command: Link) -> Result<Outcome> {
    let Link::DeadLetters(command) = command;
    let client = here.client();
    match command {
        DeadLetters::Ls => {
            let status = client.get("/outpost/status").await?;
            list(here, &status["agent"]["fleet"]["given_up"])
        }
        DeadLetters::Clear => {
            let done = client.request("POST", "/outpost/link/dead-letters/clear", None).await;
            let done = done.context("nothing changed")?;
            if here.json {
                say_json(&done)?;
            } else {
                say(format!("{} messages that were given up are forgotten", done["cleared"]))?;
            }
            Ok(Outcome::Done)
        }
    }
}

fn list(here: &Here, letters: &Value) -> Result<Outcome> {
    if here.json {
        say_json(letters)?;
        return Ok(Outcome::Done);
    }
    for letter in letters.as_array().into_iter().flatten() {
        let text = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
        say(format!("{:<10} {:>8} bytes  {}", text("class"), letter["bytes"], text("because")))?;
    }
    Ok(Outcome::Done)
}
