//! Devices: what they report, what they should run, what they are told to do.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{
    Form, answer, answer_with, any_object, anything, between, command_id, count, device, either, flag, map, named,
    nullable, request, text, text_like, time_s, whole, words,
};

const SELECTOR: &str = "A selector, as in `site = store-12 and not online`.";

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::get("/v1/devices", "list_devices", "Devices by name, with what they reported.")
            .query("where", text(), SELECTOR)
            .may(&[404])
            .pages(device(), "DeviceSummary"),
        Described::get("/v1/devices/{device}", "show_device", "One device, with what it reported.")
            .answers(named("DeviceSummary")),
        Described::get("/v1/devices/{device}/assignment", "show_assignment", "What a device should run.")
            .answers(named("Assigned")),
        Described::put("/v1/devices/{device}/assignment", "assign", "Says what a device should run, and signs it.")
            .conditional()
            .takes("Assignment")
            .may(&[409])
            .answers(named("Assigned")),
        Described::post("/v1/devices/{device}/revoke", "revoke_device", "Lets a device in no longer.")
            .answers(answer(vec![("revoked", flag())])),
        Described::get("/v1/devices/{device}/site", "show_site", "Where a device is.").answers(named("AtSite")),
        Described::put("/v1/devices/{device}/site", "set_site", "Says where a device is; null is nowhere.")
            .conditional()
            .takes("Site")
            .answers(named("AtSite")),
        Described::get("/v1/devices/{device}/labels", "show_labels", "The labels of a device.").answers(map(text())),
        Described::patch("/v1/devices/{device}/labels", "set_labels", "Sets labels, and removes those that are null.")
            .conditional()
            .takes("LabelChange")
            .answers(map(text())),
        Described::get("/v1/devices/{device}/commands", "list_commands", "Commands to a device, newest first.")
            .pages(command_id(), "CommandRecord"),
        Described::post("/v1/devices/{device}/commands", "command_device", "Tells a device to do something, once.")
            .takes("Wish")
            .answers_with(202, answer(vec![("id", command_id())])),
        Described::get("/v1/devices/{device}/commands/{id}", "show_command", "One command, with its newest answer.")
            .answers(named("CommandRecord")),
        Described::get(
            "/v1/devices/{device}/events",
            "list_events",
            "What happened on a device, newest first; one page.",
        )
        .answers(super::schema::page(named("DeviceEvent"))),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let state = || words(&["accepted", "progress", "done", "failed", "refused", "expired"]);
    components
        .schema(
            "Assignment",
            request(vec![("minimum_context_tokens", between(0, u32::MAX))], vec![("model", nullable(text()))]),
        )
        .schema("Given", answer(vec![("model", nullable(text())), ("minimum_context_tokens", count())]))
        .schema("Assigned", answer(vec![("assignment", nullable(named("Given"))), ("desired_version", count())]))
        .schema("Site", request(vec![("site", nullable(device()))], vec![]))
        .schema("AtSite", answer(vec![("device", device()), ("site", nullable(text()))]))
        .schema("LabelChange", map(nullable(text_like("^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))))
        .schema("Wish", request(vec![("op", operation())], vec![("valid_s", whole())]))
        .schema(
            "DeviceSummary",
            answer_with(
                vec![
                    ("device", device()),
                    ("enrolled_s", time_s()),
                    ("revoked_s", nullable(time_s())),
                    ("agent", text()),
                    ("online", flag()),
                    ("seen_s", nullable(time_s())),
                    ("desired_version", count()),
                    ("assignment", nullable(named("Given"))),
                    ("reported", nullable(any_object())),
                    ("audit_key", text()),
                    ("site", nullable(text())),
                ],
                vec![("stick_s", nullable(time_s()))],
            ),
        )
        .schema(
            "CommandRecord",
            answer(vec![
                ("id", command_id()),
                ("device", device()),
                ("op", anything()),
                ("asked_by", text()),
                ("issued_s", time_s()),
                ("not_after_s", time_s()),
                ("state", nullable(state())),
                ("answered_s", nullable(time_s())),
                (
                    "answer",
                    nullable(answer_with(vec![("state", state())], vec![("text", text()), ("value", anything())])),
                ),
            ]),
        )
        .schema(
            "DeviceEvent",
            answer(vec![("at_s", time_s()), ("received_s", time_s()), ("kind", text()), ("text", text())]),
        )
}

/// What a device can be asked to do: a word, or an object with one key.
fn operation() -> Form {
    let drain = request(vec![("seconds", between(0, u32::MAX))], vec![]);
    let erase = request(vec![("subject", text_like("^p:[0-9a-f]{32}$")), ("basis", text())], vec![]);
    either([
        words(&["status", "restart", "collect_diagnostics", "rescan", "probe"]),
        request(vec![("drain", drain)], vec![]),
        request(vec![("erase", erase)], vec![]),
    ])
}
