//! What forms do to drafts.

use axum::Form;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use outpost_policies::{Bundle, BundleFiles};
use serde::Deserialize;

use super::path;
use crate::console::layout::{Notice, done};
use crate::console::viewer::{PageError, Viewer};
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;
use crate::policy_desk::DeskError;

#[derive(Debug, Deserialize)]
pub(in crate::console) struct BeginForm {
    name: String,
    start: String,
    #[serde(default)]
    bundle: String,
}

pub(in crate::console) async fn create(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    form: Result<Form<BeginForm>, FormRejection>,
) -> Result<Response, PageError> {
    let Form(form) = form?;
    let (author, name) = (viewer.actor.name.clone(), form.name.trim().to_owned());
    let draft = name.clone();
    let create = move |fleet: &Fleet| {
        let bundle = begun(fleet, &form)?;
        let files = BundleFiles::of(&bundle).map_err(DeskError::Bundle)?;
        // A form that begins one never replaces another.
        fleet.save_policy_draft(&author, &draft, &files, Some(0))
    };
    fleet.run_as(viewer.actor, Act::DraftPolicy, &name, create).await?;
    Ok(done(&path(&name), Notice::DraftSaved))
}

fn begun(fleet: &Fleet, form: &BeginForm) -> Result<Bundle, FleetError> {
    match form.start.as_str() {
        "default" => Ok(Bundle::default_bundle()),
        "brought" => {
            Ok(Bundle::parse(form.bundle.trim().as_bytes()).map_err(|error| DeskError::Bundle(error.to_string()))?)
        }
        _ => {
            let bundle = fleet.policy_in_force()?.unwrap_or_else(|| Bundle { version: 0, ..Bundle::default_bundle() });
            Ok(Bundle { version: bundle.version + 1, ..bundle })
        }
    }
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct FileForm {
    file: String,
    text: String,
    revision: i64,
}

pub(in crate::console) async fn save(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    form: Result<Form<FileForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(name), Form(form)) = (name?, form?);
    let (author, draft) = (viewer.actor.name.clone(), name.clone());
    let save = move |fleet: &Fleet| {
        let files = fleet.policy_draft(&draft)?.files.with(form.file.trim(), &form.text).map_err(DeskError::from)?;
        fleet.save_policy_draft(&author, &draft, &files, Some(form.revision))
    };
    let saved = fleet.run_as(viewer.actor, Act::DraftPolicy, &name, save).await?;
    Ok(done(&path(&saved.summary.name), Notice::DraftSaved))
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct ApproveForm {
    digest: String,
}

/// On record by itself, with whether it was let.
pub(in crate::console) async fn approve(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    form: Result<Form<ApproveForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(name), Form(form)) = (name?, form?);
    let approved = fleet.run(move |fleet| fleet.approve_policy(&viewer.actor, &name, &form.digest)).await?;
    Ok(done(&path(&approved.summary.name), Notice::DraftApproved))
}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct DropForm {
    confirm: String,
}

pub(in crate::console) async fn drop_draft(
    viewer: Viewer,
    State(fleet): State<Fleet>,
    name: Result<Path<String>, PathRejection>,
    form: Result<Form<DropForm>, FormRejection>,
) -> Result<Response, PageError> {
    let (Path(name), Form(form)) = (name?, form?);
    if form.confirm.trim() != name {
        let message = "the draft stays: its name was not typed as it is".to_owned();
        return Err(PageError::Unreadable { status: StatusCode::BAD_REQUEST, message });
    }
    fleet.run_as(viewer.actor, Act::DraftPolicy, name.clone(), move |fleet| fleet.drop_policy_draft(&name)).await?;
    Ok(done("/console/policies", Notice::DraftDropped))
}
