//! One operation: what it takes, what it answers, and which refusals can come instead.

use std::collections::BTreeSet;

use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Required, ResponseBuilder};

use super::CERTIFICATE;
use super::errors::{self, header};
use super::schema::{Form, any_object, between, named, page, text, text_like};
use crate::api::idempotency::OF_DEVICES;
use crate::api::page::MOST_ENTRIES;

const JSON: &str = "application/json";

/// Refusals that any route can answer with.
const ALWAYS: [u16; 2] = [500, 503];

/// Refusals of a body.
const OF_BODIES: [u16; 4] = [400, 413, 415, 422];

/// An operation that is being described.
pub(super) struct Described {
    pub(super) path: &'static str,
    /// As the list of routes spells it.
    #[cfg(test)]
    pub(super) word: &'static str,
    /// Whether `If-Match` is described.
    #[cfg(test)]
    pub(super) is_conditional: bool,
    method: HttpMethod,
    operation: OperationBuilder,
    status: u16,
    answer: ResponseBuilder,
    refusals: BTreeSet<u16>,
}

macro_rules! methods {
    ($($name:ident $method:ident $word:literal,)+) => {
        impl Described {
            $(
                #[doc = concat!("A ", $word, ", by the name that clients call it.")]
                pub(super) fn $name(path: &'static str, id: &str, summary: &str) -> Self {
                    Self::new(HttpMethod::$method, $word, path, id, summary)
                }
            )+
        }
    };
}

methods! {
    get Get "GET",
    post Post "POST",
    put Put "PUT",
    patch Patch "PATCH",
    delete Delete "DELETE",
}

impl Described {
    #[cfg_attr(not(test), expect(unused_variables, reason = "tests compare it with the routes"))]
    fn new(method: HttpMethod, word: &'static str, path: &'static str, id: &str, summary: &str) -> Self {
        let is_safe = matches!(method, HttpMethod::Get);
        let is_of_devices = OF_DEVICES.contains(&path);
        let is_keyed = matches!(method, HttpMethod::Post) && !is_of_devices;
        let tag = path.trim_start_matches("/v1").trim_start_matches('/').split('/').next().unwrap_or_default();
        let described = Self {
            path,
            #[cfg(test)]
            word,
            #[cfg(test)]
            is_conditional: false,
            method,
            operation: OperationBuilder::new().summary(Some(summary)).operation_id(Some(id)).tag(tag),
            status: 200,
            answer: ResponseBuilder::new().description("Done as asked."),
            refusals: ALWAYS.into_iter().chain([401, 403]).collect(),
        };
        let described = match is_safe {
            true => described.tagged(),
            false if is_of_devices => described,
            false => described.may(&[412]),
        };
        let described = if is_keyed { described.keyed() } else { described };
        path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).fold(described, Self::names)
    }

    fn names(mut self, name: &str) -> Self {
        let form = match name {
            "device" | "group" | "rollout" => super::schema::device(),
            "number" => super::schema::count(),
            "fingerprint" => super::schema::fingerprint(),
            "id" if self.path.contains("/commands/") => super::schema::command_id(),
            "id" if self.path.contains("/enrolment/") || self.path.contains("/sessions/") => super::schema::digest(),
            "blake3" => super::schema::digest(),
            _ => text_like("^[^/]{1,128}$"),
        };
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path);
        self.operation = self.operation.parameter(parameter.required(Required::True).schema(Some(form)));
        self.may(&[400, 404])
    }

    /// What is read has a tag.
    fn tagged(mut self) -> Self {
        self.answer = self.answer.header("etag", header("Digest of the answer.", text()));
        self.header("If-None-Match", text(), "Tags of answers that are known: they are not sent again.")
    }

    fn keyed(self) -> Self {
        let about =
            "Chosen by the client for this request: sent again within 24 hours, it is done once and answered alike.";
        self.header("Idempotency-Key", text_like("^[!-~]{1,255}$"), about).may(&[400, 409, 422, 429])
    }

    fn header(mut self, name: &str, form: Form, about: &str) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
        let parameter = parameter.required(Required::False).schema(Some(form)).description(Some(about));
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// Changes what is there only if it is as `If-Match` says.
    pub(super) fn conditional(self) -> Self {
        #[cfg(test)]
        let described = Self { is_conditional: true, ..self };
        #[cfg(not(test))]
        let described = self;
        let about = "The `ETag` of a GET of this path: nothing is changed if it is another one by now.";
        described.header("If-Match", text(), about)
    }

    /// Is for devices alone, who show their certificate.
    pub(super) fn for_devices(mut self) -> Self {
        let shown = SecurityRequirement::new(CERTIFICATE, std::iter::empty::<String>());
        self.operation = self.operation.securities(Some([shown]));
        self
    }

    /// Is for everybody.
    pub(super) fn for_strangers(mut self) -> Self {
        self.operation = self.operation.securities(Some(std::iter::empty::<SecurityRequirement>()));
        self.refusals.remove(&401);
        self
    }

    /// Takes a JSON object, which has a name among the components.
    pub(super) fn takes(self, name: &str) -> Self {
        self.takes_as(JSON, named(name))
    }

    /// Takes the same, or nothing.
    pub(super) fn takes_at_will(mut self, name: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(named(name))).build();
        let body = RequestBodyBuilder::new().content(JSON, content).required(Some(Required::False)).build();
        self.operation = self.operation.request_body(Some(body));
        self.may(&OF_BODIES)
    }

    /// Takes a body of another type.
    pub(super) fn takes_as(mut self, content_type: &str, form: Form) -> Self {
        let content = ContentBuilder::new().schema(Some(form)).build();
        let body = RequestBodyBuilder::new().content(content_type, content).required(Some(Required::True)).build();
        self.operation = self.operation.request_body(Some(body));
        self.may(&OF_BODIES)
    }

    /// Reads something after `?`.
    pub(super) fn query(self, name: &str, form: Form, description: &str) -> Self {
        self.parameter(name, Required::False, form, description)
    }

    /// Needs something after `?`.
    pub(super) fn needs_query(self, name: &str, form: Form, description: &str) -> Self {
        self.parameter(name, Required::True, form, description)
    }

    fn parameter(mut self, name: &str, required: Required, form: Form, description: &str) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).required(required);
        self.operation = self.operation.parameter(parameter.schema(Some(form)).description(Some(description)));
        self.may(&[400])
    }

    /// Answers a page of a list; `after` has this form.
    pub(super) fn pages(self, after: Form, entry: &str) -> Self {
        self.paged(after).answers(page(named(entry)))
    }

    /// The same, of objects without a name.
    pub(super) fn pages_objects(self, after: Form) -> Self {
        self.paged(after).answers(page(any_object()))
    }

    /// Is asked page by page.
    pub(super) fn paged(self, after: Form) -> Self {
        self.query("after", after, "The `next` of the page before; the first page comes without it.").query(
            "limit",
            between(1, MOST_ENTRIES),
            "Entries at most; 100 if not said.",
        )
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

    /// Answers with JSON: something was made, or taken in.
    pub(super) fn answers_with(self, status: u16, form: Form) -> Self {
        Self { status, ..self }.content(JSON, Some(form))
    }

    /// Answers with something else than JSON.
    pub(super) fn answers_as(self, content_type: &str) -> Self {
        self.content(content_type, None)
    }

    fn content(mut self, content_type: &str, form: Option<Form>) -> Self {
        self.answer = self.answer.content(content_type, ContentBuilder::new().schema(form).build());
        self
    }

    /// Answers like this besides.
    pub(super) fn also(mut self, status: u16, description: &str, form: Form) -> Self {
        let content = ContentBuilder::new().schema(Some(form)).build();
        let response = ResponseBuilder::new().description(description).content(JSON, content);
        self.refusals.remove(&status);
        self.operation = self.operation.response(status.to_string(), response);
        self
    }

    /// Answers like this besides, without a body.
    pub(super) fn bare(mut self, status: u16, description: &str) -> Self {
        self.operation = self.operation.response(status.to_string(), ResponseBuilder::new().description(description));
        self
    }

    /// The operation, and where it stands.
    pub(super) fn build(self) -> (&'static str, HttpMethod, OperationBuilder) {
        let mut operation = self.operation.response(self.status.to_string(), self.answer);
        if matches!(self.method, HttpMethod::Get) {
            let known = ResponseBuilder::new().description("It is as one of the tags of `If-None-Match` says.");
            operation = operation.response("304", known);
        }
        for status in self.refusals {
            operation = operation.response(status.to_string(), errors::refusal(status));
        }
        (self.path, self.method, operation)
    }
}
