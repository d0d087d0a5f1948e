//! `outpost enroll`: a one-time code, an allowed key or an operator's yes; an identity comes out. The private key never leaves
//! this directory.

use std::io::{Read, Write as _};
use std::time::Duration;

use anyhow::{Context, Result};
use outpost_audit::{Kind, Record};
use outpost_disk::Clock;
use outpost_sync::{EnrolError, Enrolment, Identity, Patience, device_fingerprint, enrol_patiently};
use serde_json::json;

use super::{Here, Outcome, say, say_json};
use crate::args::Enroll;
use crate::keys;

/// Runs the command.
pub(super) async fn run(here: &Here, arguments: Enroll) -> Result<Outcome> {
    here.state.prepare()?;
    if arguments.show_key {
        return show_key(here);
    }
    if arguments.unless_enrolled && here.state.is_enrolled() {
        let identity = Identity::load(&here.state.identity()).context("cannot use the device's identity")?;
        return told(here, &identity, "enrolled already", here.client().is_up().await);
    }
    let code = code(arguments.code.as_deref())?;
    let ca = arguments.ca.context("`--ca` is missing")?;
    let server = arguments.server.context("`--server` is missing")?;
    let authority =
        std::fs::read_to_string(&ca).with_context(|| format!("cannot read the authority `{}`", ca.display()))?;
    let clock = Clock::open(here.state.ledgers())?;
    let audit_key = keys::verifier_key(&here.state)?;
    let enrolment = Enrolment {
        server_url: &server,
        code: &code,
        wished_name: arguments.name.as_deref().unwrap_or_default(),
        authority: &authority,
        dir: &here.state.identity(),
        agent: env!("CARGO_PKG_VERSION"),
        audit_key: &audit_key,
    };
    // A code is right or wrong at once; only an operator takes time.
    let minutes = if code.is_empty() { arguments.wait } else { 0 };
    let patience = Patience::of(Duration::from_secs(u64::from(minutes) * 60));
    let outcome = enrol_patiently(&enrolment, &clock, patience, |error| still_waiting(here, error)).await;
    let record = Record::new(Kind::DeviceEnrol).detail("server", server.as_str());
    let record = match &outcome {
        Ok(identity) => record.detail("device", identity.device().as_str()),
        Err(error) => record.detail("refused", error.to_string()),
    };
    here.record(&clock, record)?;
    told(here, &outcome?, "enrolled", here.client().is_up().await)
}

fn told(here: &Here, identity: &Identity, how: &str, is_running: bool) -> Result<Outcome> {
    if here.json {
        say_json(&json!({"device": identity.device(), "tenant": identity.tenant()}))?;
    } else {
        let next = if is_running { "start the agent again, and it connects" } else { "`outpost run` connects it" };
        say(format!("{how} as `{}` of `{}`; {next}", identity.device(), identity.tenant()))?;
    }
    Ok(Outcome::Done)
}

fn show_key(here: &Here) -> Result<Outcome> {
    let fingerprint = device_fingerprint(&here.state.identity())?;
    if here.json {
        say_json(&json!({"fingerprint": fingerprint, "key_sha256": hex::encode(fingerprint.0)}))?;
    } else {
        say(fingerprint.to_string())?;
    }
    Ok(Outcome::Done)
}

fn code(given: Option<&str>) -> Result<String> {
    Ok(match given {
        None => String::new(),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin()
                .take(1024)
                .read_to_string(&mut text)
                .context("cannot read the code from standard input")?;
            text.trim().to_owned()
        }
        Some(given) => given.to_owned(),
    })
}

/// Talk, so not on standard output; the fingerprint is what the operator compares.
fn still_waiting(here: &Here, error: &EnrolError) {
    let fingerprint = device_fingerprint(&here.state.identity());
    let key = fingerprint.map_or_else(|error| error.to_string(), |fingerprint| fingerprint.to_string());
    writeln!(std::io::stderr(), "waiting: {error}\n  the key of this device: {key}").ok();
}
