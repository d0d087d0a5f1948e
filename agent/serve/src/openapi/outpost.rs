//! What is ours: health, status, measurements, the head of the audit log, signed documents, and this description.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{
    Form, answer, any_object, anything, at_least, either, flag, integer, list, list_of, named, nullable, request, text,
    text_like, text_of, words,
};

pub(super) fn operations() -> Vec<Described> {
    vec![
        Described::get("/health", "Whether a question would be answered now; needs no identity.")
            .answers(answer(vec![("status", words(&["ok"]))])),
        Described::get("/outpost/status", "What this device serves, and under which policy.")
            .answers(named("DeviceStatus")),
        Described::get("/metrics", "What was measured, in the text format of Prometheus.").says(),
        Described::get("/outpost/audit/checkpoint", "The newest signed head of the audit log.").says(),
        Described::get("/outpost/audit/content/{id}", "What was sealed with one record.").answers(answer(vec![
            ("record", at_least(0)),
            ("asked", anything()),
            ("answered", anything()),
        ])),
        Described::post("/outpost/audit/erase", "Destroys the sealed content of one subject.")
            .takes("Erasure")
            .answers(answer(vec![
                ("record", at_least(0)),
                ("keys", at_least(0)),
                ("ciphertexts", at_least(0)),
                ("bytes", at_least(0)),
                ("journal_truncated", flag()),
            ])),
        Described::post(
            "/outpost/audit/prune",
            "Destroys sealed content that is past its time, or says what that would be.",
        )
        .takes("Prune")
        .answers(answer(vec![
            ("months", list(text())),
            ("keys", at_least(0)),
            ("ciphertexts", at_least(0)),
            ("bytes", at_least(0)),
            ("record", nullable(at_least(0))),
        ])),
        Described::get("/openapi.json", "This description.").answers(any_object()),
        Described::post("/outpost/locks", "Puts a newer, sealed list of locks in force.")
            .takes("SealedDocument")
            .may(&[409])
            .answers(any_object()),
        Described::post("/outpost/break-glass", "Opens a sealed override.")
            .takes("SealedDocument")
            .may(&[409])
            .answers(any_object()),
        Described::post("/outpost/break-glass/close", "Closes the override that is open.")
            .may(&[409])
            .answers(any_object()),
        Described::post(
            "/outpost/policy",
            "Puts a policy bundle in force: sealed, or as it is where none need approve it.",
        )
        .takes("PolicyDocument")
        .may(&[409])
        .answers(any_object()),
        Described::post("/outpost/policy/rollback", "Goes back to the policy bundle that was in force before.")
            .may(&[409])
            .answers(any_object()),
        Described::post("/outpost/bundle/import", "Takes in a stick that is in this machine.")
            .takes("BundleImport")
            .may(&[409])
            .answers(any_object()),
        Described::post("/outpost/bundle/export", "Writes onto a stick what the control plane lacks of this device.")
            .takes("BundleExport")
            .may(&[409])
            .answers(any_object()),
        Described::post("/outpost/update", "Tries another build of the agent, which lies on this machine.")
            .takes("Update")
            .may(&[409])
            .answers(any_object()),
        Described::post(
            "/outpost/link/dead-letters/clear",
            "Forgets the messages to the control plane that were given up.",
        )
        .may(&[409])
        .answers(answer(vec![("cleared", at_least(0))])),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("DeviceStatus", status())
        .schema("SealedDocument", sealed())
        .schema("Erasure", erasure())
        .schema("Prune", request(vec![], vec![("dry_run", nullable(flag()))]))
        .schema("BundleImport", request(vec![("directory", text_like("^/"))], vec![]))
        .schema("BundleExport", request(vec![("directory", text_like("^/"))], vec![("from", nullable(at_least(0)))]))
        .schema("Update", request(vec![("file", text_like("^/"))], vec![("again", nullable(flag()))]))
        .schema("PolicyDocument", either([sealed(), bundle()]))
}

/// Whose content, by pseudonym, and on what basis.
fn erasure() -> Form {
    let pseudonym = || text_like("^p:[0-9a-f]{32}$");
    request(vec![("subject", pseudonym()), ("basis", text_of(1, 512))], vec![("approver", nullable(pseudonym()))])
}

/// A DSSE envelope.
fn sealed() -> Form {
    let signature = request(vec![("keyid", text()), ("sig", text())], vec![]);
    let signatures = list_of(signature, 1, 8);
    request(vec![("payload", text()), ("payloadType", text()), ("signatures", signatures)], vec![])
}

/// A policy bundle as a control plane takes it; what is in it, the agent checks.
fn bundle() -> Form {
    super::schema::open(vec![("v", at_least(1)), ("version", at_least(0))])
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
