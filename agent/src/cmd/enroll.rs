//! `outpost enroll`: a one-time code goes in, an identity comes out; the private key never leaves this directory.

use std::io::Read;

use anyhow::{Context, Result};
use outpost_audit::{Kind, Record};
use outpost_disk::Clock;
use outpost_sync::enrol::{Enrolment, enrol};
use serde_json::json;

use super::{Here, Outcome, say, say_json};
use crate::args::Enroll;
use crate::keys;

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: Enroll) -> Result<Outcome> {
    here.state.prepare()?;
    let code = match arguments.code.as_str() {
        "-" => {
            let mut text = String::new();
            std::io::stdin()
                .take(1024)
                .read_to_string(&mut text)
                .context("cannot read the code from standard input")?;
            text.trim().to_owned()
        }
        given => given.to_owned(),
    };
    let authority = std::fs::read_to_string(&arguments.ca)
        .with_context(|| format!("cannot read the authority `{}`", arguments.ca.display()))?;
    let clock = Clock::open(here.state.ledgers())?;
    let audit_key = keys::verifier_key(&here.state)?;
    let enrolment = Enrolment {
        server_url: &arguments.server,
        code: &code,
        authority: &authority,
        dir: &here.state.identity(),
        agent: env!("CARGO_PKG_VERSION"),
        audit_key: &audit_key,
    };
    let outcome = enrol(&enrolment, &clock).await;
    let record = Record::new(Kind::DeviceEnrol).detail("server", arguments.server.as_str());
    let record = match &outcome {
        Ok(identity) => record.detail("device", identity.device().as_str()),
        Err(error) => record.detail("refused", error.to_string()),
    };
    here.record(&clock, record)?;
    let identity = outcome?;
    if here.json {
        say_json(&json!({"device": identity.device(), "tenant": identity.tenant()}))?;
    } else {
        say(format!("enrolled as `{}` of `{}`; `outpost run` connects it", identity.device(), identity.tenant()))?;
    }
    Ok(Outcome::Done)
}
