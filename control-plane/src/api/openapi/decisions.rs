//! Rollouts, policies and models: what is decided for the fleet, and by whom.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{any_object, anything, between, count, flag, list, nullable, request, text, time_s};

pub(super) fn operations() -> Vec<Described> {
    [rollouts(), policies(), models()].into_iter().flatten().collect()
}

fn rollouts() -> Vec<Described> {
    let act = |path, id, summary| Described::post(path, id, summary).may(&[409]).answers(any_object());
    vec![
        Described::get("/v1/rollouts", "list_rollouts", "Rollouts by name.").pages_objects(text()),
        Described::post(
            "/v1/rollouts",
            "start_rollout",
            "Starts a rollout: waves, gates, windows, what a failure does.",
        )
        .takes("RolloutRequest")
        .may(&[404, 409])
        .answers(any_object()),
        Described::get("/v1/rollouts/{rollout}", "show_rollout", "One rollout, with its waves.").answers(any_object()),
        Described::get(
            "/v1/rollouts/{rollout}/devices",
            "list_rollout_devices",
            "Devices of a rollout by name, and how each stands.",
        )
        .query("status", text(), "Only those that stand so.")
        .pages_objects(super::schema::device()),
        act("/v1/rollouts/{rollout}/approve", "approve_rollout", "Agrees to a wave that somebody else started.")
            .takes_at_will("RolloutApproval"),
        act("/v1/rollouts/{rollout}/pause", "pause_rollout", "Orders no more devices for now."),
        act("/v1/rollouts/{rollout}/resume", "resume_rollout", "Goes on."),
        act("/v1/rollouts/{rollout}/retry", "retry_rollout", "Orders the devices that failed once more."),
        act(
            "/v1/rollouts/{rollout}/abort",
            "abort_rollout",
            "Ends it, and gives back what devices had unless told otherwise.",
        )
        .takes_at_will("RolloutEnd"),
    ]
}

fn policies() -> Vec<Described> {
    vec![
        Described::get("/v1/policies", "show_policies", "The bundle in force, and the drafts.").answers(any_object()),
        Described::get("/v1/policies/{name}", "show_policy", "One draft, with what lint and cases say.")
            .answers(any_object()),
        Described::put("/v1/policies/{name}", "save_policy", "Keeps a draft.")
            .takes("PolicyFiles")
            .may(&[409])
            .answers(any_object()),
        Described::delete("/v1/policies/{name}", "drop_policy", "Forgets a draft.")
            .may(&[409])
            .answers(super::schema::answer(vec![("dropped", flag())])),
        Described::get("/v1/policies/{name}/diff", "diff_policy", "How a draft differs from what is in force.")
            .may(&[409])
            .answers(any_object()),
        Described::post("/v1/policies/{name}/simulate", "simulate_policy", "What recorded decisions would have been.")
            .takes("Reach")
            .may(&[409])
            .answers(any_object()),
        Described::post(
            "/v1/policies/{name}/approve",
            "approve_policy",
            "Agrees to exactly this draft of somebody else.",
        )
        .takes("PolicyApproval")
        .may(&[409])
        .answers(any_object()),
    ]
}

fn models() -> Vec<Described> {
    let bom = "application/vnd.cyclonedx+json; version=1.6";
    vec![
        Described::get("/v1/approvals/models", "list_model_approvals", "Approvals of models, oldest first.")
            .pages_objects(text()),
        Described::delete("/v1/approvals/models/{id}", "revoke_model_approval", "Takes an approval back.")
            .answers(super::schema::answer(vec![("revoked", flag())])),
        Described::get("/v1/models/{model}/approvals", "list_approvals_of_model", "Approvals of one model.")
            .pages_objects(text()),
        Described::post(
            "/v1/models/{model}/approvals",
            "approve_model",
            "Approves a model until a time, for some devices or all.",
        )
        .takes("ModelApprovalRequest")
        .may(&[409])
        .answers(any_object()),
        Described::post("/v1/models/{model}/withdraw", "withdraw_model", "Stops a model everywhere, by a deadline.")
            .takes("WithdrawalRequest")
            .may(&[409])
            .answers(any_object()),
        Described::post("/v1/models/{model}/restore", "restore_model", "Lets a model that was withdrawn serve again.")
            .may(&[409])
            .answers(super::schema::answer(vec![("restored", flag())])),
        Described::get("/v1/withdrawals", "list_withdrawals", "Models that were withdrawn.").pages_objects(text()),
        Described::get(
            "/v1/catalogue/models",
            "list_catalogue_models",
            "Variants in the catalogue that a filter lets through.",
        )
        .query("where", text(), "A filter, as in `model = alpha and bits < 5`.")
        .may(&[409])
        .pages_objects(text()),
        Described::get("/v1/catalogue/compare", "compare_models", "Variants side by side.")
            .needs_query("a", text(), "One variant.")
            .needs_query("b", text(), "Another.")
            .query("c", text(), "A third.")
            .may(&[404, 409])
            .answers(any_object()),
        Described::get("/v1/bom", "bom", "The fleet's bill of materials, CycloneDX.").may(&[409]).answers_as(bom),
        Described::get("/v1/devices/{device}/bom", "device_bom", "A device's bill of materials, CycloneDX.")
            .may(&[409])
            .answers_as(bom),
    ]
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let share = || between(0, 100);
    components
        .schema(
            "RolloutRequest",
            request(
                vec![("name", super::schema::device())],
                vec![
                    ("for", text()),
                    ("model", nullable(text())),
                    ("minimum_context_tokens", count()),
                    ("policy", nullable(text())),
                    ("build", nullable(text())),
                    ("waves", list(any_object())),
                    ("success_percent", share()),
                    ("error_percent", share()),
                    ("soak_s", between(0, u32::MAX)),
                    ("deadline_s", between(0, u32::MAX)),
                    ("on_failure", anything()),
                    ("gates", any_object()),
                    ("windows", list(any_object())),
                ],
            ),
        )
        .schema("RolloutApproval", request(vec![], vec![("wave", nullable(count()))]))
        .schema("RolloutEnd", request(vec![], vec![("roll_back", flag())]))
        .schema(
            "PolicyFiles",
            request(
                vec![],
                vec![
                    ("files", nullable(any_object())),
                    ("bundle", nullable(any_object())),
                    ("revision", nullable(count())),
                ],
            ),
        )
        .schema("PolicyApproval", request(vec![("digest", text())], vec![]))
        .schema(
            "Reach",
            request(vec![], vec![("days", between(1, 90)), ("records", count()), ("where", nullable(text()))]),
        )
        .schema(
            "ModelApprovalRequest",
            request(vec![("until_s", time_s())], vec![("where", nullable(text())), ("note", text())]),
        )
        .schema(
            "WithdrawalRequest",
            request(vec![("reason", text())], vec![("deadline_s", count()), ("target", nullable(text()))]),
        )
}
