//! `POST /v1/embeddings`: texts in, vectors out.

mod request;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outpost_policies::Action;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::{EmbedRequest, converse, embed};

pub(crate) async fn create(State(app): State<Arc<App>>, request: Request<Body>) -> Result<Json<Value>, ApiError> {
    let (call, asked) = converse::read_for(&app, Action::Embed, request, request::parse).await?;
    let model = asked.request.model.clone();
    let request = EmbedRequest { request_id: call.id.to_string(), ..asked.request };
    let made = embed::embed(&app, &call, request).await.map_err(|error| error.renamed("messages", "input"))?;
    let data = made.vectors.iter().enumerate().map(|(index, vector)| {
        let vector = if asked.base64 { json!(packed(vector)) } else { json!(vector) };
        json!({ "object": "embedding", "index": index, "embedding": vector })
    });
    Ok(Json(json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": model,
        "usage": { "prompt_tokens": made.prompt_tokens, "total_tokens": made.prompt_tokens },
    })))
}

/// Numbers of 32 bits, the lowest byte first, as official clients ask for them unasked.
fn packed(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>())
}
