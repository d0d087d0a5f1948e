//! What clients of Anthropic send and read.

use utoipa::openapi::ComponentsBuilder;

use super::openai::{harmless, model_name, stop};
use super::operation::{Described, EVENTS};
use super::schema::{
    Fields, Form, above_zero, answer, any_object, anything, at_least, count, either, empty, flag, list, list_of, named,
    nullable, number, request, text, text_like, words,
};
use crate::api::ceilings::{MESSAGES, TOOLS};

const BLOCKS: usize = 4096;

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::post("/v1/messages", "Answers a conversation, at once or as a stream.")
            .takes("MessagesRequest")
            .asks()
            .answers(named("Message"))
            .streams(EVENTS),
        Described::post("/v1/messages/count_tokens", "Counts the tokens of a conversation.")
            .takes("MessageCountRequest")
            .asks()
            .answers(answer(vec![("input_tokens", count(0))])),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("MessagesRequest", messages())
        .schema("MessageCountRequest", request(needed(), conversation()))
        .schema("MessageParam", message_param())
        .schema("AnthropicTool", tool())
        .schema("Message", message())
}

fn needed() -> Fields {
    vec![("model", model_name()), ("messages", list_of(named("MessageParam"), 1, MESSAGES))]
}

/// What a question and a count have in common.
fn conversation() -> Fields {
    let choice = vec![("name", text()), ("disable_parallel_tool_use", flag())];
    let thinking = vec![("budget_tokens", at_least(1)), ("display", anything())];
    vec![
        ("system", texts()),
        ("tools", list_of(named("AnthropicTool"), 0, TOOLS)),
        ("tool_choice", request(vec![("type", words(&["auto", "any", "tool", "none"]))], choice)),
        ("thinking", request(vec![("type", words(&["enabled", "disabled", "adaptive"]))], thinking)),
        ("cache_control", anything()),
        // This asks for nothing when it is empty, and is refused when it says more.
        ("mcp_servers", empty()),
        ("output_config", request(vec![], vec![("format", format()), ("effort", anything())])),
        ("output_format", format()),
    ]
}

/// The form that an answer must have.
fn format() -> Form {
    request(vec![("type", words(&["json_schema"])), ("schema", any_object())], vec![])
}

fn messages() -> Form {
    let mut needed = needed();
    needed.push(("max_tokens", count(1)));
    let mut optional = conversation();
    optional.extend(harmless(&["metadata", "service_tier", "inference_geo"]));
    optional.extend([
        ("stream", flag()),
        ("temperature", number(0.0, 1.0)),
        ("top_p", above_zero(1.0)),
        ("top_k", count(0)),
        ("stop_sequences", stop()),
    ]);
    request(needed, optional)
}

/// A block with what every block may carry besides.
fn block(kind: &'static str, needed: Fields, optional: Fields) -> Form {
    let needed = [("type", words(&[kind]))].into_iter().chain(needed).collect();
    let besides = harmless(&["cache_control", "citations", "signature", "caller"]);
    request(needed, optional.into_iter().chain(besides).collect())
}

fn text_block() -> Form {
    block("text", vec![("text", text())], vec![])
}

/// A text or blocks of text.
fn texts() -> Form {
    either([text(), list_of(text_block(), 0, BLOCKS)])
}

fn message_param() -> Form {
    let call = block("tool_use", vec![("id", text()), ("name", text()), ("input", any_object())], vec![]);
    let thought = block("thinking", vec![("thinking", text())], vec![]);
    let result = block("tool_result", vec![("tool_use_id", text())], vec![("is_error", flag()), ("content", texts())]);
    let of = |role: &'static str, blocks: Form| {
        let content = either([text(), list_of(blocks, 0, BLOCKS)]);
        request(vec![("role", words(&[role])), ("content", content)], vec![])
    };
    either([of("user", either([text_block(), result])), of("assistant", either([text_block(), thought, call]))])
}

fn tool() -> Form {
    let mut optional = harmless(&["cache_control", "strict", "input_examples", "eager_input_streaming"]);
    optional.push(("type", words(&["custom"])));
    optional.push(("description", text()));
    request(vec![("name", text_like("^[A-Za-z0-9_-]{1,128}$")), ("input_schema", any_object())], optional)
}

fn message() -> Form {
    let said = answer(vec![("type", words(&["text"])), ("text", text())]);
    let thought = answer(vec![("type", words(&["thinking"])), ("thinking", text()), ("signature", text())]);
    let call = answer(vec![("type", words(&["tool_use"])), ("id", text()), ("name", text()), ("input", any_object())]);
    let usage = answer(vec![
        ("input_tokens", at_least(0)),
        ("cache_creation_input_tokens", at_least(0)),
        ("cache_read_input_tokens", at_least(0)),
        ("output_tokens", at_least(0)),
    ]);
    answer(vec![
        ("id", text()),
        ("type", words(&["message"])),
        ("role", words(&["assistant"])),
        ("model", text()),
        ("content", list(either([said, thought, call]))),
        ("stop_reason", words(&["end_turn", "stop_sequence", "tool_use", "max_tokens"])),
        ("stop_sequence", nullable(text())),
        ("usage", usage),
    ])
}
