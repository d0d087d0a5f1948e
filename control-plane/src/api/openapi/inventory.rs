//! The inventory: devices whole, the fleet in numbers, groups, selectors, what if.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{
    Form, answer, answer_with, any_object, between, count, device, digest, flag, list, map, named, nullable, number,
    request, text, time_s, whole, words,
};

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::get(
            "/v1/inventory",
            "list_inventory",
            "Devices by name, whole: drift, certificate, clock, machine.",
        )
        .query("where", text(), "A selector, as in `memory > 4G and not online`.")
        .may(&[404])
        .pages(device(), "DeviceView"),
        Described::get("/v1/inventory/{device}", "show_inventory", "One device, whole.").answers(named("DeviceView")),
        Described::get("/v1/overview", "overview", "The fleet in numbers.").answers(named("Overview")),
        Described::get("/v1/groups", "list_groups", "Groups by name.").pages(text(), "Group"),
        Described::post("/v1/groups", "keep_group", "Makes a group, or puts it in the place of the one of its name.")
            .takes("WantedGroup")
            .may(&[404])
            .answers(named("Group")),
        Described::get("/v1/groups/{group}", "show_group", "One group.").answers(named("Group")),
        Described::put("/v1/groups/{group}", "put_group", "Makes the group of this name, or replaces it.")
            .conditional()
            .takes("WantedGroup")
            .answers(named("Group")),
        Described::delete("/v1/groups/{group}", "remove_group", "Forgets a group that no other one is defined by.")
            .conditional()
            .answers(answer(vec![("removed", flag())])),
        Described::get("/v1/selectors/preview", "preview_selector", "Whom a selector means, while it is written.")
            .needs_query("where", text(), "The selector.")
            .may(&[404])
            .answers(answer(vec![
                ("selector", text()),
                ("count", count()),
                ("of", count()),
                ("first", list(device())),
            ])),
        Described::post("/v1/what-if", "what_if", "Which devices hold a model, as their own measurements say.")
            .takes("Question")
            .may(&[404, 409])
            .answers(named("WhatIf")),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let cause = answer(vec![("code", text()), ("subject", text()), ("detail", text())]);
    let bucket = answer(vec![("below", nullable(whole())), ("devices", count())]);
    let site = answer(vec![("site", text()), ("devices", count()), ("online", count()), ("drifting", count())]);
    let counts = || map(count());
    components
        .schema("Cause", cause)
        .schema("Bucket", bucket)
        .schema("SiteCount", site)
        .schema("DeviceView", view())
        .schema(
            "Overview",
            answer(vec![
                ("devices", count()),
                ("revoked", count()),
                ("online", count()),
                ("drifting", count()),
                ("states", counts()),
                ("models", counts()),
                ("variants", counts()),
                ("agents", counts()),
                ("reasons", counts()),
                ("speeds", list(named("Bucket"))),
                ("never_measured", count()),
                ("certificates", list(named("Bucket"))),
                ("renewal_overdue", count()),
                ("sites", list(named("SiteCount"))),
                ("other_sites", count()),
                ("dead_letters", count()),
                ("is_linked", flag()),
            ]),
        )
        .schema(
            "WantedGroup",
            request(
                vec![("name", device())],
                vec![("description", text()), ("selector", nullable(text())), ("members", list(device()))],
            ),
        )
        .schema(
            "Group",
            answer_with(
                vec![("name", text()), ("description", text())],
                vec![("selector", text()), ("members", list(device()))],
            ),
        )
        .schema(
            "Question",
            request(
                vec![("model", text())],
                vec![
                    ("context_tokens", between(0, u32::MAX)),
                    ("tokens_per_second", number(0.0)),
                    ("where", nullable(text())),
                    ("limit", count()),
                ],
            ),
        )
        .schema(
            "Possible",
            answer(vec![
                ("device", device()),
                ("target", nullable(text())),
                ("context_tokens", count()),
                ("tokens_per_second_milli", count()),
                ("lack", nullable(any_object())),
                ("because", text()),
            ]),
        )
        .schema(
            "WhatIf",
            answer(vec![
                ("model", text()),
                ("of", count()),
                ("hold", count()),
                ("summary", text()),
                ("variants", counts()),
                ("devices", list(named("Possible"))),
            ]),
        )
}

fn view() -> Form {
    let states = ["unknown", "good", "renewal-due", "renewal-overdue", "expired"];
    let certificate =
        answer(vec![("state", words(&states)), ("not_after_s", nullable(time_s())), ("days_left", nullable(whole()))]);
    let runs = answer(vec![
        ("model", text()),
        ("target", text()),
        ("context_tokens", count()),
        ("tokens_per_second_milli", count()),
    ]);
    let machine = answer(vec![
        ("measured_at_s", time_s()),
        ("cpu", text()),
        ("cores", count()),
        ("memory_bytes", count()),
        ("available_bytes", count()),
        ("disk_bytes", count()),
        ("memory_bytes_per_second", count()),
    ]);
    let given_up = answer(vec![("version", text()), ("sha256", digest()), ("reason", text())]);
    let build = answer_with(
        vec![("version", text()), ("target", text()), ("source", words(&["packaged", "slot"])), ("trial", flag())],
        vec![("sha256", digest()), ("rolled_back", given_up)],
    );
    answer(vec![
        ("device", device()),
        ("site", nullable(text())),
        ("labels", map(text())),
        ("groups", list(text())),
        ("enrolled_s", time_s()),
        ("agent", text()),
        ("online", flag()),
        ("seen_s", nullable(time_s())),
        ("stick_s", nullable(time_s())),
        ("assignment", nullable(named("Given"))),
        ("desired_version", count()),
        ("applied_version", count()),
        ("policy_version", count()),
        ("runs", nullable(runs)),
        ("build", nullable(build)),
        ("drift", answer_with(vec![("state", text())], vec![("reasons", list(named("Cause")))])),
        ("words", text()),
        ("reasons", list(named("Cause"))),
        ("last_error", nullable(text())),
        ("next_retry", nullable(text())),
        ("transfer", nullable(text())),
        ("certificate", certificate),
        ("clock", answer_with(vec![("state", words(&["not-known", "fast"]))], vec![("by_s", whole())])),
        ("machine", nullable(machine)),
        ("plan", list(text())),
        ("backlog", count()),
        ("dead_letters", count()),
        ("answered", count()),
        ("refused", count()),
        ("audit_records", count()),
        ("audit_key", text()),
    ])
}
