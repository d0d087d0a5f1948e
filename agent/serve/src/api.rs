//! The routes, one file each, and the table of them.

pub(crate) mod health;
pub(crate) mod openai;
pub(crate) mod outpost;

pub(crate) const HEALTH: &str = "/health";
pub(crate) const MODELS: &str = "/v1/models";
pub(crate) const MODEL: &str = "/v1/models/{id}";
pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const STATUS: &str = "/outpost/status";
pub(crate) const CHECKPOINT: &str = "/outpost/audit/checkpoint";

/// Every route: method, path, and whether it needs an identity.
pub const ROUTES: [(&str, &str, bool); 6] = [
    ("GET", HEALTH, false),
    ("GET", MODELS, true),
    ("GET", MODEL, true),
    ("POST", CHAT, true),
    ("GET", STATUS, true),
    ("GET", CHECKPOINT, true),
];

/// The route that a path belongs to, for logs and records: from the table, never from the wire.
pub(crate) fn endpoint(path: &str) -> &'static str {
    let exact = ROUTES.iter().map(|&(_, route, _)| route).find(|&route| route == path);
    let of_model = || path.strip_prefix("/v1/models/").filter(|id| !id.is_empty() && !id.contains('/')).map(|_| MODEL);
    exact.or_else(of_model).unwrap_or("unknown")
}
