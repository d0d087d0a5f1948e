//! The provider over the network: what it says of itself (discovery), its keys, and a code for a token.
//!
//! Its address is in the settings, and what is found from there must be as private: TLS, or this machine itself. Every answer has
//! a limit and a time, no redirect is followed, and what was read counts for an hour. A key that is not known is looked for at
//! once, but not more than once a minute, whoever sends tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::Url;
use zeroize::Zeroizing;

use super::LoginError;
use super::keys::{KEYS_BYTES, Keys};
use crate::config::{LoginSettings, OidcSettings, is_private};
use outpost_hub::outgoing::{cause, public_tls};

/// Largest answers, bytes.
const DOCUMENT_BYTES: usize = 256 * 1024;
const ANSWER_BYTES: usize = 256 * 1024;

/// Largest file with the client's secret.
const SECRET_BYTES: u64 = 4096;

/// How long what was read counts, seconds.
const FRESH_S: i64 = 60 * 60;

/// How long is not asked again for a key that was not there, and after a failure, seconds.
const LOOK_S: i64 = 60;
const FAILED_S: i64 = 5;

/// Time for a connection and for a whole answer.
const CONNECT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(8);

/// The provider that the settings name.
#[derive(Debug)]
pub(crate) struct Provider {
    settings: LoginSettings,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: Option<(Endpoints, i64)>,
    keys: Option<(Keys, i64)>,
    /// When it did not answer, and how that was.
    failed: Option<(i64, String)>,
}

/// Where a provider is asked what.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    pub(super) authorization: Url,
    token: Url,
    keys: Url,
    /// How it takes a client's secret; none is `client_secret_basic`.
    secret_methods: Option<Vec<String>>,
    /// Whether it says who it is when it answers (RFC 9207).
    pub(super) says_who_it_is: bool,
}

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3); only this is looked at.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    code_challenge_methods_supported: Option<Vec<String>>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Document {
    fn understand(self, issuer: &str) -> Result<Endpoints, String> {
        if self.issuer != issuer {
            let said: String = self.issuer.chars().take(200).collect();
            return Err(format!("it says that it is `{}`, not `{issuer}`", said.escape_debug()));
        }
        let challenges = self.code_challenge_methods_supported;
        if challenges.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err("it does not know PKCE with S256".to_owned());
        }
        // As private as the issuer: nothing that was found over TLS leads out of it.
        let fits = |url: &Url| is_private(url) && (url.scheme() == "https" || issuer.starts_with("http:"));
        let address = |text: &str| Url::parse(text).ok().filter(fits).ok_or("one of its addresses is not `https`");
        Ok(Endpoints {
            authorization: address(&self.authorization_endpoint)?,
            token: address(&self.token_endpoint)?,
            keys: address(&self.jwks_uri)?,
            secret_methods: self.token_endpoint_auth_methods_supported,
            says_who_it_is: self.authorization_response_iss_parameter_supported,
        })
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Provider {
    pub(crate) fn new(settings: LoginSettings) -> Self {
        Self { settings, known: Mutex::default() }
    }

    pub(super) fn settings(&self) -> &LoginSettings {
        &self.settings
    }

    /// Where to send browsers and ask for tokens.
    pub(super) async fn endpoints(&self, now_s: i64) -> Result<Endpoints, LoginError> {
        let mut known = self.known.lock().await;
        self.look_up(&mut known, now_s).await
    }

    /// Its keys: those known, or those of now if there is none of this name among them.
    pub(super) async fn keys(&self, key_id: &str, now_s: i64) -> Result<Keys, LoginError> {
        let mut known = self.known.lock().await;
        if let Some((keys, read_s)) = &known.keys {
            let age_s = now_s - read_s;
            if (keys.know(key_id) && age_s < FRESH_S) || (0..LOOK_S).contains(&age_s) {
                return Ok(keys.clone());
            }
        }
        let endpoints = self.look_up(&mut known, now_s).await?;
        let read = async {
            let request = self.request(Method::GET, endpoints.keys)?;
            let (status, bytes) = answer(request, KEYS_BYTES).await?;
            if status != StatusCode::OK {
                return Err(format!("its key set answers {status}"));
            }
            Keys::parse(&bytes)
        };
        let keys = known.noted(read.await, now_s)?;
        known.keys = Some((keys.clone(), now_s));
        Ok(keys)
    }

    /// The ID token for a code (RFC 6749, section 4.1.3, and RFC 7636, section 4.5).
    pub(super) async fn exchange(
        &self,
        endpoints: &Endpoints,
        code: &str,
        verifier: &str,
    ) -> Result<Zeroizing<String>, LoginError> {
        let OidcSettings { client_id, .. } = &self.settings.oidc;
        let back = self.settings.back();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", back.as_str()),
            ("code_verifier", verifier),
        ];
        let secret = self.secret().await.map_err(LoginError::Provider)?;
        let request = self.request(Method::POST, endpoints.token.clone()).map_err(LoginError::Provider)?;
        let methods = endpoints.secret_methods.as_ref();
        let takes = |method: &str| methods.is_none_or(|methods| methods.iter().any(|one| one == method));
        let request = match &secret {
            None => {
                fields.push(("client_id", client_id));
                request
            }
            Some(secret) if takes("client_secret_basic") => request.header(AUTHORIZATION, basic(client_id, secret)?),
            Some(secret) if takes("client_secret_post") => {
                fields.extend([("client_id", client_id.as_str()), ("client_secret", secret)]);
                request
            }
            Some(_) => return Err(LoginError::Provider("it takes no client's secret".to_owned())),
        };
        let body = Zeroizing::new(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish());
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.to_string());
        let (status, bytes) = answer(request, ANSWER_BYTES).await.map_err(LoginError::Provider)?;
        if status != StatusCode::OK {
            let why =
                serde_json::from_slice::<Refusal>(&bytes).map_or_else(|_| "no reason".to_owned(), |told| told.error);
            let why: String = why.chars().filter(char::is_ascii_graphic).take(80).collect();
            // `invalid_grant` is about the code, which came with the browser; everything else about us or the provider.
            return Err(match why.as_str() {
                "invalid_grant" => LoginError::Answer("the provider does not accept the code"),
                _ => LoginError::Provider(format!("it answers the code with {status} ({why})")),
            });
        }
        let tokens: Tokens = parsed(&bytes).map_err(LoginError::Provider)?;
        let token = tokens.id_token.map(Zeroizing::new);
        token.ok_or_else(|| LoginError::Provider("it answers without an ID token".to_owned()))
    }

    async fn look_up(&self, known: &mut Known, now_s: i64) -> Result<Endpoints, LoginError> {
        if let Some((endpoints, read_s)) = &known.endpoints
            && (0..FRESH_S).contains(&(now_s - read_s))
        {
            return Ok(endpoints.clone());
        }
        if let Some((failed_s, how)) = &known.failed
            && (0..FAILED_S).contains(&(now_s - failed_s))
        {
            return Err(LoginError::Provider(how.clone()));
        }
        let endpoints = known.noted(self.discover().await, now_s)?;
        known.endpoints = Some((endpoints.clone(), now_s));
        Ok(endpoints)
    }

    async fn discover(&self) -> Result<Endpoints, String> {
        let issuer = &self.settings.oidc.issuer;
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let address = Url::parse(&address).map_err(|error| error.to_string())?;
        let (status, bytes) = answer(self.request(Method::GET, address)?, DOCUMENT_BYTES).await?;
        if status != StatusCode::OK {
            return Err(format!("`{issuer}/.well-known/openid-configuration` answers {status}; is `issuer` right?"));
        }
        parsed::<Document>(&bytes)?.understand(issuer)
    }

    async fn secret(&self) -> Result<Option<Zeroizing<String>>, String> {
        let Some(path) = self.settings.oidc.client_secret_file.clone() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || crate::files::read_text(&path, SECRET_BYTES)).await;
        let text = read.map_err(|error| error.to_string())?.map(Zeroizing::new).map_err(|error| error.to_string())?;
        let secret = Zeroizing::new(text.trim().to_owned());
        if secret.is_empty() { Err("`client_secret_file` is empty".to_owned()) } else { Ok(Some(secret)) }
    }

    /// A request that leaves for this address and for no other. The client is made anew: a renewed `authority` counts at once.
    fn request(&self, method: Method, address: Url) -> Result<RequestBuilder, String> {
        let tls = match &self.settings.oidc.authority {
            Some(authority) => {
                let tls = crate::tls::outgoing(authority).map_err(|error| error.to_string())?;
                std::sync::Arc::unwrap_or_clone(tls)
            }
            None => public_tls().map_err(|error| format!("{error}, or set `authority`"))?,
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(address.scheme() == "https")
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .user_agent(concat!("outpost-control/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| cause(&error))?;
        Ok(client.request(method, address).header(ACCEPT, "application/json"))
    }
}

impl Known {
    /// Remembers a failure for a moment, so that nobody makes us ask without a pause.
    fn noted<T>(&mut self, read: Result<T, String>, now_s: i64) -> Result<T, LoginError> {
        self.failed = read.as_ref().err().map(|how| (now_s, how.clone()));
        read.map_err(LoginError::Provider)
    }
}

/// `client_secret_basic`: both are encoded as in a form (RFC 6749, section 2.3.1).
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, LoginError> {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let both = Zeroizing::new(format!("{}:{}", encoded(client_id), encoded(secret)));
    let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(both.as_bytes())));
    let mut value = value.map_err(|_| LoginError::Provider("the client's secret is none".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn answer(request: RequestBuilder, most: usize) -> Result<(StatusCode, Vec<u8>), String> {
    let mut answer = request.send().await.map_err(|error| cause(&error))?;
    if answer.status().is_redirection() {
        return Err("it sends on to somewhere else, which is not followed".to_owned());
    }
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| cause(&error))? {
        if bytes.len() + piece.len() > most {
            return Err(format!("it answers with more than {most} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((answer.status(), bytes))
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("its answer cannot be read: {error}"))
}
