//! `outpost key …`: local API keys for a box on its own; each act is recorded.

use std::io::Write as _;

use anyhow::{Context, Result, bail};
use outpost_audit::Kind;
use outpost_disk::Clock;
use outpost_policies::{Bundle, Policies};
use outpost_serve::ApiKeys;
use outpost_serve::identify::{ApiKey, NewApiKey, Scope};
use serde_json::{Value, json};

use super::{Here, Outcome, say, say_json};
use crate::args::Key;
use crate::governance::kept_policies;
use crate::key_watch;

/// Seconds in a day.
const DAY_S: i64 = 24 * 3600;

/// Runs the command.
pub(super) fn run(here: &Here, command: Key) -> Result<Outcome> {
    here.state.prepare()?;
    let clock = Clock::open(here.state.ledgers())?;
    let api_keys = ApiKeys::open(here.state.keys()).context("cannot open the local API keys")?;
    match command {
        Key::Create { name, roles, days, models, actions, endpoints } => {
            check_roles(here, &roles)?;
            let scope = Scope { models, actions, endpoints };
            let expires_s = clock.now_s().saturating_add(i64::from(days) * DAY_S);
            let new = NewApiKey { name, roles, expires_s: Some(expires_s) };
            let (key, secret) = api_keys.create_scoped(&new, &scope, clock.now_s()).context("no key was made")?;
            here.record(&clock, key_watch::record_of(Kind::KeyCreate, &key))?;
            show(here, &key, &secret)?;
        }
        Key::Rotate { id, grace_hours } => {
            let grace_s = i64::from(grace_hours) * 3600;
            let (key, secret) = api_keys.rotate(&id, grace_s, clock.now_s()).context("no key was made")?;
            here.record(&clock, key_watch::record_of(Kind::KeyCreate, &key))?;
            show(here, &key, &secret)?;
        }
        Key::List => {
            let keys = api_keys.list().context("cannot list keys")?;
            if here.json {
                say_json(&keys.iter().map(to_json).collect::<Vec<_>>())?;
            } else {
                for key in &keys {
                    let state = match key.revoked_s {
                        Some(_) => "revoked",
                        None if key.is_active(clock.now_s()) => "valid",
                        None => "expired",
                    };
                    say(format!("{:<12} {:<8} {:<20} {}", key.id, state, key.roles.join(","), key.name))?;
                }
            }
        }
        Key::Revoke { id } => {
            let key = api_keys.revoke(&id, clock.now_s()).context("nothing was revoked")?;
            here.record(&clock, key_watch::record_of(Kind::KeyRevoke, &key))?;
            if here.json { say_json(&to_json(&key)) } else { say(format!("key `{}` is revoked", key.id)) }?;
        }
    }
    Ok(Outcome::Done)
}

/// Shows a new key, this once.
fn show(here: &Here, key: &ApiKey, secret: &str) -> Result<()> {
    if here.json {
        return say_json(&json!({
            "id": key.id, "key": secret, "roles": key.roles, "expires_s": key.expires_s, "scope": key.scope,
            "replaces": key.replaces,
        }));
    }
    say(secret)?;
    // Apart from the key, so that a file that it is sent to holds nothing else.
    writeln!(std::io::stderr(), "key `{}` for `{}`; shown this once, kept nowhere", key.id, key.name).ok();
    Ok(())
}

fn to_json(key: &ApiKey) -> Value {
    json!({
        "id": key.id, "name": key.name, "roles": key.roles,
        "created_s": key.created_s, "expires_s": key.expires_s, "revoked_s": key.revoked_s,
        "scope": key.scope, "used_s": key.used_s, "replaces": key.replaces,
    })
}

/// A misspelt role would make a key that can do nothing.
fn check_roles(here: &Here, roles: &[String]) -> Result<()> {
    let policies = match kept_policies(&here.state.ledgers()).context("the policy in force")? {
        Some(policies) => policies,
        None => Policies::activate(Bundle::default_bundle())
            .map_err(|findings| anyhow::anyhow!("the built-in policies do not hold: {} findings", findings.len()))?,
    };
    let known: Vec<_> = policies.roles().keys().cloned().collect();
    for role in roles {
        if !known.contains(role) {
            bail!("`{role}` is not a role; choose among {}", known.join(", "));
        }
    }
    Ok(())
}
