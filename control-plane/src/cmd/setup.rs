//! `outpost-control init`: what is done once, before the first device.

use anyhow::Result;
use outpost_control::{Clock, Config, Fleet};
use serde_json::json;

use super::{say, say_json};

/// Makes a new fleet; the admin token is shown this once.
pub(super) fn init(config: Config, as_json: bool) -> Result<()> {
    let made = Fleet::init(config, Clock::system())?;
    let authority = made.fleet.authority_path();
    if as_json {
        return say_json(&json!({"admin_token": made.admin_token, "authority": authority}));
    }
    say(format!(
        "the fleet is in `{}`\nadmin token (shown this once): {}\nauthority for `outpost enroll --ca`: {}",
        made.fleet.config().state_dir.display(),
        made.admin_token,
        authority.display()
    ))
}
