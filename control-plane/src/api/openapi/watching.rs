//! Events, webhooks, the devices' audit logs, and the fleet as one file.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{answer, any_object, between, count, device, flag, list, nullable, request, text, whole, words};

const TOML: &str = "application/toml";

pub(super) fn operations() -> Vec<Described> {
    [events(), audit(), file()].into_iter().flatten().collect()
}

fn events() -> Vec<Described> {
    vec![
        Described::get("/v1/events", "events", "What happened in the fleet, in order.")
            .query("after", count(), "The `next` of the page before.")
            .query("limit", between(1, u32::MAX), "Entries at most; 100 if not said.")
            .query("kind", text(), "Only of this kind or area, as in `device.lost` or `device`.")
            .answers(answer(vec![
                ("events", list(any_object())),
                ("next", whole()),
                ("oldest", whole()),
                ("gap", flag()),
            ])),
        Described::get("/v1/webhooks", "list_webhooks", "Who is sent events.").pages_objects(text()),
        Described::post("/v1/webhooks", "add_webhook", "Sends events to an address; the secret is shown this once.")
            .takes("NewWebhook")
            .answers_with(201, answer(vec![("name", text()), ("secret", text())])),
        Described::delete("/v1/webhooks/{name}", "remove_webhook", "Sends no more events there.")
            .answers(answer(vec![("removed", flag())])),
        Described::post("/v1/webhooks/{name}/test", "test_webhook", "Sends an event that says so.")
            .answers(any_object()),
        Described::post("/v1/webhooks/{name}/pause", "pause_webhook", "Sends nothing there until it is tried again.")
            .answers(answer(vec![("paused", flag())])),
        Described::post("/v1/webhooks/{name}/retry", "retry_webhook", "Tries it again at once, also if it was paused.")
            .answers(answer(vec![("retried", flag())])),
        Described::get(
            "/v1/webhooks/{name}/deliveries",
            "list_webhook_deliveries",
            "What was sent, the newest first, and what was given up.",
        )
        .paged(text())
        .answers(answer(vec![
            ("entries", list(any_object())),
            ("next", nullable(text())),
            ("dead", list(any_object())),
        ])),
    ]
}

fn audit() -> Vec<Described> {
    vec![
        Described::get("/v1/audit", "list_audit_logs", "How complete the devices' logs are, by name.")
            .pages_objects(device()),
        Described::get("/v1/audit/search", "search_records", "Records of all devices; reading is recorded.")
            .query("device", device(), "Only of this device.")
            .query("who", text(), "By this pseudonym, or its beginning.")
            .query("act", text(), "What was done, or the type of the record.")
            .query("effect", words(&["allow", "deny"]), "How it was decided.")
            .query("since_ms", whole(), "Made at or after, milliseconds since 1970.")
            .query("before_ms", whole(), "Made before.")
            .query("limit", between(1, u32::MAX), "Hits of a page.")
            .query("after", text(), "The `next` of the page before; the first page comes without it.")
            .answers(answer(vec![
                ("entries", list(any_object())),
                ("next", nullable(text())),
                ("looked", count()),
                ("not_looked", list(text())),
            ]))
            .may(&[404]),
        Described::get("/v1/audit/report", "audit_report", "The fleet's report, as a page to keep.")
            .query("since_ms", whole(), "From when, milliseconds since 1970.")
            .query("before_ms", whole(), "Until when.")
            .answers_as("text/html"),
        Described::get("/v1/audit/devices/{device}", "device_logs", "How complete one device's logs are.")
            .answers(any_object()),
        Described::get(
            "/v1/audit/devices/{device}/incidents",
            "list_incidents",
            "What was found against a device's logs.",
        )
        .pages_objects(text()),
        Described::get("/v1/audit/devices/{device}/incidents/{number}", "incident", "One finding, with its evidence.")
            .answers(any_object()),
        Described::get(
            "/v1/audit/devices/{device}/incidents/{number}/{file}",
            "incident_file",
            "One file of the evidence.",
        )
        .answers_as("text/plain")
        .answers_as("application/json"),
    ]
}

fn file() -> Vec<Described> {
    let difference = || answer(vec![("applied", flag())]);
    vec![
        Described::get("/v1/fleet/export", "export_fleet", "The fleet as one file.").answers_as(TOML),
        Described::post("/v1/fleet/diff", "diff_fleet", "How the fleet differs from a file.")
            .takes_as(TOML, text())
            .query("prune", flag(), "What is not in the file goes.")
            .query("reported", flag(), "Also what devices report.")
            .query("dry_run", flag(), "Means nothing here.")
            .may(&[404, 409])
            .answers(difference()),
        Described::post("/v1/fleet/apply", "apply_fleet", "Makes the fleet as a file says: all of it or nothing.")
            .takes_as(TOML, text())
            .query("prune", flag(), "What is not in the file goes.")
            .query("dry_run", flag(), "Only says what would be done.")
            .query("reported", flag(), "Means nothing here.")
            .may(&[404, 409])
            .answers(difference()),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components.schema("NewWebhook", request(vec![("name", text()), ("url", text())], vec![("kinds", list(text()))]))
}
