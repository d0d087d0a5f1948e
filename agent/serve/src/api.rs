//! The routes, one folder for each family of clients, and the table of them.

pub(crate) mod anthropic;
#[cfg(test)]
mod anything;
pub(crate) mod ceilings;
pub(crate) mod count;
pub(crate) mod fetch;
pub(crate) mod foundry;
pub(crate) mod manage;
pub(crate) mod ollama;
pub(crate) mod openai;
pub(crate) mod outpost;
pub(crate) mod stop;
pub(crate) mod tools;

/// One route, as tests walk them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// GET, POST or DELETE.
    pub method: &'static str,
    /// The path; `{id}` stands for one segment, `{*id}` for the rest.
    pub path: &'static str,
    /// Whether it needs an identity.
    pub identified: bool,
    /// Why an answer that it gives leaves no record of its own, if it does not: refusals, errors, calls that break off and
    /// panics always do.
    pub unrecorded: Option<&'static str>,
}

impl Route {
    pub(crate) const fn new(method: &'static str, path: &'static str) -> Self {
        Self { method, path, identified: true, unrecorded: None }
    }
}

/// Whose clients a path is for: errors are written as they expect them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    OpenAi,
    Ollama,
    Anthropic,
}

/// Every route of every family.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    tables().into_iter().flat_map(|(_, table)| table)
}

fn tables() -> [(Family, &'static [Route]); 5] {
    [
        (Family::OpenAi, openai::ROUTES),
        (Family::Ollama, ollama::ROUTES),
        (Family::OpenAi, foundry::ROUTES),
        (Family::Anthropic, anthropic::ROUTES),
        (Family::OpenAi, outpost::ROUTES),
    ]
}

/// What a path is, for logs, records and errors: from the table, never from the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) family: Family,
    pub(crate) identified: bool,
    pub(crate) unrecorded: Option<&'static str>,
}

/// The route that a path belongs to.
pub(crate) fn endpoint(path: &str) -> Endpoint {
    let all = || tables().into_iter().flat_map(|(family, table)| table.iter().map(move |route| (family, route)));
    // What is written out goes before what is matched.
    let found = all().find(|(_, route)| route.path == path).or_else(|| all().find(|(_, route)| fits(route.path, path)));
    match found {
        Some((family, route)) => {
            Endpoint { path: route.path, family, identified: route.identified, unrecorded: route.unrecorded }
        }
        None => Endpoint { path: "unknown", family: Family::OpenAi, identified: true, unrecorded: None },
    }
}

/// Whether a path has the form of a route.
fn fits(route: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for part in route.split('/') {
        let Some(segment) = segments.next() else { return false };
        if part.starts_with("{*") {
            return !segment.is_empty();
        }
        let matches = if part.starts_with('{') { !segment.is_empty() } else { part == segment };
        if !matches {
            return false;
        }
    }
    segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::{Family, endpoint};

    #[test]
    fn a_path_is_named_by_its_route_and_never_by_itself() {
        assert_eq!(endpoint("/v1/models/qwen3").path, "/v1/models/{id}");
        assert_eq!(endpoint("/v1/models").path, "/v1/models");
        for unknown in ["/v1/models/", "/v1/models/a/b", "/v1", "/v1/chat/completions/x", "/etc/passwd"] {
            assert_eq!(endpoint(unknown).path, "unknown", "{unknown}");
            assert_eq!(endpoint(unknown).family, Family::OpenAi);
            assert!(endpoint(unknown).identified);
        }
        assert!(!endpoint("/health").identified);
    }
}
