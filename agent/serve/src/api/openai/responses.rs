//! `/v1/responses`: a turn of a conversation as typed items, kept for the caller where policy lets it be.

mod assembly;
mod head;
mod items;
mod request;
mod store;
mod stored;
mod stream;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use outpost_audit::ObjectRef;
use outpost_policies::Action;

use crate::app::App;
use crate::converse;
use crate::drive::Piece;
use crate::error::ApiError;
use crate::stream::{Carrier, respond};
use crate::{Message, Prompt, Role};
use assembly::Assembly;
use request::ResponseCall;

pub(crate) use store::Store;
pub(super) use stored::{cancel, delete, input_items, show};

pub(super) async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Response, ApiError> {
    let (call, mut asked) = converse::read(&app, request, request::parse).await?;
    let owner = store::Owner::of(&call.caller.principal);
    if let Err(error) = go_on(&app, &owner, &mut asked) {
        let object = ObjectRef { endpoint: call.endpoint.to_owned(), ..ObjectRef::default() };
        return Err(converse::refuse(&app, &call, Action::Infer, object, None, error).await);
    }
    let presets =
        app.serving.backend.detail(&asked.asked.model).await.map(|detail| detail.sampling).unwrap_or_default();
    let answer =
        converse::begin(&app, &call, &asked.asked).await.map_err(|error| error.renamed("messages", "input"))?;
    let stream = asked.asked.stream;
    let mut pieces = answer.pieces;
    let may_store = answer.may_store;
    let head = head::Head::new(answer.id, answer.created_s, store::fresh_id()?, &asked, may_store, &presets);
    let mut assembly = Assembly::new(Arc::clone(&app), head, asked, owner);
    if stream {
        return Ok(respond(stream::Writer::new(assembly), pieces, Carrier::Events));
    }
    loop {
        match pieces.recv().await {
            Some(Piece::Started) => {}
            Some(Piece::Said(said)) => drop(assembly.said(said)),
            Some(Piece::End(ending)) => return Ok(Json(assembly.ended(&ending).1).into_response()),
            Some(Piece::Failed(error)) => return Err(error),
            None => return Err(ApiError::internal()),
        }
    }
}

/// Puts what was said before in front of what is said now; instructions are those of now only.
fn go_on(app: &App, owner: &store::Owner, asked: &mut ResponseCall) -> Result<(), ApiError> {
    if let Some(previous) = &asked.previous {
        let kept = app.responses.get(owner, previous, app.circumstances().now_s);
        let mut messages = kept.ok_or_else(|| stored::missing(previous))?.history;
        messages.append(&mut asked.messages);
        asked.messages = items::joined(messages);
    }
    if asked.messages.iter().any(|message| message.role == Role::Tool && message.name.is_none()) {
        let message = "`input` has a `function_call_output` whose `call_id` is that of no `function_call` before it: send \
                       the call too, or the `previous_response_id` that has it";
        return Err(ApiError::invalid("input", message));
    }
    let Prompt::Chat(chat) = &mut asked.asked.prompt else { return Err(ApiError::internal()) };
    let instructions = asked.instructions.iter().map(|text| Message::new(Role::System, text.as_str()));
    chat.messages = instructions.chain(asked.messages.iter().cloned()).collect();
    Ok(())
}
