//! Every route as OpenAPI 3.1 describes it: what it takes, what it answers, how it refuses, and who may call.
//!
//! Requests are read field by field, so the description is built beside the parsers, and a test holds it to them: what
//! they take is never forbidden here, and every answer has the form that is promised.

mod anthropic;
mod errors;
mod foundry;
mod ollama;
mod openai;
mod operation;
mod outpost;
mod responses;
mod schema;

use std::sync::LazyLock;

use bytes::Bytes;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder};

const ABOUT: &str = "The local API of an Outpost device, as clients of OpenAI, Ollama, Foundry Local and Anthropic speak it, \
    and its own. Errors have the form that the clients of a path read. Over the Unix socket the kernel says who calls, \
    and a client certificate says it over TLS: then no header is needed.";

static DOCUMENT: LazyLock<Result<Bytes, serde_json::Error>> = LazyLock::new(|| build().to_json().map(Bytes::from));

/// The description, written once.
///
/// # Errors
/// If it cannot be written, which is a bug.
pub(crate) fn document() -> Result<Bytes, &'static serde_json::Error> {
    DOCUMENT.as_ref().map(Bytes::clone)
}

fn build() -> OpenApi {
    let info = InfoBuilder::new().title("Outpost").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT));
    let operations = [
        openai::operations(),
        ollama::operations(),
        foundry::operations(),
        anthropic::operations(),
        outpost::operations(),
    ];
    let paths = operations.into_iter().flatten().fold(PathsBuilder::new(), |paths, described| {
        let (path, method, operation) = described.build();
        // Paths that come twice, with another method each, are joined.
        paths.path(path, PathItem::new(method, operation))
    });
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components()))
        .security(Some(SCHEMES.map(|name| SecurityRequirement::new(name, std::iter::empty::<String>()))))
        .build()
}

/// Places of a credential, any one of which will do.
const SCHEMES: [&str; 3] = ["bearer", "x-api-key", "api-key"];

fn components() -> Components {
    let header = |name| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key of this device, or a token of an issuer that it trusts."));
    let mut components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .security_scheme("x-api-key", header("x-api-key"))
        .security_scheme("api-key", header("api-key"));
    for describe in [
        errors::describe,
        openai::describe,
        responses::describe,
        ollama::describe,
        foundry::describe,
        anthropic::describe,
        outpost::describe,
    ] {
        components = describe(components);
    }
    components.build()
}
