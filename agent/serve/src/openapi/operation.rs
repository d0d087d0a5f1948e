//! One operation: what it takes, what it answers, and which refusals can come instead.

use std::collections::BTreeSet;

use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Required, ResponseBuilder};

use super::errors;
use super::schema::{Form, named, text, words};
use crate::api::{self, Endpoint};
use crate::label;

pub(super) const JSON: &str = "application/json";
pub(super) const EVENTS: &str = "text/event-stream";
pub(super) const LINES: &str = "application/x-ndjson";
pub(super) const TEXT: &str = "text/plain";

/// Refusals that any route can answer with, whoever calls.
const ALWAYS: [u16; 5] = [403, 405, 421, 500, 503];

/// Refusals of a body.
const OF_BODIES: [u16; 4] = [400, 408, 413, 415];

/// An operation that is being described.
pub(super) struct Described {
    path: &'static str,
    method: HttpMethod,
    endpoint: Endpoint,
    operation: OperationBuilder,
    /// What comes with 200; none where nobody is answered so.
    answer: Option<ResponseBuilder>,
    refusals: BTreeSet<u16>,
}

impl Described {
    pub(super) fn get(path: &'static str, summary: &str) -> Self {
        Self::new(HttpMethod::Get, "get", path, summary)
    }

    pub(super) fn post(path: &'static str, summary: &str) -> Self {
        Self::new(HttpMethod::Post, "post", path, summary)
    }

    pub(super) fn delete(path: &'static str, summary: &str) -> Self {
        Self::new(HttpMethod::Delete, "delete", path, summary)
    }

    fn new(method: HttpMethod, word: &str, path: &'static str, summary: &str) -> Self {
        let endpoint = api::endpoint(path);
        let mut operation = OperationBuilder::new().summary(Some(summary)).operation_id(Some(id(word, path)));
        let mut refusals = BTreeSet::from(ALWAYS);
        if endpoint.identified {
            refusals.insert(401);
        } else {
            operation = operation.securities(Some(std::iter::empty::<SecurityRequirement>()));
        }
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            refusals.extend([400, 404]);
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
            operation = operation.parameter(parameter.required(Required::True).schema(Some(text())));
        }
        let answer = ResponseBuilder::new().description("Done as asked.").header("x-request-id", errors::request_id());
        Self { path, method, endpoint, operation, answer: Some(answer), refusals }
    }

    /// Takes a JSON object, which has a name among the components.
    pub(super) fn takes(mut self, name: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(named(name))).build();
        let body = RequestBodyBuilder::new().content(JSON, content).required(Some(Required::True)).build();
        self.operation = self.operation.request_body(Some(body));
        self.may(&OF_BODIES)
    }

    /// Reads something after `?`.
    pub(super) fn query(mut self, name: &str, form: Form, description: &str) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).schema(Some(form));
        self.operation = self.operation.parameter(parameter.description(Some(description)));
        self.may(&[400])
    }

    /// Asks a model: it may not be here, be busy, or not be for this caller now.
    pub(super) fn asks(mut self) -> Self {
        let class = ParameterBuilder::new()
            .name(label::HEADER_AS_WRITTEN)
            .parameter_in(ParameterIn::Header)
            .description(Some("What kind of data is sent, for the rules that decide by it; `internal` if not said."))
            .schema(Some(words(&label::words())));
        self.operation = self.operation.parameter(class);
        self.may(&[404, 409, 429])
    }

    /// Does something to a model.
    pub(super) fn acts(self) -> Self {
        self.may(&[400, 404, 409])
    }

    /// Can be refused like this besides.
    pub(super) fn may(mut self, statuses: &[u16]) -> Self {
        self.refusals.extend(statuses);
        self
    }

    /// Answers with JSON.
    pub(super) fn answers(self, form: Form) -> Self {
        self.content(JSON, Some(form))
    }

    /// Answers with text.
    pub(super) fn says(self) -> Self {
        self.content(TEXT, Some(text()))
    }

    /// Answers piece by piece, if that is asked for; a piece is no answer by itself, so a schema does not describe it.
    pub(super) fn streams(self, content_type: &str) -> Self {
        self.content(content_type, None)
    }

    fn content(mut self, content_type: &str, form: Option<Form>) -> Self {
        let content = ContentBuilder::new().schema(form).build();
        self.answer = self.answer.map(|answer| answer.content(content_type, content));
        self
    }

    /// Is refused, whoever asks.
    pub(super) fn never(self) -> Self {
        Self { answer: None, ..self }
    }

    /// The operation, and where it stands.
    pub(super) fn build(self) -> (&'static str, HttpMethod, OperationBuilder) {
        let mut operation = self.operation;
        if let Some(answer) = self.answer {
            operation = operation.response("200", answer);
        }
        for status in self.refusals {
            operation = operation.response(status.to_string(), errors::refusal(self.endpoint.family, status));
        }
        (self.path, self.method, operation)
    }
}

/// A name for clients that are generated, as in `post_v1_chat_completions`.
fn id(method: &str, path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.fold(method.to_owned(), |id, part| format!("{id}_{}", part.trim_matches(['{', '}']).replace('.', "_")))
}
