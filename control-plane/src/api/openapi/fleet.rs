//! Health, the catalogue and its bytes, tokens for the devices' APIs, and this description.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{answer, any_object, between, count, digest, list, request, text, text_like, words};

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::get("/health", "health", "Whether it runs; needs no identity.").for_strangers().answers(answer(
            vec![("status", words(&["ok"])), ("broker", words(&["connected", "unreachable"])), ("version", text())],
        )),
        Described::get("/v1/openapi.json", "describe", "This description.").answers(any_object()),
        Described::get("/v1/catalogue", "list_catalogue", "What the newest catalogue holds.").pages(text(), "Target"),
        Described::get("/v1/blobs/{blake3}", "fetch_blob", "The bytes of a file, whole or in a range.")
            .for_devices()
            .answers_as("application/octet-stream")
            .bare(206, "The range that was asked for.")
            .bare(416, "There is no such range."),
        Described::get("/v1/chunks/{blake3}", "fetch_chunk", "The bytes of a chunk, whole or in a range.")
            .for_devices()
            .answers_as("application/octet-stream")
            .bare(206, "The range that was asked for.")
            .bare(416, "There is no such range."),
        Described::post("/v1/tokens", "issue_token", "A token with which somebody asks devices; shown this once.")
            .takes("WantedToken")
            .answers(answer(vec![("token", text())])),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let roles = || list(text_like("^[a-z0-9_-]{1,32}$"));
    components
        .schema(
            "Target",
            answer(vec![("name", text()), ("length", count()), ("sha256", digest()), ("facts", any_object())]),
        )
        .schema(
            "WantedToken",
            request(vec![("subject", text()), ("roles", roles())], vec![("valid_s", between(1, 30 * 24 * 60 * 60))]),
        )
}
