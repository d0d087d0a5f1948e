//! What clients of Foundry Local send and read.

use serde_json::json;
use utoipa::openapi::ComponentsBuilder;

use super::openai::{harmless, model_name};
use super::operation::Described;
use super::schema::{Form, answer, at_least, count, flag, list, list_of, named, request, text, values, words};
use crate::api::ceilings::MESSAGES;

pub(super) fn operations() -> Vec<Described> {
    let names = || list(text());
    let state = |words_of_state: &[&str]| answer(vec![("status", words(words_of_state))]);
    let load = |path| {
        Described::post(path, "Loads a model.")
            .acts()
            .may(&[429])
            .query("ttl", count(0), "Seconds that it stays after it was last asked.")
            .answers(state(&["loaded", "already_loaded"]))
    };
    let unload =
        |path| Described::post(path, "Takes a model out of memory.").acts().answers(state(&["unloaded", "not_loaded"]));
    vec![
        Described::get("/status", "That the service runs; paths of the device are not told.").answers(answer(vec![
            ("modelCachePath", text()),
            ("endpoints", list(text())),
            ("pid", at_least(0)),
        ])),
        Described::get("/openai/status", "The same, for older clients.").answers(answer(vec![
            ("Endpoints", list(text())),
            ("ModelDirPath", text()),
            ("PipeName", text()),
        ])),
        Described::get("/models/loaded", "The models in memory.").answers(names()),
        Described::get("/openai/loadedmodels", "The models in memory, for older clients.").answers(names()),
        Described::get("/openai/models", "The names of the models that can be asked.").answers(names()),
        Described::get("/foundry/list", "The models that can be asked.").answers(named("FoundryCatalogue")),
        Described::get("/openai/getgpudevice", "Which GPU is used: none.").answers(values(&[json!(-1)])),
        load("/models/load/{id}"),
        load("/openai/load/{id}"),
        unload("/models/unload/{id}"),
        unload("/openai/unload/{id}"),
        Described::post("/openai/unloadall", "Takes every model out of memory.").acts().answers(state(&["unloaded"])),
        Described::post(
            "/openai/download",
            "Fetches a model: lines of progress, then an object that says how it went.",
        )
        .takes("FoundryDownload")
        .acts()
        .says(),
        Described::post("/openai/register", "Always refused: no other server's models are registered here.").never(),
        Described::post("/openai/setgpudevice/{id}", "Always refused: there is no GPU to choose.").never(),
        Described::post("/shutdown", "Always refused: the agent is not stopped over its API.").never(),
        Described::post("/v1/chat/completions/tokenizer/encode/count", "Counts the tokens of a conversation.")
            .takes("TokenCountRequest")
            .asks()
            .answers(answer(vec![("tokenCount", count(0))])),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("FoundryCatalogue", catalogue())
        .schema("FoundryDownload", download())
        .schema("TokenCountRequest", token_count())
}

fn catalogue() -> Form {
    let runtime = answer(vec![("deviceType", words(&["CPU"])), ("executionProvider", words(&["CPU"]))]);
    let model = answer(vec![
        ("name", text()),
        ("displayName", text()),
        ("alias", text()),
        ("version", text()),
        ("modelType", words(&["GGUF"])),
        ("task", words(&["chat-completion", "embeddings"])),
        ("runtime", runtime),
        ("fileSizeMb", at_least(0)),
        ("license", text()),
        ("supportsToolCalling", flag()),
        ("parentModelUri", text()),
    ]);
    answer(vec![("models", list(model))])
}

/// A model by its name, or by its `Uri` where it has no name; what else clients know of it is passed over.
fn download() -> Form {
    let model = super::schema::open(vec![("Name", text()), ("name", text()), ("Uri", text()), ("uri", text())]);
    let mut optional = harmless(&["ignorePipeReport", "IgnorePipeReport", "bufferSize", "customDirPath"]);
    optional.push(("token", words(&[""])));
    request(vec![("model", model)], optional)
}

fn token_count() -> Form {
    request(vec![("model", model_name()), ("messages", list_of(named("ChatMessage"), 1, MESSAGES))], vec![])
}
