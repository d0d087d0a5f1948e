//! Turns of typed items, as clients of OpenAI's newer API send and read them.

use serde_json::json;
use utoipa::openapi::ComponentsBuilder;

use super::openai::{EFFORTS, NAME, content, function_fields, harmless, model_name, sampling, schema, strict};
use super::schema::{
    Fields, Form, answer, any_object, anything, at_least, count, either, empty, flag, integer, list, list_of, map,
    named, nullable, real, request, text, text_like, text_of, values, whole, words,
};
use crate::api::ceilings::{MESSAGES, TOOLS};

const TEXTS: [&str; 3] = ["input_text", "output_text", "text"];

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("ResponseRequest", response_request())
        .schema("ResponseInputItem", input_item())
        .schema("Response", response())
        .schema("ResponseOutputItem", output_item())
        .schema("ResponseItems", items())
}

fn response_request() -> Form {
    let input = either([text(), list_of(named("ResponseInputItem"), 1, MESSAGES)]);
    let mut optional = harmless(&[
        "user",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "max_tool_calls",
        "client_metadata",
    ]);
    optional.extend(sampling());
    let includes = words(&["message.output_text.logprobs", "reasoning.encrypted_content"]);
    let metadata = map(text_of(0, 512)).max_properties(Some(16));
    let auto = || words(&["auto"]);
    let reasoning = vec![("effort", words(&EFFORTS)), ("summary", auto()), ("generate_summary", auto())];
    optional.extend([
        ("instructions", text()),
        ("previous_response_id", text_of(0, TOOLS)),
        ("store", flag()),
        ("max_output_tokens", count(1)),
        ("tools", list_of(tool(), 0, TOOLS)),
        ("tool_choice", tool_choice()),
        ("parallel_tool_calls", flag()),
        ("text", request(vec![], vec![("format", format()), ("verbosity", words(&["medium"]))])),
        ("reasoning", request(vec![], reasoning)),
        ("include", list_of(includes, 0, 16)),
        ("top_logprobs", whole(0, 20)),
        ("metadata", metadata.into()),
        // These ask for nothing when they say this, and are refused when they say more.
        ("truncation", words(&["disabled"])),
        ("background", values(&[json!(false)])),
        ("context_management", empty()),
    ]);
    request(vec![("model", model_name()), ("input", input)], optional)
}

fn tool() -> Form {
    request(vec![("type", words(&["function"])), ("name", text_like(NAME))], function_fields())
}

fn tool_choice() -> Form {
    let one = request(vec![("name", text_like(NAME))], vec![("type", words(&["function"]))]);
    let allowed = vec![("mode", words(&["auto", "required"])), ("tools", list_of(one, 0, TOOLS))];
    either([
        words(&["none", "auto", "required"]),
        request(vec![("type", words(&["function"])), ("name", text_like(NAME))], vec![]),
        request(vec![("type", words(&["allowed_tools"]))], allowed),
    ])
}

fn format() -> Form {
    either([
        request(vec![("type", words(&["text", "json_object"]))], vec![]),
        request(vec![("type", words(&["json_schema"])), ("name", text_like(NAME)), ("schema", schema())], strict()),
    ])
}

fn input_item() -> Form {
    let with = |fields: Fields| harmless(&["id", "status", "phase"]).into_iter().chain(fields).collect::<Vec<_>>();
    let call_id = || ("call_id", text_of(1, 256));
    let roles = words(&["system", "developer", "user", "assistant"]);
    either([
        request(vec![("role", roles), ("content", content(&TEXTS))], with(vec![("type", words(&["message"]))])),
        request(
            vec![("type", words(&["function_call"])), call_id(), ("name", text())],
            with(vec![("arguments", text()), ("namespace", anything())]),
        ),
        request(vec![("type", words(&["function_call_output"])), call_id(), ("output", content(&TEXTS))], with(vec![])),
        request(
            vec![("type", words(&["reasoning"]))],
            with(vec![
                ("content", content(&["reasoning_text", "text"])),
                ("summary", content(&["summary_text"])),
                ("encrypted_content", words(&[""])),
            ]),
        ),
    ])
}

fn response() -> Form {
    let details = |field| answer(vec![(field, at_least(0))]);
    let usage = answer(vec![
        ("input_tokens", at_least(0)),
        ("input_tokens_details", details("cached_tokens")),
        ("output_tokens", at_least(0)),
        ("output_tokens_details", details("reasoning_tokens")),
        ("total_tokens", at_least(0)),
    ]);
    let error = answer(vec![("code", text()), ("message", text())]);
    let tool = answer(vec![
        ("type", words(&["function"])),
        ("name", text()),
        ("description", nullable(text())),
        ("parameters", nullable(any_object())),
        ("strict", flag()),
    ]);
    let reasoning = answer(vec![("effort", nullable(text())), ("summary", nullable(text()))]);
    let incomplete = answer(vec![("reason", words(&["max_output_tokens"]))]);
    answer(vec![
        ("id", text()),
        ("object", words(&["response"])),
        ("status", words(&["completed", "incomplete", "failed", "in_progress"])),
        ("created_at", integer()),
        ("completed_at", nullable(integer())),
        ("error", nullable(error)),
        ("incomplete_details", nullable(incomplete)),
        ("model", text()),
        ("instructions", nullable(text())),
        ("previous_response_id", nullable(text())),
        ("output", list(named("ResponseOutputItem"))),
        ("tools", list(tool)),
        ("tool_choice", either([text(), any_object()])),
        ("parallel_tool_calls", flag()),
        ("text", answer(vec![("format", any_object())])),
        ("reasoning", reasoning),
        ("temperature", real()),
        ("top_p", real()),
        ("presence_penalty", real()),
        ("frequency_penalty", real()),
        ("top_logprobs", whole(0, 20)),
        ("max_output_tokens", nullable(count(1))),
        ("truncation", words(&["disabled"])),
        ("background", values(&[json!(false)])),
        ("service_tier", text()),
        ("metadata", any_object()),
        ("store", flag()),
        ("usage", nullable(usage)),
    ])
}

fn output_item() -> Form {
    let status = || words(&["completed", "incomplete", "in_progress"]);
    let common = |kind: &'static str| vec![("type", words(&[kind])), ("id", text()), ("status", status())];
    let with = |kind, fields: Fields| answer(common(kind).into_iter().chain(fields).collect());
    let said = answer(vec![
        ("type", words(&["output_text"])),
        ("text", text()),
        ("annotations", list(anything())),
        ("logprobs", list(named("TokenScores"))),
    ]);
    let thought = answer(vec![("type", words(&["reasoning_text"])), ("text", text())]);
    either([
        with("message", vec![("role", words(&["assistant"])), ("content", list(said))]),
        with("reasoning", vec![("summary", list(anything())), ("content", list(thought))]),
        with("function_call", vec![("call_id", text()), ("name", text()), ("arguments", text())]),
    ])
}

/// Items are told as they were sent, with a type and an id in any case.
fn items() -> Form {
    let item = answer(vec![("type", anything()), ("id", anything())]);
    answer(vec![
        ("object", words(&["list"])),
        ("data", list(item)),
        ("first_id", anything()),
        ("last_id", anything()),
        ("has_more", flag()),
    ])
}
