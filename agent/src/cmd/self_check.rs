//! `outpost self-check`: what this build is, and whether its kernels give on this processor what they must. Touches nothing.

use anyhow::Result;
use outpost_engine::{Instructions, self_check};
use outpost_update::SelfCheck;

use super::{Outcome, say, say_json};

/// Runs the command.
pub(super) fn run(json: bool) -> Result<Outcome> {
    let kernels = Instructions::available().into_iter().map(|set| set.name().to_owned()).collect();
    let fault = self_check::kernels().err().map(|error| error.to_string());
    let said = SelfCheck::of_this_build(kernels, fault);
    if json {
        say_json(&said)?;
    } else {
        say(format!("version       {}", said.version))?;
        say(format!("target        {}", said.target))?;
        say(format!("state format  {}", said.state_format))?;
        say(format!("kernels       {}", said.kernels.join(", ")))?;
        say(format!("works here    {}", said.fault.as_deref().unwrap_or("yes")))?;
    }
    Ok(if said.fault.is_none() { Outcome::Done } else { Outcome::ProblemFound })
}
