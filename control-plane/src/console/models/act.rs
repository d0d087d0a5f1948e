//! What forms do about a model. A mistake stands on the model's page again, beside its field.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use outpost_contract::ModelId;
use serde::Deserialize;

use super::one::{self, HOUR_S, Typed};
use crate::console::form::{Mistake, Sent};
use crate::console::layout::{Notice, done};
use crate::console::viewer::PageError;
use crate::fleet::{Fleet, FleetError};
use crate::models::{ApprovalRequest, ModelError, WithdrawalRequest, end_of_day_s};
use crate::people::Act;

type Model = Result<Path<ModelId>, PathRejection>;
type Answer = Result<Response, PageError>;

#[derive(Debug, Deserialize)]
pub(in crate::console) struct ApproveForm {
    /// The digest of what was looked at.
    files: String,
    until: String,
    selector: String,
    #[serde(default)]
    note: String,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct RevokeForm {
    id: String,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct WithdrawForm {
    #[serde(default)]
    target: String,
    reason: String,
    hours: String,
    confirm: String,
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct RestoreForm {}

pub(in crate::console) async fn approve(model: Model, sent: Sent<ApproveForm>) -> Answer {
    let form = &sent.form;
    let typed = Typed {
        until: form.until.clone(),
        selector: form.selector.clone(),
        note: form.note.clone(),
        ..Typed::default()
    };
    let approve = |fleet: &Fleet, model: &ModelId, person: &str, form: ApproveForm| {
        let until_s = end_of_day_s(&form.until).ok_or_else(|| wrong("until", "write a day as in `2027-06-30`"))?;
        let request = ApprovalRequest {
            until_s,
            selector: Some(form.selector.trim().to_owned()),
            note: form.note.trim().to_owned(),
        };
        fleet.approve_seen_model(model, &request, person, &form.files).map(drop)
    };
    act(model, sent, Act::ApproveModel, Some(typed), Notice::ModelApproved, approve).await
}

pub(in crate::console) async fn revoke(model: Model, sent: Sent<RevokeForm>) -> Answer {
    let revoke = |fleet: &Fleet, _: &ModelId, person: &str, form: RevokeForm| {
        fleet.revoke_model_approval(form.id.trim(), person)
    };
    act(model, sent, Act::ApproveModel, None, Notice::ModelApprovalRevoked, revoke).await
}

pub(in crate::console) async fn withdraw(model: Model, sent: Sent<WithdrawForm>) -> Answer {
    let form = &sent.form;
    let typed = Typed {
        target: form.target.clone(),
        reason: form.reason.clone(),
        hours: form.hours.clone(),
        ..Typed::default()
    };
    let withdraw = |fleet: &Fleet, model: &ModelId, person: &str, form: WithdrawForm| {
        if form.confirm.trim() != model.as_str() {
            return Err(wrong("confirm", "nothing was withdrawn: the model's name was not typed as it is"));
        }
        let hours: i64 =
            form.hours.trim().parse().map_err(|_| wrong("hours", "write hours as a number, as in `24`"))?;
        let target = match form.target.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|_| wrong("target", "the model has no such variant"))?),
        };
        let request = WithdrawalRequest { reason: form.reason, deadline_s: hours.saturating_mul(HOUR_S), target };
        fleet.withdraw_model(model, &request, person).map(drop)
    };
    act(model, sent, Act::WithdrawModel, Some(typed), Notice::ModelWithdrawn, withdraw).await
}

pub(in crate::console) async fn restore(model: Model, sent: Sent<RestoreForm>) -> Answer {
    let restore = |fleet: &Fleet, model: &ModelId, _: &str, _: RestoreForm| fleet.restore_model(model);
    act(model, sent, Act::WithdrawModel, None, Notice::ModelRestored, restore).await
}

/// Does it for those who may, on record, and shows the model's page: with the mistake and what was typed, if there is one.
async fn act<F: Send + 'static>(
    model: Model,
    sent: Sent<F>,
    act: Act,
    typed: Option<Typed>,
    notice: Notice,
    run: impl FnOnce(&Fleet, &ModelId, &str, F) -> Result<(), FleetError> + Send + 'static,
) -> Answer {
    let (Path(model), Sent { by: viewer, fleet, form }) = (model?, sent);
    let (person, of) = (viewer.actor.name.clone(), model.clone());
    let tried = fleet.run_as(viewer.actor.clone(), act, &model, move |fleet| run(fleet, &of, &person, form)).await;
    let mistake = match (tried, typed) {
        (Ok(()), _) => return Ok(done(&format!("/console/models/{model}"), notice)),
        (Err(error), Some(typed)) => (mistake(error)?, typed),
        (Err(error), None) => return Err(error.into()),
    };
    let mut view = fleet.run(move |fleet| one::view(fleet, &model)).await?;
    view.take(mistake);
    Ok((StatusCode::BAD_REQUEST, one::page(&viewer, &view)).into_response())
}

/// Which field an error is about; an error that is about none is one of the page.
fn mistake(error: FleetError) -> Result<Mistake, FleetError> {
    let field = match &error {
        FleetError::Model(ModelError::Field { field, .. }) => match *field {
            "until_s" => "until",
            "deadline_s" => "hours",
            field => field,
        },
        FleetError::Selector(_) | FleetError::UnknownGroup(_) => "selector",
        _ => return Err(error),
    };
    Ok(Mistake::new(field, error))
}

fn wrong(field: &'static str, why: &str) -> FleetError {
    ModelError::Field { field, why: why.to_owned() }.into()
}
