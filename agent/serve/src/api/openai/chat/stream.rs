//! The answer as server-sent events, the OpenAI way: a chunk per piece, then the reason, then `[DONE]`.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::{Head, usage};
use crate::drive::Piece;
use crate::error::ApiError;

const CHUNK: &str = "chat.completion.chunk";

/// Something is sent at least this often, so that no proxy takes a long prompt for a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers with a stream; everything that may leave has been recorded by whoever sends the pieces.
pub(super) fn respond(head: Head, pieces: mpsc::Receiver<Piece>, include_usage: bool) -> Response {
    let writer = Writer { head, include_usage };
    let mut response = Response::new(Body::from_stream(events(writer, pieces)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A reverse proxy that collects the answer first would defeat the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn events(writer: Writer, pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    enum State {
        Opening,
        Going,
        Over,
    }
    stream::unfold((writer, pieces, State::Opening), |(writer, mut pieces, state)| async move {
        let (bytes, state) = match state {
            State::Opening => (writer.opening(), State::Going),
            State::Over => return None,
            State::Going => match tokio::time::timeout(KEEP_ALIVE, pieces.recv()).await {
                Err(_) => (Bytes::from_static(b": working\n\n"), State::Going),
                Ok(Some(Piece::Started)) => (Bytes::new(), State::Going),
                Ok(Some(Piece::Text(text))) => (writer.text(&text), State::Going),
                Ok(Some(Piece::End(ending))) => (writer.ending(&ending), State::Over),
                Ok(Some(Piece::Failed(error))) => (writer.failure(&error), State::Over),
                Ok(None) => (writer.failure(&ApiError::internal()), State::Over),
            },
        };
        Some((Ok(bytes), (writer, pieces, state)))
    })
}

struct Writer {
    head: Head,
    include_usage: bool,
}

impl Writer {
    fn opening(&self) -> Bytes {
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        event(&self.chunk(delta, Value::Null)).into()
    }

    fn text(&self, text: &str) -> Bytes {
        event(&self.chunk(json!({ "content": text }), Value::Null)).into()
    }

    fn ending(&self, ending: &crate::drive::Ending) -> Bytes {
        let mut text = event(&self.chunk(json!({}), json!(ending.reason.word())));
        if self.include_usage {
            let mut last = self.head.object(CHUNK, json!([]));
            last["usage"] = usage(ending);
            text.push_str(&event(&last));
        }
        text.push_str("data: [DONE]\n\n");
        text.into()
    }

    /// An error in the middle: an event of its own, and no `[DONE]`, so that no client takes half an answer for whole.
    fn failure(&self, error: &ApiError) -> Bytes {
        event(&error.to_json()).into()
    }

    fn chunk(&self, delta: Value, finish_reason: Value) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        let mut chunk = self.head.object(CHUNK, json!([choice]));
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}

/// JSON without line breaks is one `data:` line.
fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}
