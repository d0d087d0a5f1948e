//! An answer as it comes: each family of clients writes its own lines, what carries them is the same.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::drive::Piece;
use crate::error::ApiError;
use crate::{Ending, Said};

/// Something is sent at least this often, so that no proxy takes a long prompt for a dead connection.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Writes one answer, in order: the opening, what is said, and the ending or a failure. An empty text sends nothing.
pub(crate) trait Writer: Send + 'static {
    /// What comes before everything.
    fn opening(&mut self) -> String;
    /// A part of the answer.
    fn said(&mut self, said: Said) -> String;
    /// What comes after everything.
    fn ending(&mut self, ending: &Ending) -> String;
    /// What comes instead of the ending, so that no client takes half an answer for whole.
    fn failure(&mut self, error: &ApiError) -> String;
    /// What says that the answer is still being worked at.
    fn idle(&mut self) -> String;
}

/// The content types of streams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Carrier {
    /// Server-sent events.
    Events,
    /// One JSON object a line.
    Lines,
}

/// Answers with a stream; everything that may leave has been recorded by whoever sends the pieces.
pub(crate) fn respond(writer: impl Writer, pieces: mpsc::Receiver<Piece>, carrier: Carrier) -> Response {
    carry(written(writer, pieces), carrier)
}

/// Answers with a stream that is written already.
pub(crate) fn carry(
    written: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
    carrier: Carrier,
) -> Response {
    let mut response = Response::new(Body::from_stream(written));
    let content_type = match carrier {
        Carrier::Events => "text/event-stream",
        Carrier::Lines => "application/x-ndjson",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // A reverse proxy that collects the answer first would defeat the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn written(writer: impl Writer, pieces: mpsc::Receiver<Piece>) -> impl Stream<Item = Result<Bytes, Infallible>> {
    enum State {
        Opening,
        Going,
        Over,
    }
    stream::unfold((writer, pieces, State::Opening), |(mut writer, mut pieces, mut state)| async move {
        loop {
            let (text, next) = match state {
                State::Opening => (writer.opening(), State::Going),
                State::Over => return None,
                State::Going => match tokio::time::timeout(KEEP_ALIVE, pieces.recv()).await {
                    Err(_) => (writer.idle(), State::Going),
                    Ok(Some(Piece::Started)) => (String::new(), State::Going),
                    Ok(Some(Piece::Said(said))) => (writer.said(said), State::Going),
                    Ok(Some(Piece::End(ending))) => (writer.ending(&ending), State::Over),
                    Ok(Some(Piece::Failed(error))) => (writer.failure(&error), State::Over),
                    Ok(None) => (writer.failure(&ApiError::internal()), State::Over),
                },
            };
            state = next;
            if !text.is_empty() {
                return Some((Ok(Bytes::from(text)), (writer, pieces, state)));
            }
        }
    })
}

/// A server-sent event without a name. JSON without line breaks is one `data:` line.
pub(crate) fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A server-sent event with a name, which is its type.
pub(crate) fn named_event(value: &Value) -> String {
    let name = value.get("type").and_then(Value::as_str).unwrap_or("message");
    format!("event: {name}\ndata: {value}\n\n")
}
