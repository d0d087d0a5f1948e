//! A caller of the local API, as small as curl: asks over HTTP, streams or not, and says what came back.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use serde_json::{Value, json};

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `x-request-id`, by which the audit log and the operations log know the request.
    pub request_id: String,
    /// The answer's text, or the error's message.
    pub text: String,
    /// True if the stream ended with `[DONE]`: only then was the answer acknowledged whole.
    pub complete: bool,
    /// Token counts, if they came.
    pub usage: Value,
}

/// A plain HTTP client. It needs a cryptography provider even where it speaks none, so this installs ours if nobody did.
#[must_use]
pub fn client() -> reqwest::Client {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::new()
}

/// Asks one question with streaming; `token` as bearer if there is one.
///
/// # Errors
/// If the connection cannot be made or breaks before the headers; a stream that breaks later is an incomplete reply.
pub async fn ask(client: &reqwest::Client, base: &str, token: Option<&str>, prompt: &str) -> Result<Reply> {
    let body = json!({
        "model": "default",
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": 96,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    let mut request = client.post(format!("{base}/v1/chat/completions")).json(&body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.context("the agent did not answer")?;
    let status = response.status().as_u16();
    let request_id =
        response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let mut reply = Reply { status, request_id, text: String::new(), complete: false, usage: Value::Null };
    if status != 200 {
        let error: Value = response.json().await.context("the refusal is not JSON")?;
        reply.text = error["error"]["message"].as_str().unwrap_or_default().to_owned();
        return Ok(reply);
    }
    let mut stream = response.bytes_stream();
    let mut pending = Vec::new();
    while let Some(Ok(bytes)) = stream.next().await {
        pending.extend_from_slice(&bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            read_line(&mut reply, String::from_utf8_lossy(&line).trim_end());
        }
    }
    Ok(reply)
}

fn read_line(reply: &mut Reply, line: &str) {
    let Some(data) = line.strip_prefix("data: ") else { return };
    if data == "[DONE]" {
        reply.complete = true;
        return;
    }
    let chunk: Value = serde_json::from_str(data).unwrap_or_default();
    if let Some(text) = chunk["choices"][0]["delta"]["content"].as_str() {
        reply.text.push_str(text);
    }
    if chunk["usage"].is_object() {
        reply.usage = chunk["usage"].clone();
    }
}
