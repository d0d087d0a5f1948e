//! `POST /v1/chat/completions/tokenizer/encode/count`: tokens of a conversation.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use serde_json::{Map, Value, json};

use crate::api::count;
use crate::api::openai::conversation;
use crate::app::App;
use crate::converse::{self, model_name};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::{Chat, Prompt};

pub(crate) async fn count(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (call, (model, prompt)) = converse::read(&app, request, parse).await?;
    let tokens = count::count(&app, &call, &model, prompt).await?;
    Ok(Json(json!({ "tokenCount": tokens })))
}

fn parse(object: Map<String, Value>) -> Result<(String, Prompt), ApiError> {
    let mut fields = Fields::new(object);
    let model = model_name(fields.text("model")?)?;
    let messages = conversation(&mut fields)?;
    fields.finish()?;
    Ok((model, Prompt::Chat(Chat { messages, ..Chat::default() })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::anything::holds;

    #[test]
    fn any_conversation_to_count_is_read_or_refused() {
        holds(&json!({ "model": "demo", "messages": [{ "role": "user", "content": "hello" }] }), parse);
    }
}
