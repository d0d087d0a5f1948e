//! A client of the control plane's API, generated from its description.
//!
//! `openapi.json` is the description as the control plane's code writes it, and `src/generated` is written from that by the test
//! `generated` of this crate; both are held to their source by tests, which write them anew with `OUTPOST_WRITE=1`. What is
//! here by hand is one request: the token, the headers of conditions and keys, and refusals.
//!
//! ```no_run
//! # async fn example(http: reqwest::Client) -> Result<(), outpost_client::ClientError> {
//! use outpost_client::{Client, ListDevices, Options, WantedCode};
//!
//! let control = Client::new(http, "https://localhost:8790", "opc_…");
//! let code = control.create_code(&WantedCode { device: "till-7".into(), valid_s: None }, &Options::once("order-4711")).await?;
//! println!("{}", code.value.code);
//! let page = control.list_devices(&ListDevices { limit: Some(20), ..ListDevices::default() }, &Options::default()).await?;
//! # Ok(())
//! # }
//! ```

mod generated;

use std::fmt;

use reqwest::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use generated::*;

/// Largest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Asks one control plane, with one token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    server: String,
    token: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("server", &self.server).field("token", &"…").finish_non_exhaustive()
    }
}

/// What a request depends on, and whether it may be sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Change only what is still as this tag says.
    pub if_match: Option<String>,
    /// Answer only if it is not as this tag says; otherwise [`ClientError::Unchanged`].
    pub if_none_match: Option<String>,
    /// Sent again with the same key within 24 hours, a POST is done once and answered alike.
    pub idempotency_key: Option<String>,
}

impl Options {
    /// A POST that is done once, however often it is sent.
    #[must_use]
    pub fn once(key: &str) -> Self {
        Self { idempotency_key: Some(key.to_owned()), ..Self::default() }
    }

    /// A change of what is still as it was read.
    #[must_use]
    pub fn unless_changed(tag: &str) -> Self {
        Self { if_match: Some(tag.to_owned()), ..Self::default() }
    }

    /// A read of what is not known yet.
    #[must_use]
    pub fn if_new(tag: &str) -> Self {
        Self { if_none_match: Some(tag.to_owned()), ..Self::default() }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// What was answered.
    pub value: T,
    /// Its tag, for [`Options`].
    pub tag: Option<String>,
    /// Whether it was given before, to the same idempotency key.
    pub is_replayed: bool,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// The `after` of the page that follows; none after the last.
    pub next: Option<String>,
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The control plane refused, and says why.
    #[error("{message} ({code}, {status})")]
    Refused {
        /// The status.
        status: u16,
        /// For programs.
        code: String,
        /// What happened and the way out.
        message: String,
    },
    /// It is as the tag of `if_none_match` says.
    #[error("it is as it was")]
    Unchanged,
    /// Nothing came back, or not all of it.
    #[error("the control plane cannot be asked: {0}")]
    Transport(#[from] reqwest::Error),
    /// What came back is no answer of a control plane that this client knows.
    #[error("an answer cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    /// More came back than is read.
    #[error("an answer is longer than {ANSWER_BYTES} bytes")]
    TooLong,
}

/// The object that every refusal is.
#[derive(Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

impl Client {
    /// Asks the control plane at `server` (as in `https://localhost:8790`). `http` knows the authority of its certificate.
    #[must_use]
    pub fn new(http: reqwest::Client, server: &str, token: &str) -> Self {
        Self { http, server: server.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    fn request(&self, method: Method, path: &[&str], query: &impl Serialize) -> Result<RequestBuilder, ClientError> {
        let mut address = self.server.clone();
        for part in path {
            address.push('/');
            address.push_str(&escaped(part));
        }
        let mut before = '?';
        if let Value::Object(fields) = serde_json::to_value(query)? {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                address.push(before);
                address.push_str(&format!("{}={}", escaped(name), escaped(&value)));
                before = '&';
            }
        }
        Ok(self.http.request(method, address).bearer_auth(&self.token))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        mut request: RequestBuilder,
        options: &Options,
    ) -> Result<Answer<T>, ClientError> {
        for (name, value) in [
            (IF_MATCH.as_str(), &options.if_match),
            (IF_NONE_MATCH.as_str(), &options.if_none_match),
            ("idempotency-key", &options.idempotency_key),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let mut response = request.send().await?;
        let status = response.status();
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let is_replayed = response.headers().contains_key("idempotency-replayed");
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > ANSWER_BYTES {
                return Err(ClientError::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        match status {
            StatusCode::NOT_MODIFIED => Err(ClientError::Unchanged),
            status if status.is_success() => Ok(Answer { value: serde_json::from_slice(&body)?, tag, is_replayed }),
            status => {
                let Refusal { error: Reason { code, message } } = serde_json::from_slice(&body)?;
                Err(ClientError::Refused { status: status.as_u16(), code, message })
            }
        }
    }
}

/// One part of an address: whatever is in it, it stays one part.
fn escaped(part: &str) -> String {
    let mut escaped = String::new();
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => escaped.push(char::from(byte)),
            b'.' if part.bytes().any(|byte| byte != b'.') => escaped.push('.'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_stays_one_part() {
        for (part, path) in
            [("till-7", "till-7"), ("../x", "..%2Fx"), ("..", "%2E%2E"), ("a?b#c", "a%3Fb%23c"), ("v1.2", "v1.2")]
        {
            assert_eq!(escaped(part), path);
        }
    }

    #[test]
    fn a_client_does_not_show_its_token() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::new(reqwest::Client::builder().build().unwrap(), "https://localhost", "opc_5ec4e7");
        assert!(!format!("{client:?}").contains("5ec4e7"));
    }
}
