//! What clients of OpenAI send and read.

use serde_json::json;
use utoipa::openapi::ComponentsBuilder;

use super::operation::{Described, EVENTS};
use super::schema::{
    Fields, Form, above_zero, answer, answer_with, any_object, anything, at_least, count, either, empty, flag, integer,
    list, list_of, map, named, nothing, nullable, number, real, request, some_text, text, text_like, text_of, values,
    whole, words,
};
use crate::api::ceilings::{MESSAGES, TOOLS};

/// Names of functions and of schemas.
pub(super) const NAME: &str = "^[A-Za-z0-9_-]{1,64}$";

const PARTS: usize = 1024;

/// Bytes of a schema, an expression or a grammar.
const SHAPE: usize = 256 * 1024;

pub(super) const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::get("/v1/models", "The models that can be asked.").answers(named("Models")),
        Described::get("/v1/models/{id}", "One model.").answers(named("Model")),
        Described::post("/v1/chat/completions", "Continues a conversation, at once or as a stream.")
            .takes("ChatRequest")
            .asks()
            .answers(named("ChatCompletion"))
            .streams(EVENTS),
        Described::post("/v1/completions", "Continues texts as they are, at once or as a stream.")
            .takes("CompletionRequest")
            .asks()
            .answers(named("Completion"))
            .streams(EVENTS),
        Described::post("/v1/embeddings", "Makes vectors of texts.")
            .takes("EmbeddingsRequest")
            .asks()
            .answers(named("Embeddings")),
        Described::post("/v1/responses", "Answers a turn of typed items, and keeps it for the caller.")
            .takes("ResponseRequest")
            .asks()
            .answers(named("Response"))
            .streams(EVENTS),
        Described::get("/v1/responses/{id}", "A response of the caller's that was kept.")
            .query("stream", text(), "Has to be anything but `true`: a response is read whole.")
            .answers(named("Response")),
        Described::delete("/v1/responses/{id}", "Forgets a response of the caller's.").answers(answer(vec![
            ("id", text()),
            ("object", words(&["response"])),
            ("deleted", values(&[json!(true)])),
        ])),
        Described::get("/v1/responses/{id}/input_items", "What a response of the caller's was an answer to.")
            .query("limit", whole(1, 100), "Items of a page; 20 if not said.")
            .query("order", words(&["asc", "desc"]), "The newest first, if not said.")
            .query("after", text(), "The id of the last item of the page before.")
            .answers(named("ResponseItems")),
        Described::post("/v1/responses/{id}/cancel", "Always refused: nothing is answered in the background.").never(),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("Model", model())
        .schema("Models", answer(vec![("object", words(&["list"])), ("data", list(named("Model")))]))
        .schema("ChatRequest", chat_request())
        .schema("ChatMessage", chat_message())
        .schema("ChatCompletion", chat_completion())
        .schema("CompletionRequest", completion_request())
        .schema("Completion", completion())
        .schema("EmbeddingsRequest", embeddings_request())
        .schema("Embeddings", embeddings())
        .schema("Tool", tool())
        .schema("ResponseFormat", response_format())
        .schema("Usage", usage())
        .schema("TokenScores", token_scores())
}

/// The name of a model, in every family.
pub(super) fn model_name() -> Form {
    text_of(1, 256)
}

fn model() -> Form {
    let meta = answer(vec![
        ("variant", text()),
        ("family", text()),
        ("licence", text()),
        ("purpose", words(&["generation", "embedding"])),
        ("tools", flag()),
        ("thinking", flag()),
        ("loaded", flag()),
        ("context_tokens", at_least(0)),
        ("parameters", at_least(0)),
        ("file_sha256", text()),
    ]);
    answer(vec![
        ("id", text()),
        ("object", words(&["model"])),
        ("created", integer()),
        ("owned_by", text()),
        ("meta", meta),
    ])
}

/// How tokens are chosen.
pub(super) fn sampling() -> Fields {
    vec![
        ("temperature", number(0.0, 2.0)),
        ("top_p", above_zero(1.0)),
        ("top_k", count(0)),
        ("min_p", number(0.0, 1.0)),
        ("repetition_penalty", above_zero(2.0)),
        ("repeat_penalty", above_zero(2.0)),
        ("presence_penalty", number(-2.0, 2.0)),
        ("frequency_penalty", number(-2.0, 2.0)),
        ("logit_bias", map(number(-100.0, 100.0)).max_properties(Some(1024)).into()),
        ("seed", integer()),
        ("stream", flag()),
        (
            "stream_options",
            request(vec![], vec![("include_usage", flag()), ("include_obfuscation", values(&[json!(false)]))]),
        ),
    ]
}

/// The form that an answer must have.
fn shape() -> Fields {
    vec![
        ("response_format", named("ResponseFormat")),
        ("guided_json", either([text(), any_object(), flag()])),
        ("guided_regex", text_of(1, SHAPE)),
        ("guided_choice", list_of(text(), 0, 1024)),
        ("guided_grammar", text_of(1, SHAPE)),
        ("grammar", empty()),
        ("structured_outputs", empty()),
    ]
}

fn response_format() -> Form {
    let inner = request(vec![("name", text_like(NAME)), ("schema", schema())], strict());
    either([
        request(vec![("type", words(&["text"]))], vec![]),
        request(vec![("type", words(&["json_object"]))], vec![("schema", schema())]),
        request(vec![("type", words(&["json_schema"])), ("json_schema", inner)], vec![]),
    ])
}

pub(super) fn strict() -> Fields {
    vec![("description", text()), ("strict", flag())]
}

/// A JSON Schema.
pub(super) fn schema() -> Form {
    either([any_object(), flag()])
}

/// A text or up to 16 of them that end an answer.
pub(super) fn stop() -> Form {
    either([text_of(1, 256), list_of(text_of(1, 256), 0, 16)])
}

/// Fields that change nothing, and may be whatever they like.
pub(super) fn harmless(names: &[&'static str]) -> Fields {
    names.iter().map(|name| (*name, anything())).collect()
}

pub(super) fn function() -> Form {
    request(vec![("name", text_like(NAME))], function_fields())
}

/// What a function has beside its name.
pub(super) fn function_fields() -> Fields {
    let mut fields = strict();
    fields.push(("parameters", any_object()));
    fields
}

fn tool() -> Form {
    request(vec![("type", words(&["function"])), ("function", function())], vec![])
}

fn tool_choice() -> Form {
    let name = || request(vec![("name", text_like(NAME))], vec![]);
    let one = || request(vec![("function", name())], vec![("type", words(&["function"]))]);
    let modes = words(&["auto", "required"]);
    let allowed = request(vec![], vec![("mode", modes), ("tools", list_of(one(), 0, TOOLS))]);
    either([
        words(&["none", "auto", "required"]),
        request(vec![("type", words(&["function"])), ("function", name())], vec![]),
        request(vec![("type", words(&["allowed_tools"])), ("allowed_tools", allowed)], vec![]),
    ])
}

/// A text or parts of it, the parts being of these types.
pub(super) fn content(kinds: &[&str]) -> Form {
    let unread = harmless(&["annotations", "logprobs", "cache_control", "prompt_cache_breakpoint"]);
    let part = request(vec![("type", words(kinds)), ("text", text())], unread);
    either([text(), list_of(part, 0, PARTS)])
}

fn chat_request() -> Form {
    let needed = vec![("model", model_name()), ("messages", list_of(named("ChatMessage"), 1, MESSAGES))];
    let mut optional = harmless(&[
        "user",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "store",
        "request_id",
    ]);
    optional.extend(sampling());
    optional.extend(shape());
    optional.extend([
        ("n", whole(1, 8)),
        ("stop", stop()),
        ("max_tokens", count(1)),
        ("max_completion_tokens", count(1)),
        ("tools", list_of(named("Tool"), 0, TOOLS)),
        ("tool_choice", tool_choice()),
        ("parallel_tool_calls", flag()),
        ("reasoning_effort", words(&EFFORTS)),
        ("chat_template_kwargs", request(vec![], vec![("enable_thinking", flag())])),
        ("logprobs", flag()),
        ("top_logprobs", whole(0, 20)),
        // These ask for nothing when they say this, and are refused when they say more.
        ("modalities", values(&[json!(["text"])])),
        ("verbosity", words(&["medium"])),
        ("min_tokens", number(0.0, 0.0)),
        ("functions", empty()),
        ("function_call", words(&["none"])),
    ]);
    request(needed, optional)
}

fn chat_message() -> Form {
    let blank = || values(&[json!(""), json!([]), json!({})]);
    let common =
        || vec![("name", text()), ("refusal", words(&[""])), ("audio", words(&[""])), ("annotations", anything())];
    let with = |fields: Fields| common().into_iter().chain(fields).collect::<Vec<_>>();
    let called = request(vec![("name", text())], vec![("arguments", text())]);
    let call = request(
        vec![("id", text_of(1, 256)), ("function", called)],
        vec![("type", words(&["function"])), ("index", anything())],
    );
    let unsaid = || vec![("tool_calls", blank()), ("reasoning_content", blank()), ("reasoning", blank())];
    let said = vec![
        ("content", content(&["text"])),
        ("tool_calls", list_of(call, 0, TOOLS)),
        ("reasoning_content", text()),
        ("reasoning", text()),
    ];
    either([
        request(
            vec![("role", words(&["system", "developer", "user"])), ("content", content(&["text"]))],
            with(unsaid()),
        ),
        request(vec![("role", words(&["assistant"]))], with(said)),
        request(
            vec![("role", words(&["tool"])), ("tool_call_id", text_of(1, 256)), ("content", content(&["text"]))],
            with(unsaid()),
        ),
    ])
}

/// What every answer of this kind begins with.
fn head(kind: &str, choice: Form) -> Form {
    answer(vec![
        ("id", text()),
        ("object", words(&[kind])),
        ("created", integer()),
        ("model", text()),
        ("system_fingerprint", text()),
        ("choices", list(choice)),
        ("usage", named("Usage")),
    ])
}

fn finish() -> Form {
    words(&["stop", "length", "tool_calls"])
}

fn chat_completion() -> Form {
    let function = answer(vec![("name", text()), ("arguments", text())]);
    let call = answer(vec![("id", text()), ("type", words(&["function"])), ("function", function)]);
    let message = answer_with(
        vec![("role", words(&["assistant"])), ("content", nullable(text())), ("refusal", nothing())],
        vec![("reasoning_content", text()), ("tool_calls", list(call))],
    );
    let scores = answer(vec![("content", list(named("TokenScores"))), ("refusal", nothing())]);
    let choice = answer(vec![
        ("index", at_least(0)),
        ("message", message),
        ("logprobs", nullable(scores)),
        ("finish_reason", finish()),
    ]);
    head("chat.completion", choice)
}

fn score() -> Fields {
    vec![("token", text()), ("bytes", list(whole(0, 255))), ("logprob", real())]
}

fn token_scores() -> Form {
    let mut fields = score();
    fields.push(("top_logprobs", list(answer(score()))));
    answer(fields)
}

fn usage() -> Form {
    answer(vec![
        ("prompt_tokens", at_least(0)),
        ("completion_tokens", at_least(0)),
        ("total_tokens", at_least(0)),
        ("prompt_tokens_details", answer(vec![("cached_tokens", at_least(0))])),
        ("completion_tokens_details", answer(vec![("reasoning_tokens", at_least(0))])),
    ])
}

/// Texts or tokens, one or several.
fn prompts(text: impl Fn() -> Form, most: usize) -> Form {
    let tokens = || list_of(count(0), 1, 1 << 20);
    either([text(), tokens(), list_of(either([text(), tokens()]), 1, most)])
}

fn completion_request() -> Form {
    let needed = vec![("model", model_name()), ("prompt", prompts(text, 128))];
    let mut optional =
        harmless(&["user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "store"]);
    optional.extend(sampling());
    optional.extend(shape());
    optional.extend([
        ("n", whole(1, 8)),
        ("best_of", at_least(1)),
        ("echo", flag()),
        ("logprobs", whole(0, 20)),
        ("max_tokens", count(0)),
        ("stop", stop()),
        ("suffix", words(&[""])),
    ]);
    request(needed, optional)
}

fn completion() -> Form {
    let scores = answer(vec![
        ("tokens", list(text())),
        ("token_logprobs", list(nullable(real()))),
        ("top_logprobs", list(nullable(map(real()).into()))),
        ("text_offset", list(at_least(0))),
    ]);
    let choice = answer(vec![
        ("index", at_least(0)),
        ("text", text()),
        ("logprobs", nullable(scores)),
        ("finish_reason", finish()),
    ]);
    head("text_completion", choice)
}

fn embeddings_request() -> Form {
    let mut optional = harmless(&["user"]);
    optional.extend([("encoding_format", words(&["float", "base64"])), ("dimensions", count(1)), ("truncate", flag())]);
    request(vec![("model", model_name()), ("input", prompts(some_text, 2048))], optional)
}

fn embeddings() -> Form {
    let vector = answer(vec![
        ("object", words(&["embedding"])),
        ("index", at_least(0)),
        ("embedding", either([list(real()), text()])),
    ]);
    let usage = answer(vec![("prompt_tokens", at_least(0)), ("total_tokens", at_least(0))]);
    answer(vec![("object", words(&["list"])), ("data", list(vector)), ("model", text()), ("usage", usage)])
}
