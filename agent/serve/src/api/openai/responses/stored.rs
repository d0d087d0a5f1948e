//! What was kept: read again, listed and deleted by its owner, and by nobody else.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::{Extension, Json};
use outpost_audit::{Kind, Outcome};
use outpost_policies::Action;
use serde_json::{Value, json};

use super::store::{Kept, Owner};
use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
use crate::permit::{self, Wanted};
use crate::trail::append;
use crate::{model, record};

/// Items of one page, and of the largest.
const PAGE: usize = 20;
const LARGEST_PAGE: usize = 100;

pub(in crate::api::openai) async fn show(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    OriginalUri(uri): OriginalUri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let id = text(id)?;
    for (name, value) in pairs(uri.query()) {
        // What can be included is there in any case.
        if name == "stream" && value == "true" || name == "starting_after" {
            let message = format!("`{name}` is not served: a response is kept when it is over, read it whole");
            return Err(ApiError::unsupported(name, message));
        }
    }
    Ok(Json(open(&app, &call, &id, "response_read").await?.response))
}

pub(in crate::api::openai) async fn delete(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let id = text(id)?;
    open(&app, &call, &id, "response_delete").await?;
    if !app.responses.delete(&Owner::of(&call.caller.principal), &id) {
        return Err(missing(&id));
    }
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

pub(in crate::api::openai) async fn input_items(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    OriginalUri(uri): OriginalUri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let id = text(id)?;
    let page = Page::read(uri.query())?;
    Ok(Json(page.of(open(&app, &call, &id, "response_read").await?.input)?))
}

/// Nothing that is kept is still being answered.
pub(in crate::api::openai) async fn cancel(
    State(app): State<Arc<App>>,
    Extension(call): Extension<Call>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let id = text(id)?;
    open(&app, &call, &id, "response_read").await?;
    let message = "only responses in the background can be cancelled, and none are answered in the background here: \
                   close the connection to end an answer";
    Err(ApiError::unsupported("id", message))
}

fn text(id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    id.map(|Path(id)| id).map_err(|_| ApiError::no_response("the id in the path is no text"))
}

/// A response of the caller's, once it is on record that it was asked for.
async fn open(app: &App, call: &Call, id: &str, act: &str) -> Result<Kept, ApiError> {
    let kept = app.responses.get(&Owner::of(&call.caller.principal), id, app.circumstances().now_s);
    // Whoever may not ask a model may not read what one said; without a response there is no model to name.
    let name = kept.as_ref().map_or("", |kept| kept.model.as_str());
    let resource = model::find(app, name).await.resource;
    let permit = permit::require(app, call, Wanted { action: Action::Infer, resource, max_tokens: None }).await?;
    let kept = kept.ok_or_else(|| missing(id))?;
    let record = record::of_call(&app.serving, call, Kind::AdminAct)
        .act(act)
        .object(record::object(call, permit.resource()))
        .decision(record::allowed(&permit))
        .result(Outcome { status: Some(200), ..Outcome::default() })
        .detail("response", id);
    append(&app.serving, call, record).await.map_err(|error| record::lost(call, &error))?;
    Ok(kept)
}

/// The same whether it never was, is gone, or is somebody else's.
pub(super) fn missing(id: &str) -> ApiError {
    let id: String = id.chars().take(64).collect();
    ApiError::no_response(format!(
        "there is no response `{id}` of yours: responses are kept for a day if policy lets them be (`store` in the \
         answer says so); send the whole conversation as `input`"
    ))
}

/// Which items are wanted.
struct Page {
    limit: usize,
    ascending: bool,
    after: Option<String>,
}

impl Page {
    fn read(query: Option<&str>) -> Result<Self, ApiError> {
        let mut page = Self { limit: PAGE, ascending: false, after: None };
        for (name, value) in pairs(query) {
            match (name, value) {
                ("limit", value) => {
                    page.limit =
                        value.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(|| {
                            ApiError::invalid("limit", format!("`limit` has to be from 1 to {LARGEST_PAGE}"))
                        })?;
                }
                ("order", "asc") => page.ascending = true,
                ("order", "desc") => page.ascending = false,
                ("order", _) => return Err(ApiError::invalid("order", "`order` has to be `asc` or `desc`")),
                ("after", value) => page.after = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(page)
    }

    fn of(&self, mut items: Vec<Value>) -> Result<Value, ApiError> {
        if !self.ascending {
            items.reverse();
        }
        let id = |item: &Value| item.get("id").cloned().unwrap_or_default();
        if let Some(after) = &self.after {
            let place = items.iter().position(|item| id(item) == after.as_str());
            let place = place.ok_or_else(|| ApiError::invalid("after", "`after` has to be the id of an item"))?;
            items.drain(..=place);
        }
        let has_more = items.len() > self.limit;
        items.truncate(self.limit);
        let (first, last) = (items.first().map(id), items.last().map(id));
        Ok(json!({ "object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more }))
    }
}

/// Names and values of a query; ids and numbers need no decoding.
fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_query_is_a_page_or_refused_by_name(
            query in "((limit|order|after|x)=(asc|desc|item_[0-9]|[0-9]{0,4}|[ -~]{0,6})&?){0,4}|\\PC{0,30}",
            count in 0_usize..150,
        ) {
            let items = (0..count).map(|index| json!({ "id": format!("item_{index}") })).collect();
            match Page::read(Some(&query)).and_then(|page| page.of(items)) {
                Ok(page) => prop_assert!(page["data"].as_array().is_some_and(|data| data.len() <= LARGEST_PAGE)),
                Err(error) => {
                    let told = error.to_json(crate::api::Family::OpenAi);
                    prop_assert!(error.status == 400 && told["error"]["param"].is_string(), "{}", told);
                }
            }
        }
    }
}
