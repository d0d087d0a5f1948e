//! What forms do about webhooks. A mistake stands on the page again, beside its field.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::{HooksPage, Typed, one, path};
use crate::console::form::{Mistake, Sent};
use crate::console::format;
use crate::console::layout::{Notice, done};
use crate::console::viewer::PageError;
use crate::fleet::{Fleet, FleetError};
use crate::people::Act;
use crate::signals::NewWebhook;

type Name = Result<Path<String>, PathRejection>;
type Answer = Result<Response, PageError>;

#[derive(Debug, Deserialize)]
pub(in crate::console) struct NewForm {
    name: String,
    url: String,
    #[serde(default)]
    kinds: String,
}

/// A button without fields.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Button {}

#[derive(Debug, Deserialize)]
pub(in crate::console) struct RemoveForm {
    confirm: String,
}

/// Makes one, and shows its secret this once.
pub(in crate::console) async fn create(sent: Sent<NewForm>) -> Answer {
    let Sent { by: viewer, fleet, form: NewForm { name, url, kinds } } = sent;
    let new = NewWebhook {
        name: name.trim().to_owned(),
        url: url.trim().to_owned(),
        kinds: kinds.split([' ', ',']).filter(|kind| !kind.is_empty()).map(str::to_owned).collect(),
    };
    let (name, subject) = (new.name.clone(), format::shown(&new.name, 64));
    let add = move |fleet: &Fleet| fleet.add_webhook(&new);
    let added = fleet.run_as(viewer.actor.clone(), Act::Administer, subject, add).await;
    let mistake = match &added {
        Err(FleetError::WebhookField { field, why }) => Some(Mistake::new(field, why)),
        Err(FleetError::Outgoing(error)) => Some(Mistake::new("url", error)),
        _ => None,
    };
    let look = |fleet: &Fleet| Ok::<_, FleetError>(HooksPage::new(fleet.webhook_board()?, fleet.now_s()));
    let mut view = fleet.run(look).await?;
    match (mistake, added) {
        (Some(mistake), _) => {
            view.typed = Typed { name, url, kinds };
            view.mistake = Some(mistake);
            Ok((StatusCode::BAD_REQUEST, super::page(&viewer, &view)).into_response())
        }
        (None, added) => {
            view.made = Some((name, added?));
            Ok(super::page(&viewer, &view).into_response())
        }
    }
}

/// Sends a test, and shows what came of it.
pub(in crate::console) async fn test(name: Name, sent: Sent<Button>) -> Answer {
    let (Path(name), Sent { by: viewer, fleet, .. }) = (name?, sent);
    let (subject, known) = (format::shown(&name, 64), name.clone());
    let find = move |fleet: &Fleet| fleet.webhook(&known).map(drop);
    fleet.run_as(viewer.actor.clone(), Act::Administer, subject, find).await?;
    let tested = fleet.test_webhook(&name).await?;
    let mut view = fleet.run(move |fleet| one::view(fleet, &name)).await?;
    view.tested = Some(tested);
    Ok(one::page(&viewer, &view).into_response())
}

pub(in crate::console) async fn pause(name: Name, sent: Sent<Button>) -> Answer {
    let person = sent.by.actor.name.clone();
    let pause = move |fleet: &Fleet, name: &str| fleet.pause_webhook(name, &person);
    act(name, sent, Notice::HookPaused, pause).await
}

pub(in crate::console) async fn retry(name: Name, sent: Sent<Button>) -> Answer {
    act(name, sent, Notice::HookGoesOn, Fleet::retry_webhook).await
}

async fn act(
    name: Name,
    sent: Sent<Button>,
    notice: Notice,
    run: impl FnOnce(&Fleet, &str) -> Result<(), FleetError> + Send + 'static,
) -> Answer {
    let (Path(name), Sent { by, fleet, .. }) = (name?, sent);
    let (subject, here) = (format::shown(&name, 64), path(&name));
    fleet.run_as(by.actor, Act::Administer, subject, move |fleet| run(fleet, &name)).await?;
    Ok(done(&here, notice))
}

pub(in crate::console) async fn remove(name: Name, sent: Sent<RemoveForm>) -> Answer {
    let (Path(name), Sent { by: viewer, fleet, form }) = (name?, sent);
    let (subject, is_meant) = (format::shown(&name, 64), form.confirm.trim() == name);
    let remove = move |fleet: &Fleet| {
        if is_meant {
            return fleet.remove_webhook(&name).map(|()| None);
        }
        let mut view = one::view(fleet, &name)?;
        view.mistake = Some(Mistake::new("confirm", "the webhook stays: its name was not typed as it is"));
        Ok(Some(view))
    };
    Ok(match fleet.run_as(viewer.actor.clone(), Act::Administer, subject, remove).await? {
        None => done("/console/webhooks", Notice::HookRemoved),
        Some(view) => (StatusCode::BAD_REQUEST, one::page(&viewer, &view)).into_response(),
    })
}
