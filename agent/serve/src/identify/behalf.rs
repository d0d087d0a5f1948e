//! For whom a trusted service says that it calls: a claim for the record, never a role.
//!
//! Web front ends name their user in headers. From a service that the configuration trusts, the name goes into the record
//! as a pseudonym; from anybody else these headers are ignored, because a front end sends them to every server it knows
//! and refusing them would only break it.

use axum::http::HeaderMap;

use super::{Caller, Unidentified};
use outpost_policies::PrincipalKind;

/// Headers that name a user, the most lasting name first.
const HEADERS: [&str; 6] = [
    "x-openwebui-user-id",
    "x-openwebui-user-email",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-preferred-username",
    "x-openwebui-user-name",
];

/// Longest name, bytes.
const NAME_BYTES: usize = 256;

/// The user whom a trusted caller names, if it names one.
pub(super) fn claimed(
    headers: &HeaderMap,
    caller: &Caller,
    trusted: &[String],
) -> Result<Option<String>, Unidentified> {
    let is_trusted = caller.principal.kind == PrincipalKind::Service && trusted.contains(&caller.principal.id);
    if !is_trusted {
        return Ok(None);
    }
    for header in HEADERS {
        let mut values = headers.get_all(header).iter();
        let Some(value) = values.next() else { continue };
        let name = value.to_str().ok().map(str::trim).filter(|name| (1..=NAME_BYTES).contains(&name.len()));
        return match (name, values.next()) {
            (Some(name), None) => Ok(Some(name.to_owned())),
            _ => Err(Unidentified::new("malformed_on_behalf_of", format!("`{header}` is not one plain name"))),
        };
    }
    Ok(None)
}
