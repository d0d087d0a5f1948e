//! Audit records of this crate: the one place that knows how a call becomes one.

use std::time::Instant;

use outpost_audit::{AuditError, DecisionRef, Kind, ObjectRef, Outcome, Record, Who};
use outpost_policies::{AuthMethod, Denial, Permit, PrincipalKind, Resource};

use crate::app::Serving;
use crate::error::ApiError;
use crate::handle::Call;
use crate::identify::Caller;

/// A record of what this call did.
pub(crate) fn of_call(serving: &Serving, call: &Call, kind: Kind) -> Record {
    let mut record = Record::new(kind).request(call.id.as_str()).who(who(serving, &call.caller));
    if let Some(claimed) = &call.caller.on_behalf_of {
        // Under its own name: that a service says so does not make it the person who came in person.
        let claimed = format!("{} for {claimed}", call.caller.principal.id);
        record = record.detail("on_behalf_of", serving.pseudonyms.of(&claimed));
    }
    if let Some(class) = call.label.said() {
        record = record.detail("data_class", class.word());
    }
    if let Some(age_s) = call.caller.keys_age_s {
        record = record.detail("keys_age_s", age_s);
    }
    match call.caller.credential.as_str() {
        "" => record,
        credential => record.detail("credential", credential),
    }
}

/// A caller, by pseudonym.
pub(crate) fn who(serving: &Serving, caller: &Caller) -> Who {
    let kind = match caller.principal.kind {
        PrincipalKind::User => "user",
        PrincipalKind::Service => "service",
        PrincipalKind::LocalUser => "local",
        PrincipalKind::Device => "device",
    };
    let auth = match caller.method {
        AuthMethod::Socket => "uds",
        AuthMethod::ApiKey => "key",
        AuthMethod::Token => "jwt",
        AuthMethod::Certificate => "mtls",
    };
    Who {
        kind: kind.to_owned(),
        id: serving.pseudonyms.of(&caller.principal.id),
        roles: caller.principal.roles.clone(),
        auth: auth.to_owned(),
    }
}

/// What a call was about, as far as it is known before a model answers.
pub(crate) fn object(call: &Call, resource: &Resource) -> ObjectRef {
    let model = match resource {
        Resource::Model(facts) => facts.id.clone(),
        other => other.kind().to_owned(),
    };
    ObjectRef { model, endpoint: call.endpoint.to_owned(), ..ObjectRef::default() }
}

/// A permit's part of a record.
pub(crate) fn allowed(permit: &Permit) -> DecisionRef {
    let broken = permit.broken_glass().map(|glass| format!("break-glass:{glass}"));
    DecisionRef {
        effect: "allow".to_owned(),
        policy: policy(permit.policy_version()),
        rules: permit.rules().iter().cloned().chain(broken).collect(),
        errors: Vec::new(),
    }
}

/// A denial's part of a record.
pub(crate) fn denied(denial: &Denial) -> DecisionRef {
    DecisionRef {
        effect: "deny".to_owned(),
        policy: policy(denial.policy_version),
        rules: denial.rules.clone(),
        errors: denial.errors.clone(),
    }
}

fn policy(version: u64) -> String {
    format!("bundle-{version}")
}

/// The result of a call that was refused.
pub(crate) fn refused(error: &ApiError) -> Outcome {
    Outcome { status: Some(error.status.as_u16()), err: error.code.to_owned(), ..Outcome::default() }
}

/// Logs that a record could not be kept; what the caller gets instead of an answer.
pub(crate) fn lost(call: &Call, error: &AuditError) -> ApiError {
    tracing::error!(request = %call.id, %error, "nothing is answered that cannot be recorded");
    ApiError::unrecorded(error)
}

/// Milliseconds since, for a record.
pub(crate) fn milliseconds_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
