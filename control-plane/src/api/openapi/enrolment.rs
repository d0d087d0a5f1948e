//! Who may enrol, and how devices come in and renew their certificates.

use utoipa::openapi::ComponentsBuilder;

use super::operation::Described;
use super::schema::{
    answer, answer_with, device, digest, fingerprint, list, named, nullable, request, text, time_s, whole,
};

pub(super) fn operations() -> Vec<Described> {
    let refused = |described: Described| {
        let statuses = [202, 400, 403, 409, 410, 429];
        let means = "No certificate, or not yet; `code` says which, the message what to do.";
        statuses.into_iter().fold(described, |described, status| described.also(status, means, named("EnrolRefusal")))
    };
    let malformed = |described: Described| {
        let means = "The body cannot be read.";
        [413, 415, 422]
            .into_iter()
            .fold(described, |described, status| described.also(status, means, named("EnrolRefusal")))
    };
    vec![
        Described::post("/v1/codes", "create_code", "A one-time code for one device; shown this once.")
            .takes("WantedCode")
            .answers(named("Code")),
        Described::get("/v1/enrolment/codes", "list_codes", "Codes that nobody has used.").pages(digest(), "OpenCode"),
        Described::post("/v1/enrolment/codes", "create_codes", "Codes for a list of devices, all or none.")
            .takes("CodeList")
            .answers(answer(vec![("entries", list(named("DeviceCode"))), ("valid_s", whole())])),
        Described::delete("/v1/enrolment/codes/{id}", "withdraw_code", "Takes a code back that nobody has used.")
            .answers(answer(vec![("withdrawn", super::schema::flag())])),
        Described::get("/v1/enrolment/keys", "list_keys", "Keys that may enrol without a code.")
            .pages(digest(), "AllowedKey"),
        Described::post("/v1/enrolment/keys", "allow_keys", "Allows a list of keys, each as one device; all or none.")
            .takes("KeyList")
            .answers(answer(vec![(
                "entries",
                list(answer(vec![("device", device()), ("fingerprint", fingerprint())])),
            )])),
        Described::delete("/v1/enrolment/keys/{fingerprint}", "forbid_key", "Allows a key no longer.")
            .answers(answer(vec![("forbidden", fingerprint()), ("device", device())])),
        Described::get("/v1/enrolment/requests", "list_requests", "Devices that ask to be let in.")
            .pages(digest(), "EnrolmentRequest"),
        Described::post(
            "/v1/enrolment/requests/{fingerprint}/accept",
            "accept_request",
            "Lets a device in under a name.",
        )
        .takes("Accepted")
        .answers(answer(vec![("accepted", fingerprint()), ("device", device())])),
        Described::post("/v1/enrolment/requests/{fingerprint}/reject", "reject_request", "Says no to a device.")
            .answers(answer(vec![("rejected", fingerprint())])),
        malformed(refused(
            Described::post("/v1/enrol", "enrol", "A device asks for its identity, with a code or a key.")
                .for_strangers()
                .takes("EnrolRequest")
                .answers(named("Identity")),
        )),
        Described::get("/v1/self", "own_device", "What the control plane knows of the device that asks.")
            .for_devices()
            .answers(named("DeviceSummary")),
        not_renewed(
            Described::post("/v1/self/renew", "renew", "A certificate for a new key, by the old certificate.")
                .for_devices()
                .takes("RenewRequest"),
        ),
        Described::get(
            "/v1/renew/nonce",
            "renewal_nonce",
            "A number to sign, for a device whose certificate has expired.",
        )
        .for_strangers()
        .answers(answer(vec![("nonce", text())])),
        not_renewed(
            Described::post("/v1/renew", "renew_late", "A certificate for a new key, by a signature of the old one.")
                .for_strangers()
                .takes("LateRenewRequest"),
        ),
    ]
}

/// Answers a certificate, or refuses in the form that devices read.
fn not_renewed(described: Described) -> Described {
    let described = described.answers(answer(vec![("certificate", text())]));
    let refused = |described: Described, status| described.also(status, "No certificate.", either_error());
    [400, 403, 429].into_iter().fold(described, refused)
}

/// A refusal of this server, or of a renewal in the form that devices read.
fn either_error() -> super::schema::Form {
    super::schema::either([named("Error"), named("EnrolRefusal")])
}

pub(super) fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    components
        .schema("WantedCode", request(vec![("device", device())], vec![("valid_s", nullable(whole()))]))
        .schema("Code", answer(vec![("device", device()), ("code", text()), ("valid_s", whole())]))
        .schema("DeviceCode", answer(vec![("device", device()), ("code", text())]))
        .schema("CodeList", request(vec![("list", text())], vec![("valid_s", whole())]))
        .schema("KeyList", request(vec![("list", text())], vec![]))
        .schema("Accepted", request(vec![("device", device())], vec![]))
        .schema(
            "OpenCode",
            answer(vec![("id", digest()), ("device", text()), ("created_s", time_s()), ("expires_s", time_s())]),
        )
        .schema(
            "AllowedKey",
            answer(vec![
                ("fingerprint", fingerprint()),
                ("device", text()),
                ("created_s", time_s()),
                ("used_s", nullable(time_s())),
            ]),
        )
        .schema(
            "EnrolmentRequest",
            answer(vec![
                ("fingerprint", fingerprint()),
                ("wished_name", text()),
                ("address", text()),
                ("agent", text()),
                ("first_s", time_s()),
                ("seen_s", time_s()),
                ("rejected_s", nullable(time_s())),
            ]),
        )
        .schema(
            "EnrolRequest",
            request(
                vec![("code", text()), ("certificate_request", text()), ("audit_key", text()), ("agent", text())],
                vec![("wished_name", text())],
            ),
        )
        .schema(
            "Identity",
            answer_with(
                vec![
                    ("device", device()),
                    ("tenant", text()),
                    ("certificate", text()),
                    ("authority", text()),
                    ("trusted_root", text()),
                    ("director_keys", list(text())),
                    ("broker", text()),
                ],
                vec![("audit_witness", text()), ("audit_mirror", text())],
            ),
        )
        .schema("EnrolRefusal", answer(vec![("code", text()), ("message", text())]))
        .schema("RenewRequest", request(vec![("certificate_request", text())], vec![]))
        .schema(
            "LateRenewRequest",
            request(
                vec![
                    ("certificate_request", text()),
                    ("certificate", text()),
                    ("nonce", text()),
                    ("signature", text()),
                ],
                vec![],
            ),
        )
}
