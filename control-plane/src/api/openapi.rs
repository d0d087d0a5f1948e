//! `/v1/openapi.json`: every route as OpenAPI 3.1 describes it: what it takes, what it answers, how it refuses, who may call.
//!
//! The description is built beside the handlers. Tests hold it to them: every route that is listed is described and nothing else
//! is, and what is answered has the form that is promised.

mod decisions;
mod devices;
mod enrolment;
mod errors;
mod fleet;
mod inventory;
mod operation;
mod people;
mod schema;
mod watching;

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, PathsBuilder};

use super::identity::Operator;
use crate::fleet::FleetError;
use crate::people::COOKIE;
use operation::Described;

const ABOUT: &str = "The API of an Outpost control plane. Operators send a bearer token (of `init`, or made at \
    `POST /v1/api-tokens`); a browser that is signed in sends its cookie, and shows by its origin that no other site makes it; \
    devices show their client certificate. \
    Lists come in pages: `limit` entries after the one that `after` names, as `{\"entries\": […], \"next\": …}`; `next` is the \
    `after` of the page that follows, and null after the last. \
    What is read has an `ETag`: with `If-None-Match` an answer that is known is not sent again (304), and with `If-Match` a \
    change is made only if nobody else made one meanwhile (412). \
    A `POST` with an `Idempotency-Key` can be sent again for 24 hours: it is done once, and answered alike. \
    Every refusal is `{\"error\": {\"code\", \"message\"}}`: the code is for programs, the message says what to do.";

static DOCUMENT: LazyLock<Result<Bytes, serde_json::Error>> = LazyLock::new(|| build().to_json().map(Bytes::from));

/// This description, for whoever has an identity.
pub(crate) async fn show(_: Operator) -> Response {
    match DOCUMENT.as_ref() {
        Ok(document) => ([(CONTENT_TYPE, "application/json")], document.clone()).into_response(),
        Err(error) => super::ApiError::from(FleetError::Record(error.to_string())).into_response(),
    }
}

fn operations() -> Vec<Described> {
    let families = [
        fleet::operations(),
        enrolment::operations(),
        devices::operations(),
        inventory::operations(),
        people::operations(),
        decisions::operations(),
        watching::operations(),
    ];
    families.into_iter().flatten().collect()
}

fn build() -> OpenApi {
    let info = InfoBuilder::new().title("Outpost control plane").version(env!("CARGO_PKG_VERSION"));
    let paths = operations().into_iter().fold(PathsBuilder::new(), |paths, described| {
        let (path, method, operation) = described.build();
        // Paths that come twice, with another method each, are joined.
        paths.path(path, PathItem::new(method, operation))
    });
    OpenApiBuilder::new()
        .info(info.description(Some(ABOUT)).build())
        .paths(paths.build())
        .components(Some(components()))
        .security(Some(OPERATORS.map(|name| SecurityRequirement::new(name, std::iter::empty::<String>()))))
        .build()
}

/// How operators prove who they are; either will do.
const OPERATORS: [&str; 2] = ["bearer", "session"];

/// How devices do.
const CERTIFICATE: &str = "certificate";

fn components() -> Components {
    use utoipa::openapi::security::{ApiKey, ApiKeyValue};
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "The operators' token of `init`, or an API token: roles, narrowed by a scope, until it expires.",
    ));
    let session =
        ApiKeyValue::with_description(COOKIE, "A browser that signed in at `/login`; never from another site.");
    let certificate = SecurityScheme::MutualTls {
        description: Some("The client certificate of an enrolled device.".to_owned()),
        extensions: None,
    };
    let mut components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(bearer.build()))
        .security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)))
        .security_scheme(CERTIFICATE, certificate);
    for describe in [
        errors::describe,
        fleet::describe,
        enrolment::describe,
        devices::describe,
        inventory::describe,
        people::describe,
        decisions::describe,
        watching::describe,
    ] {
        components = describe(components);
    }
    components.build()
}

#[cfg(test)]
mod tests;
