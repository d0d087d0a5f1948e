//! `outpost-control token …`: API tokens of programs.

use anyhow::Result;
use outpost_control::Config;
use serde_json::json;

use super::{open, say, say_json};
use crate::args::Token;

/// Runs the command.
pub(super) fn run(config: Config, command: Token, as_json: bool) -> Result<()> {
    let fleet = open(config)?;
    match command {
        Token::Create { name, roles, scope, days } => {
            let token = fleet.create_api_token(&name, &roles, &scope, days)?;
            if as_json { say_json(&json!({"name": name, "token": token, "days": days})) } else { say(token) }
        }
        Token::Ls if as_json => say_json(&fleet.api_tokens()?),
        Token::Ls => fleet.api_tokens()?.iter().try_for_each(|token| {
            let time = |s| jiff::Timestamp::from_second(s).map_or_else(|_| s.to_string(), |time| time.to_string());
            let state = if token.revoked_s.is_some() { "revoked" } else { "until" };
            let used = token.used_s.map_or_else(|| "never used".to_owned(), |used_s| format!("used {}", time(used_s)));
            let scope = if token.scope.is_empty() { "all of its roles".to_owned() } else { token.scope.join(", ") };
            let (roles, expires) = (token.roles.join(", "), time(token.expires_s));
            say(format!("{:<24} {roles:<24} {scope:<24} {state} {expires}, {used}", token.name))
        }),
        Token::Revoke { name } => {
            fleet.revoke_api_token(&name)?;
            if as_json { say_json(&json!({"revoked": name})) } else { say(format!("`{name}` counts no more")) }
        }
    }
}
