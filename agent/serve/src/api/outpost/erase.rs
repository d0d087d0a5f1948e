//! `POST /outpost/audit/erase` and `/outpost/audit/prune`: destroys sealed content, of one subject or past its time. The log
//! verifies as before; whose content it was is not recorded.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use outpost_audit::pseudonym::is_pseudonym;
use outpost_audit::{EraseOrder, Who};
use outpost_policies::{Action, Resource};
use serde_json::{Map, Value, json};

use super::aside;
use crate::api::manage::{self, Act};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::permit::{self, Wanted};
use crate::record;

/// Bytes of a basis.
const BASIS_BYTES: usize = 512;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    subject: String,
    basis: String,
    /// Who approved it, where that is somebody else than the caller.
    approver: Option<String>,
}

pub(crate) async fn erase(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (call, wish) = manage::read(&app, request, "erase_content", parse).await?;
    let (permit, act) = Act::begin(&app, &call, Action::EraseAudit, "erase_content", Resource::AuditLog).await?;
    let approver = match wish.approver {
        Some(id) => Who { kind: "user".to_owned(), id, auth: "none".to_owned(), ..Who::default() },
        None => record::who(&app.serving, &call.caller),
    };
    let order = EraseOrder { subject: wish.subject, basis: wish.basis, approver };
    let log = app.serving.audit.clone();
    let erasing = async move {
        let _permit = permit;
        aside(move || log.erase(&order)).await
    };
    let erased = manage::see_through(act, erasing).await?;
    Ok(Json(json!({
        "record": erased.index,
        "keys": erased.keys.len(),
        "ciphertexts": erased.ciphertexts,
        "bytes": erased.bytes,
        "journal_truncated": erased.journal_truncated,
    })))
}

pub(crate) async fn prune(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (call, dry_run) = manage::read(&app, request, "prune_content", parse_prune).await?;
    let (log, retention) = (app.serving.audit.clone(), app.serving.retention);
    if dry_run {
        let wanted = Wanted { action: Action::EraseAudit, resource: Resource::AuditLog, max_tokens: None };
        let _permit = permit::require(&app, &call, wanted).await?;
        let plan = aside(move || log.prune_plan(retention)).await?;
        return Ok(Json(pruned(&plan, None)));
    }
    let (permit, act) = Act::begin(&app, &call, Action::EraseAudit, "prune_content", Resource::AuditLog).await?;
    let who = record::who(&app.serving, &call.caller);
    let pruning = async move {
        let _permit = permit;
        aside(move || log.prune(retention, who)).await
    };
    let done = manage::see_through(act, pruning).await?;
    Ok(Json(pruned(&done.plan, done.index)))
}

fn pruned(plan: &outpost_audit::vault::PrunePlan, record: Option<u64>) -> Value {
    json!({
        "months": plan.months,
        "keys": plan.keys.len(),
        "ciphertexts": plan.ciphertexts,
        "bytes": plan.bytes,
        "record": record,
    })
}

fn parse(object: Map<String, Value>) -> Result<Wish, ApiError> {
    let mut fields = Fields::new(object);
    let what = "has to be a pseudonym, `p:` and 32 hexadecimal digits; `outpost audit erase` makes it of a name";
    let subject =
        fields.text("subject")?.filter(|text| is_pseudonym(text)).ok_or_else(|| fields.wrong("subject", what))?;
    let approver = fields.text("approver")?;
    if approver.as_ref().is_some_and(|text| !is_pseudonym(text)) {
        return Err(fields.wrong("approver", what));
    }
    let basis = fields
        .text("basis")?
        .filter(|basis| !basis.trim().is_empty() && basis.len() <= BASIS_BYTES && !basis.chars().any(char::is_control));
    let what = "has to say on what basis, as the number of a case does, in up to 512 bytes";
    let basis = basis.ok_or_else(|| fields.wrong("basis", what))?;
    if basis.contains(&subject) {
        return Err(fields.wrong("basis", "is recorded for good, so it must not say who the subject is"));
    }
    fields.finish()?;
    Ok(Wish { subject, basis, approver })
}

fn parse_prune(object: Map<String, Value>) -> Result<bool, ApiError> {
    let mut fields = Fields::new(object);
    let dry_run = fields.flag("dry_run")?.unwrap_or(false);
    fields.finish()?;
    Ok(dry_run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_wish_to_destroy_is_read_or_refused() {
        let subject = format!("p:{}", "0a".repeat(16));
        holds(&json!({ "subject": subject, "basis": "case 7", "approver": subject }), parse);
        holds(&json!({ "dry_run": true }), parse_prune);
    }

    #[test]
    fn a_name_is_no_subject_and_a_basis_names_nobody() {
        let subject = format!("p:{}", "0a".repeat(16));
        let read = |wish: Value| parse(wish.as_object().unwrap().clone());
        for wrong in ["ada", "p:0a", "p:", &subject.to_uppercase(), ""] {
            assert!(read(json!({ "subject": wrong, "basis": "case 7" })).is_err(), "{wrong}");
        }
        for basis in ["", " ", "a\nb", &"x".repeat(513), &format!("about {subject}")] {
            assert!(read(json!({ "subject": subject, "basis": basis })).is_err(), "{basis}");
        }
        assert!(read(json!({ "subject": subject, "basis": "case 7", "approver": "grace" })).is_err());
    }
}
