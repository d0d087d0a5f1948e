//! People, their sessions, API tokens, and the control plane's own log.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{
    Fields, Form, answer, any_object, between, count, digest, flag, list, named, nullable, request, text, text_like,
    time_s, words,
};
use crate::people::Act;

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::get("/v1/people", "list_people", "People who administer the fleet, by name.")
            .pages(text(), "Person"),
        Described::post(
            "/v1/people",
            "add_person",
            "Enters a person; the code with which they set a password is shown once.",
        )
        .takes("NewPerson")
        .answers_with(201, named("PersonCode")),
        Described::get("/v1/people/{name}", "show_person", "One person.").answers(named("Person")),
        Described::patch("/v1/people/{name}", "change_person", "Changes roles; lets a person in no longer, or again.")
            .conditional()
            .takes("PersonChange")
            .answers(named("Person")),
        Described::delete("/v1/people/{name}", "remove_person", "Forgets a person; what they did stays on record.")
            .conditional()
            .answers(answer(vec![("removed", flag())])),
        Described::post(
            "/v1/people/{name}/code",
            "reset_person",
            "A new code to set a password with; shown this once.",
        )
        .answers_with(201, named("PersonCode")),
        Described::get("/v1/api-tokens", "list_api_tokens", "API tokens by name, without their secrets.")
            .pages(text(), "ApiToken"),
        Described::post("/v1/api-tokens", "create_api_token", "Makes an API token; its secret is shown this once.")
            .takes("NewApiToken")
            .answers_with(201, named("MadeApiToken")),
        Described::get("/v1/api-tokens/{name}", "show_api_token", "One API token.").answers(named("ApiToken")),
        Described::delete("/v1/api-tokens/{name}", "revoke_api_token", "Lets the carrier of a token in no longer.")
            .conditional()
            .answers(answer(vec![("revoked", flag())])),
        Described::get("/v1/sessions", "list_sessions", "The caller's own browsers that are signed in.")
            .pages(digest(), "Session"),
        Described::delete("/v1/sessions", "end_sessions", "Ends all sessions of the caller.")
            .answers(answer(vec![("ended", count())])),
        Described::delete("/v1/sessions/{id}", "end_session", "Ends one session of the caller.")
            .answers(answer(vec![("ended", count())])),
        Described::get(
            "/v1/own-records",
            "list_own_records",
            "The control plane's own log, oldest first; reading is recorded.",
        )
        .pages(count(), "OwnRecord"),
    ]
}

fn name() -> Form {
    text_like("^[a-z0-9._@-]{1,64}$")
}

fn roles() -> Form {
    list(text_like("^[a-z0-9-]{1,32}$"))
}

fn token() -> Fields {
    vec![
        ("name", name()),
        ("roles", list(text())),
        ("scope", list(text())),
        ("created_s", time_s()),
        ("expires_s", time_s()),
        ("revoked_s", nullable(time_s())),
        ("used_s", nullable(time_s())),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let acts: Vec<_> = Act::ALL.iter().map(|act| act.name()).collect();
    components
        .schema(
            "Person",
            answer(vec![
                ("name", text()),
                ("roles", list(text())),
                ("has_password", flag()),
                ("has_totp", flag()),
                ("created_s", time_s()),
                ("disabled_s", nullable(time_s())),
            ]),
        )
        .schema("NewPerson", request(vec![("name", name()), ("roles", roles())], vec![]))
        .schema("PersonCode", answer(vec![("name", text()), ("code", text())]))
        .schema("PersonChange", request(vec![], vec![("roles", nullable(roles())), ("disabled", nullable(flag()))]))
        .schema("ApiToken", answer(token()))
        .schema("MadeApiToken", answer([token(), vec![("token", text())]].concat()))
        .schema(
            "NewApiToken",
            request(
                vec![("name", name()), ("roles", roles())],
                vec![("scope", list(words(&acts))), ("days", between(1, 366))],
            ),
        )
        .schema(
            "Session",
            answer(vec![("id", digest()), ("address", text()), ("started_s", time_s()), ("seen_s", time_s())]),
        )
        .schema("OwnRecord", answer(vec![("index", count()), ("leaf", any_object())]))
}
