//! What clients of Ollama send and read.

use serde_json::json;
use utoipa::openapi::ComponentsBuilder;

use super::openai::{harmless, model_name, stop};
use super::operation::{Described, LINES};
use super::schema::{
    Fields, Form, above_zero, answer, answer_with, any_object, anything, at_least, count, either, flag, integer, list,
    list_of, named, number, real, request, some_text, text, text_like, text_of, time, values, whole, words,
};
use crate::api::ceilings::{MESSAGES, TOOLS};
use crate::api::ollama::options;

pub(super) fn operations() -> Vec<Described> {
    let success = || answer(vec![("status", words(&["success"]))]);
    vec![
        Described::get("/", "That the service runs.").says(),
        Described::get("/api/version", "Which version runs.").answers(answer(vec![("version", text())])),
        Described::get("/api/tags", "The models that can be asked.").answers(models("OllamaModel")),
        Described::get("/api/ps", "The models in memory.").answers(models("OllamaLoadedModel")),
        Described::post("/api/show", "One model in full.")
            .takes("OllamaShowRequest")
            .acts()
            .answers(named("OllamaModelDetail")),
        Described::post("/api/generate", "Continues a text; without one, loads or unloads the model.")
            .takes("OllamaGenerateRequest")
            .asks()
            .answers(named("OllamaGenerated"))
            .streams(LINES),
        Described::post("/api/chat", "Continues a conversation; without one, loads or unloads the model.")
            .takes("OllamaChatRequest")
            .asks()
            .answers(named("OllamaChatAnswer"))
            .streams(LINES),
        Described::post("/api/embed", "Makes vectors of texts.").takes("OllamaEmbedRequest").asks().answers(answer(
            vec![
                ("model", text()),
                ("embeddings", list(list(real()))),
                ("total_duration", at_least(0)),
                ("load_duration", at_least(0)),
                ("prompt_eval_count", at_least(0)),
            ],
        )),
        Described::post("/api/embeddings", "Makes a vector of a text, for older clients.")
            .takes("OllamaEmbeddingsRequest")
            .asks()
            .answers(answer(vec![("embedding", list(real()))])),
        Described::post("/api/pull", "Fetches a model.")
            .takes("OllamaPullRequest")
            .acts()
            .answers(success())
            .streams(LINES),
        Described::post("/api/create", "Makes a model of one that is here.")
            .takes("OllamaCreateRequest")
            .acts()
            .answers(success())
            .streams(LINES),
        Described::post("/api/copy", "Gives a model another name.").takes("OllamaCopyRequest").acts(),
        Described::delete("/api/delete", "Deletes a model.").takes("OllamaDeleteRequest").acts(),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("OllamaModel", answer(card()))
        .schema("OllamaLoadedModel", loaded())
        .schema("OllamaModelDetail", detail())
        .schema("OllamaModelDetails", details())
        .schema("OllamaOptions", options())
        .schema("OllamaMessage", message())
        .schema("OllamaTool", tool())
        .schema("OllamaShowRequest", show())
        .schema("OllamaGenerateRequest", generate())
        .schema("OllamaChatRequest", chat())
        .schema("OllamaEmbedRequest", embed("input"))
        .schema("OllamaEmbeddingsRequest", embed("prompt"))
        .schema("OllamaPullRequest", pull())
        .schema("OllamaCreateRequest", create())
        .schema("OllamaCopyRequest", request(vec![("source", model_name()), ("destination", model_name())], vec![]))
        .schema("OllamaDeleteRequest", called(vec![], Vec::new))
        .schema("OllamaGenerated", answered(("response", text()), part()))
        .schema("OllamaChatAnswer", chat_answer())
        .schema("OllamaTokenScore", score())
}

/// A request about a model, by `model`, or by `name` as older clients say it.
fn called(needed: Fields, optional: impl Fn() -> Fields) -> Form {
    let with = |name: &'static str, other: (&'static str, Form)| {
        let needed = needed.iter().cloned().chain([(name, model_name())]).collect();
        request(needed, optional().into_iter().chain([other]).collect())
    };
    either([with("model", ("name", text())), with("name", ("model", words(&[""])))])
}

fn no() -> Form {
    words(&[""])
}

/// Pictures, a context, or whatever else is read only when there is none of it.
fn none() -> Form {
    list_of(anything(), 0, 0)
}

fn show() -> Form {
    called(vec![], || vec![("verbose", anything()), ("options", anything()), ("system", no()), ("template", no())])
}

/// How an answer is made.
fn common() -> Fields {
    let zero = || number(0.0, 0.0);
    vec![
        ("options", named("OllamaOptions")),
        ("format", either([words(&["", "json"]), any_object()])),
        ("keep_alive", keep_alive()),
        ("think", either([flag(), words(&["low", "medium", "high"])])),
        ("logprobs", flag()),
        ("top_logprobs", whole(0, 20)),
        ("stream", flag()),
        ("truncate", anything()),
        ("shift", anything()),
        ("width", zero()),
        ("height", zero()),
        ("steps", zero()),
    ]
}

/// Seconds, or a duration as Go writes it.
fn keep_alive() -> Form {
    either([real(), text_like("^[+-]?(([0-9.]+(ns|us|µs|ms|s|m|h))+|[0-9.]+)$")])
}

fn options() -> Form {
    let mut optional = harmless(&options::HARMLESS);
    optional.extend([
        ("temperature", number(0.0, 2.0)),
        ("top_p", above_zero(1.0)),
        ("top_k", count(0)),
        ("min_p", number(0.0, 1.0)),
        ("repeat_penalty", above_zero(2.0)),
        ("repeat_last_n", whole(-1, 1 << 20)),
        ("presence_penalty", number(-2.0, 2.0)),
        ("frequency_penalty", number(-2.0, 2.0)),
        ("seed", integer()),
        ("stop", stop()),
        ("num_predict", count(-2)),
        // These ask for nothing when they say this, and are refused when they say more.
        ("mirostat", number(0.0, 0.0)),
        ("typical_p", number(0.0, 1.0)),
        ("tfs_z", number(0.0, 1.0)),
        ("penalize_newline", values(&[json!(true)])),
    ]);
    request(vec![], optional)
}

fn generate() -> Form {
    called(vec![], || {
        let mut optional = common();
        optional.extend([
            ("prompt", text()),
            ("system", text()),
            ("raw", flag()),
            ("suffix", no()),
            ("template", no()),
            ("context", none()),
            ("images", none()),
        ]);
        optional
    })
}

fn chat() -> Form {
    called(vec![], || {
        let mut optional = common();
        optional.push(("messages", list_of(named("OllamaMessage"), 0, MESSAGES)));
        optional.push(("tools", list_of(named("OllamaTool"), 0, TOOLS)));
        optional
    })
}

fn message() -> Form {
    let function = request(
        vec![("name", text_of(1, 64))],
        vec![("arguments", any_object()), ("index", anything()), ("description", anything())],
    );
    let call = request(vec![("function", function)], vec![("id", text()), ("type", anything())]);
    request(
        vec![("role", words(&["system", "user", "assistant", "tool"]))],
        vec![
            ("content", text()),
            ("thinking", text()),
            ("images", none()),
            ("tool_calls", list_of(call, 0, TOOLS)),
            ("tool_call_id", text()),
            ("tool_name", text()),
            ("name", text()),
        ],
    )
}

fn tool() -> Form {
    let function = request(
        vec![("name", text_of(1, 64))],
        vec![("description", text()), ("parameters", any_object()), ("strict", anything())],
    );
    request(vec![("function", function)], vec![("type", words(&["function"]))])
}

fn embed(field: &'static str) -> Form {
    let one = some_text;
    let input = if field == "input" { either([one(), list_of(one(), 1, 2048)]) } else { one() };
    called(vec![(field, input)], || {
        vec![
            ("truncate", flag()),
            ("dimensions", whole(0, 65_536)),
            ("keep_alive", keep_alive()),
            ("options", named("OllamaOptions")),
        ]
    })
}

fn pull() -> Form {
    called(vec![], || {
        vec![("stream", flag()), ("insecure", values(&[json!(false)])), ("username", no()), ("password", no())]
    })
}

fn create() -> Form {
    let blank = || values(&[json!(""), json!([]), json!({})]);
    let refused =
        ["files", "adapters", "quantize", "quantization", "template", "license", "messages", "modelfile", "path"];
    called(vec![("from", model_name())], || {
        let own = [("system", text()), ("parameters", named("OllamaOptions")), ("stream", flag())].into_iter();
        own.chain(refused.map(|field| (field, blank()))).collect()
    })
}

fn models(name: &str) -> Form {
    answer(vec![("models", list(named(name)))])
}

fn capabilities() -> Form {
    list(words(&["completion", "embedding", "tools", "thinking"]))
}

fn card() -> Fields {
    vec![
        ("name", text()),
        ("model", text()),
        ("modified_at", time()),
        ("size", at_least(0)),
        ("digest", text()),
        ("details", named("OllamaModelDetails")),
        ("capabilities", capabilities()),
    ]
}

fn loaded() -> Form {
    let mut fields = card();
    fields.extend([("size_vram", at_least(0)), ("expires_at", time()), ("context_length", at_least(0))]);
    answer(fields)
}

fn details() -> Form {
    answer(vec![
        ("parent_model", text()),
        ("format", words(&["gguf"])),
        ("family", text()),
        ("families", list(text())),
        ("parameter_size", text()),
        ("quantization_level", text()),
        ("context_length", at_least(0)),
        ("embedding_length", at_least(0)),
    ])
}

fn detail() -> Form {
    answer(vec![
        ("license", text()),
        ("modelfile", text()),
        ("parameters", text()),
        ("template", text()),
        ("system", text()),
        ("details", named("OllamaModelDetails")),
        ("model_info", any_object()),
        ("capabilities", capabilities()),
        ("modified_at", time()),
    ])
}

/// What stands beside the text of an answer.
fn part() -> Fields {
    let function = answer(vec![("index", at_least(0)), ("name", text()), ("arguments", any_object())]);
    let call = answer(vec![("id", text()), ("function", function)]);
    vec![("thinking", text()), ("tool_calls", list(call))]
}

/// A whole answer; durations are in nanoseconds, and missing where nothing was asked.
fn answered(said: (&'static str, Form), beside: Fields) -> Form {
    let mut at_times = beside;
    at_times.push(("logprobs", list(named("OllamaTokenScore"))));
    for figure in
        ["total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"]
    {
        at_times.push((figure, at_least(0)));
    }
    let present = vec![
        ("model", text()),
        ("created_at", time()),
        ("done", flag()),
        ("done_reason", words(&["stop", "length", "load", "unload"])),
        said,
    ];
    answer_with(present, at_times)
}

fn chat_answer() -> Form {
    let message = answer_with(vec![("role", words(&["assistant"])), ("content", text())], part());
    answered(("message", message), vec![])
}

fn score() -> Form {
    let one = || vec![("token", text()), ("bytes", list(whole(0, 255))), ("logprob", real())];
    answer_with(one(), vec![("top_logprobs", list(answer(one())))])
}
