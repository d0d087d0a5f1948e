//! Local commands' way to the running agent: HTTP over its Unix socket, where the kernel says who is calling.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Largest answer that is read whole.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// Nothing listens on the socket of this state directory.
#[derive(Debug, thiserror::Error)]
#[error("no agent runs on `{}`; start one with `outpost run`", .0.display())]
pub struct NoAgent(pub PathBuf);

/// A connection to the agent of one state directory.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The agent behind this socket; nothing is opened yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// True if something accepts connections.
    pub async fn is_up(&self) -> bool {
        let refused = UnixStream::connect(&self.socket).await.err();
        refused.is_none_or(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    }

    /// How `GET path` is answered, if it is answered at all.
    ///
    /// # Errors
    /// [`NoAgent`], or what is wrong with the connection.
    pub async fn status(&self, path: &str) -> Result<StatusCode> {
        Ok(self.send("GET", path, None).await?.status())
    }

    /// `GET path`, read as JSON.
    ///
    /// # Errors
    /// [`NoAgent`], or the agent's own words if it refuses.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let response = self.send("GET", path, None).await?;
        read_json(response).await
    }

    /// `GET path`, read as text, by the holder of a key or token instead of this account.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_text(&self, path: &str, token: Option<&str>) -> Result<String> {
        let response = self.send_as("GET", path, Bytes::new(), token).await?;
        let status = response.status();
        let body = read_body(response).await?;
        if !status.is_success() {
            bail!(refusal(status, &serde_json::from_slice(&body).unwrap_or_default()));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Any request with a JSON body or none; the answer is read as JSON, an empty one as null.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        self.request_as(method, path, body, None).await
    }

    /// The same, by the holder of a key or token instead of this account.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn request_as(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Value> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let response = self.send_as(method, path, body, token).await?;
        read_json(response).await
    }

    /// `POST path` with a document as it is, which must be JSON, or with none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, path: &str, document: Vec<u8>) -> Result<Value> {
        let response = self.send_as("POST", path, document.into(), None).await?;
        read_json(response).await
    }

    /// `POST path` with a JSON body; the answer's body is handed to `each` line by line as it arrives.
    ///
    /// # Errors
    /// [`NoAgent`], the agent's own words if it refuses, or the first error of `each`.
    pub async fn post_lines(&self, path: &str, body: &Value, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        let response = self.send("POST", path, Some(body)).await?;
        if !response.status().is_success() {
            read_json(response).await?;
            return Ok(());
        }
        let mut body = response.into_body();
        let mut pending = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("the agent broke off its answer")?;
            pending.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                each(String::from_utf8_lossy(&line).trim_end())?;
            }
            if pending.len() > ANSWER_BYTES {
                bail!("the agent sent a line of more than {ANSWER_BYTES} bytes");
            }
        }
        Ok(())
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Response<Incoming>> {
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        self.send_as(method, path, body, None).await
    }

    async fn send_as(&self, method: &str, path: &str, body: Bytes, token: Option<&str>) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => anyhow!(
                "this account may not use `{}`: ask as the agent's own account, or as root",
                self.socket.display()
            ),
            _ => NoAgent(self.socket.clone()).into(),
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .context("the agent does not speak HTTP")?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).context("cannot build the request")?;
        sender.send_request(request).await.context("the agent did not answer")
    }
}

async fn read_json(response: Response<Incoming>) -> Result<Value> {
    let status = response.status();
    let body = read_body(response).await?;
    if status.is_success() && body.is_empty() {
        return Ok(Value::Null);
    }
    let value: Value =
        serde_json::from_slice(&body).with_context(|| format!("the agent answered {status} without JSON"))?;
    if status.is_success() { Ok(value) } else { bail!(refusal(status, &value)) }
}

async fn read_body(response: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("the agent's answer could not be read: {error}"))?.to_bytes())
}

/// The agent's own words. Each family of routes has its own form of error.
fn refusal(status: StatusCode, value: &Value) -> String {
    let told = value["error"]["message"].as_str().or_else(|| value["error"].as_str());
    format!("the agent refused ({status}): {}", told.unwrap_or("no reason given"))
}
