//! What is ours: health, status, measurements, the head of the audit log, and this description.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{Form, answer, any_object, anything, at_least, integer, list, named, nullable, text, words};

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::get("/health", "Whether a question would be answered now; needs no identity.")
            .answers(answer(vec![("status", words(&["ok"]))])),
        Described::get("/outpost/status", "What this device serves, and under which policy.")
            .answers(named("DeviceStatus")),
        Described::get("/metrics", "What was measured, in the text format of Prometheus.").says(),
        Described::get("/outpost/audit/checkpoint", "The newest signed head of the audit log.").says(),
        Described::get("/openapi.json", "This description.").answers(any_object()),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components.schema("DeviceStatus", status())
}

fn status() -> Form {
    let access = answer(vec![
        ("locks", nullable(any_object())),
        ("break_glass", nullable(any_object())),
        ("tls_problem", nullable(text())),
    ]);
    answer(vec![
        ("device", text()),
        ("health", words(&["ready", "loading", "unavailable"])),
        ("because", nullable(text())),
        ("models", list(text())),
        ("generating", at_least(0)),
        ("waiting", at_least(0)),
        ("policy_version", at_least(0)),
        ("policy_age_s", integer()),
        ("offline_s", integer()),
        ("now_s", integer()),
        ("audit_records", at_least(0)),
        ("access", access),
        ("agent", anything()),
    ])
}
