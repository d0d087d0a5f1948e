//! Refusals: the object of each family of clients, and the answer of each status that has one.

use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::{ComponentsBuilder, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use super::schema::{Form, answer, answer_with, list, named, nullable, text, words};
use crate::api::Family;

/// Every status of a refusal, and what it means.
const STATUSES: [(u16, &str); 13] = [
    (400, "The request cannot be understood, or asks for something that is not served; the message says what."),
    (401, "Nobody whom this device knows: no credential, a wrong one, or two that differ."),
    (403, "Policy, the API key's scope or what the text contains forbids it, or a page of another site asks."),
    (404, "There is no such model, response or path."),
    (405, "The path answers other methods."),
    (408, "The body did not arrive in time."),
    (409, "The name is taken, or the fleet says otherwise."),
    (413, "The body is too large."),
    (415, "The body is not said to be `application/json`."),
    (421, "The request names another host."),
    (429, "The caller's own limit is reached."),
    (500, "A bug or a fault of the device; its log has the cause under the request id."),
    (503, "Busy, loading, or nothing can be recorded at the moment."),
];

impl Family {
    fn error(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAiError",
            Self::Ollama => "OllamaError",
            Self::Anthropic => "AnthropicError",
        }
    }
}

/// The answer that a refusal is, by reference.
pub(super) fn refusal(family: Family, status: u16) -> RefOr<Response> {
    RefOr::Ref(Ref::from_response_name(name(family, status)))
}

fn name(family: Family, status: u16) -> String {
    format!("{}{status}", family.error())
}

/// Adds the objects and the answers.
pub(super) fn describe(mut components: ComponentsBuilder) -> ComponentsBuilder {
    for family in [Family::OpenAi, Family::Ollama, Family::Anthropic] {
        components = components.schema(family.error(), object(family));
        for (status, means) in STATUSES {
            components = components.response(name(family, status), response(family, status, means));
        }
    }
    components
}

fn response(family: Family, status: u16, means: &str) -> Response {
    let response = ResponseBuilder::new()
        .description(means)
        .content("application/json", ContentBuilder::new().schema(Some(named(family.error()))).build())
        .header("x-request-id", request_id());
    let response = match status {
        401 => response.header("www-authenticate", header("`Bearer`", text())),
        405 => response.header("allow", header("The methods that the path answers.", text())),
        429 | 503 => response.header("retry-after", header("Seconds after which to ask again.", text())),
        _ => response,
    };
    response.build()
}

/// What every answer carries.
pub(super) fn request_id() -> Header {
    header("Names this request in the device's log and records.", text())
}

fn header(description: &str, form: Form) -> Header {
    HeaderBuilder::new().schema(form).description(Some(description)).build()
}

fn object(family: Family) -> Form {
    match family {
        Family::OpenAi => {
            let kinds = words(&[
                "invalid_request_error",
                "authentication_error",
                "permission_error",
                "timeout_error",
                "rate_limit_error",
                "unavailable_error",
                "server_error",
            ]);
            let present = vec![("message", text()), ("type", kinds), ("param", nullable(text())), ("code", text())];
            answer(vec![("error", answer_with(present, vec![("rules", list(text()))]))])
        }
        Family::Ollama => answer(vec![("error", text()), ("code", text())]),
        Family::Anthropic => {
            let kinds = words(&[
                "invalid_request_error",
                "authentication_error",
                "permission_error",
                "not_found_error",
                "timeout_error",
                "request_too_large",
                "rate_limit_error",
                "overloaded_error",
                "api_error",
            ]);
            let error = answer(vec![("type", kinds), ("message", text()), ("code", text())]);
            answer(vec![("type", words(&["error"])), ("error", error)])
        }
    }
}
