//! HTTPS to the control plane, for the few questions that are not asked over MQTT; every answer has a limit.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use outpost_contract::EnrolRefusal;
use outpost_contract::limits::ENROL_BYTES;
use outpost_disk::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::TlsError;
use crate::tls::{self, Shown};

/// The whole exchange, name lookup and TLS included.
const PATIENCE: Duration = Duration::from_secs(30);

/// Letters of the server's own words that are shown.
const SHOWN_CHARACTERS: usize = 300;

/// Why there is no answer, or none that helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// The address is not an HTTPS address.
    #[error("`{url}` is not an address of a control plane; give `https://host:port`")]
    BadAddress {
        /// What was given.
        url: String,
    },
    /// Nobody answers.
    #[error("the control plane at `{url}` cannot be reached: {detail}; check the address and the network")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        detail: String,
    },
    /// Whoever answers cannot prove to be the control plane.
    #[error(
        "the server at `{url}` is not the one that the authority file names: {detail}; check the address, the authority file, \
         and this machine's clock"
    )]
    NotTheServer {
        /// The address.
        url: String,
        /// What the TLS library said.
        detail: String,
    },
    /// The control plane refused.
    #[error("the control plane refused (HTTP {status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The word that it has for this; empty if it gave none.
        code: String,
        /// What it said.
        message: String,
    },
    /// The answer cannot be used.
    #[error("the control plane's answer cannot be used: {detail}; check that both sides are of the same release")]
    BadAnswer {
        /// What is wrong with it.
        detail: String,
    },
}

impl WebError {
    /// True if the same question may be answered well later: the network was gone, or the control plane failed.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::BadAddress { .. } | Self::NotTheServer { .. } | Self::BadAnswer { .. } => false,
        }
    }

    /// True if the control plane said that this device was revoked.
    pub(crate) fn is_revocation(&self) -> bool {
        matches!(self, Self::Refused { status: 403, code, .. } if code == "revoked")
    }
}

/// A control plane.
#[derive(Debug)]
pub(crate) struct Web {
    base: reqwest::Url,
    shown_address: String,
    client: reqwest::Client,
}

impl Web {
    /// The control plane at an address, proven by `authority`; shows a certificate if there is one.
    pub(crate) fn new(
        server: &str,
        authority: &str,
        certificate: Option<Arc<Shown>>,
        clock: &Clock,
    ) -> Result<Result<Self, WebError>, TlsError> {
        let base = reqwest::Url::parse(server).ok().filter(|url| url.scheme() == "https" && url.has_host());
        let Some(base) = base else { return Ok(Err(WebError::BadAddress { url: shown(server) })) };
        // No redirects and no proxy from the environment: the code goes to the server that was named, or nowhere.
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client(authority, certificate, clock)?)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build();
        let client = client.map_err(|error| WebError::BadAnswer { detail: error.to_string() });
        Ok(client.map(|client| Self { base, shown_address: shown(server), client }))
    }

    /// Posts a document and reads the answer.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, document: &impl Serialize) -> Result<T, WebError> {
        self.ask(self.client.post(self.url(path)?).json(document)).await
    }

    /// Reads a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, WebError> {
        self.ask(self.client.get(self.url(path)?)).await
    }

    fn url(&self, path: &str) -> Result<reqwest::Url, WebError> {
        self.base.join(path).map_err(|_| WebError::BadAddress { url: self.shown_address.clone() })
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, WebError> {
        let answer = request.send().await.map_err(|error| self.transport_error(&error))?;
        let status = answer.status().as_u16();
        let body = self.read_at_most(answer, ENROL_BYTES).await?;
        if status != 200 {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| WebError::BadAnswer { detail: error.to_string() })
    }

    async fn read_at_most(&self, mut answer: reqwest::Response, most: usize) -> Result<Vec<u8>, WebError> {
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| self.transport_error(&error))? {
            if body.len() + piece.len() > most {
                return Err(WebError::BadAnswer { detail: format!("it is longer than {most} bytes") });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn transport_error(&self, error: &reqwest::Error) -> WebError {
        let url = self.shown_address.clone();
        let mut detail = if error.is_timeout() {
            format!("no answer within {} seconds", PATIENCE.as_secs())
        } else {
            error.to_string()
        };
        let mut cause = error.source();
        let mut from_tls = false;
        while let Some(error) = cause {
            from_tls |= matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)));
            detail = error.to_string();
            // An I/O error hides what it wraps from `source`, and TLS errors are wrapped in several.
            let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause = wrapped.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
        }
        if from_tls { WebError::NotTheServer { url, detail } } else { WebError::Unreachable { url, detail } }
    }
}

/// Refusals of enrolment and renewal come bare, those of other routes under `error`.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Refusal {
    Bare(EnrolRefusal),
    Nested { error: EnrolRefusal },
}

fn refusal(status: u16, body: &[u8]) -> WebError {
    match serde_json::from_slice(body) {
        Ok(Refusal::Bare(refusal) | Refusal::Nested { error: refusal }) => {
            WebError::Refused { status, code: refusal.code, message: shown(&refusal.message) }
        }
        Err(_) => WebError::Refused { status, code: String::new(), message: shown(&String::from_utf8_lossy(body)) },
    }
}

/// Words from outside, fit for a terminal: one line, no control characters, not endless.
fn shown(text: &str) -> String {
    let clean = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    clean.take(SHOWN_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_is_read_in_both_forms() {
        for body in [r#"{"code":"revoked","message":"out"}"#, r#"{"error":{"code":"revoked","message":"out"}}"#] {
            assert!(refusal(403, body.as_bytes()).is_revocation());
            assert!(!refusal(401, body.as_bytes()).is_revocation(), "not by the word alone");
        }
        assert!(!refusal(403, b"revoked").is_revocation());
    }

    proptest! {
        #[test]
        fn any_body_is_a_refusal_fit_for_a_terminal(body in prop::collection::vec(any::<u8>(), 0..400)) {
            let WebError::Refused { message, .. } = refusal(500, &body) else { panic!("a refusal") };
            prop_assert!(!message.chars().any(char::is_control) && message.chars().count() <= SHOWN_CHARACTERS);
        }
    }
}
