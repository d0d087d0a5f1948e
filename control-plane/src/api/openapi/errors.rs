//! Refusals: the one object that all of them are, and what each status means.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::{ComponentsBuilder, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::schema::{Form, answer, named, text};

/// Every status of a refusal, and what it means.
const STATUSES: [(u16, &str); 14] = [
    (400, "The request cannot be understood, or asks for what cannot be; the message says what."),
    (401, "No identity, or none that counts here."),
    (403, "The rules, the scope of the token or the origin of the request forbid it."),
    (404, "What the path or the body names is not there."),
    (405, "The path answers other methods."),
    (409, "Something else comes first, is in the way, or is being done."),
    (410, "It is too late."),
    (412, "It is not as `If-Match` says, or `If-Match` is not for this route: read it again."),
    (413, "The body is too large."),
    (415, "The body is not said to be `application/json`."),
    (422, "The body is JSON of another form, or the `Idempotency-Key` came with another body."),
    (429, "Too often; wait."),
    (500, "A fault of the control plane, or an act that cannot be recorded; its log has the cause."),
    (503, "Busy; ask again."),
];

/// The answer that a refusal is, by reference.
pub(super) fn refusal(status: u16) -> RefOr<Response> {
    RefOr::Ref(Ref::from_response_name(name(status)))
}

fn name(status: u16) -> String {
    format!("Error{status}")
}

/// Adds the object and the answers.
pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let error = answer(vec![("code", text()), ("message", text())]);
    let components = components.schema("Error", answer(vec![("error", error)]));
    STATUSES
        .iter()
        .fold(components, |components, (status, means)| components.response(name(*status), response(*status, means)))
}

fn response(status: u16, means: &str) -> Response {
    let response = ResponseBuilder::new()
        .description(means)
        .content("application/json", ContentBuilder::new().schema(Some(named("Error"))).build());
    let response = match status {
        401 => response.header("www-authenticate", header("`Bearer`", text())),
        405 => response.header("allow", header("The methods that the path answers.", text())),
        _ => response,
    };
    response.build()
}

/// A header, described.
pub(super) fn header(description: &str, form: Form) -> Header {
    HeaderBuilder::new().schema(form).description(Some(description)).build()
}
