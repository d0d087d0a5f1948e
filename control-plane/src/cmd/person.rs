//! `outpost-control person …`: who administers the fleet.

use anyhow::Result;
use outpost_control::Config;
use serde_json::json;

use super::{open, say, say_json};
use crate::args::Person;

/// Runs the command.
pub(super) fn run(config: Config, command: Person, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    let code = |name: &str, code: String| match as_json {
        true => say_json(&json!({"name": name, "code": code})),
        false => say(format!("one-time code (24 hours, shown this once), for `/login/first`: {code}")),
    };
    let done = |name: &str| if as_json { say_json(&json!({"name": name})) } else { say(format!("`{name}`: done")) };
    match command {
        Person::Add { name, roles } => code(&name, fleet.add_person(&name, &roles)?),
        Person::Reset { name } => code(&name, fleet.reset_person(&name)?),
        Person::Role { name, roles } => {
            fleet.set_person_roles(&name, &roles).map_err(Into::into).and_then(|()| done(&name))
        }
        Person::Disable { name } => fleet.disable_person(&name, true).map_err(Into::into).and_then(|()| done(&name)),
        Person::Enable { name } => fleet.disable_person(&name, false).map_err(Into::into).and_then(|()| done(&name)),
        Person::Remove { name } => fleet.remove_person(&name).map_err(Into::into).and_then(|()| done(&name)),
        Person::Totp { name, off: true } => {
            fleet.take_authenticator(&name)?;
            done(&name)
        }
        Person::Totp { name, off: false } => {
            let address = fleet.give_authenticator(&name)?;
            if as_json { say_json(&json!({"name": name, "otpauth": address})) } else { say(address) }
        }
        Person::SignOut { name } => {
            let ended = fleet.end_sessions(&name)?;
            if as_json {
                say_json(&json!({"name": name, "ended": ended}))
            } else {
                say(format!("{ended} sessions ended"))
            }
        }
        Person::Ls if as_json => say_json(&fleet.people()?),
        Person::Ls => fleet.people()?.iter().try_for_each(|person| {
            let state = match (person.disabled_s, person.has_password) {
                (Some(_), _) => "disabled",
                (None, true) => "active",
                (None, false) => "has no password yet",
            };
            let totp = if person.has_totp { ", with an authenticator" } else { "" };
            say(format!("{:<24} {:<32} {state}{totp}", person.name, person.roles.join(", ")))
        }),
        Person::Sessions if as_json => say_json(&fleet.sessions()?),
        Person::Sessions => fleet.sessions()?.iter().try_for_each(|session| {
            let time = |s| jiff::Timestamp::from_second(s).map_or_else(|_| s.to_string(), |time| time.to_string());
            let (began, seen) = (time(session.started_s), time(session.seen_s));
            say(format!("{:<24} {:<40} since {began}, last {seen}", session.person, session.address))
        }),
    }
}
