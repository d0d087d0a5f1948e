//! Signing in at an OIDC provider: authorisation code with PKCE (S256), `state`, `nonce`.
//!
//! ```text
//! /login/oidc       state, nonce, verifier ─► kept, by the hash of the state, for ten minutes; a cookie of its own ─► the browser
//!                                                                                                            ─► the provider
//! /login/oidc/back  cookie + state ─► taken, once ─► `iss` (RFC 9207) ─► code ─► token, checked ─► roles ─► record ─► session
//! ```
//!
//! Another browser than that which began has no such cookie: nobody is signed in as somebody else, or by somebody else's answer.

mod claims;
mod id_token;
mod keys;
mod provider;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::Happening;
use super::sign_in::{Failing, happening};
use crate::db::{Login, Vouching};
use crate::fleet::{Fleet, FleetError};
use crate::origin;
use crate::tokens::{self, random};
use claims::Vouched;
use id_token::{Expected, Header};
pub(crate) use provider::Provider;

/// The cookie of a browser on its way to the provider and back.
pub(crate) const LOGIN_COOKIE: &str = "__Host-outpost-login";

/// How long that may take, seconds.
pub(crate) const LOGIN_S: i64 = 10 * 60;

/// Sign-ins that may be under way, from one address and in all.
const MOST_OF_ADDRESS: i64 = 64;
const MOST: i64 = 10_000;

/// Largest code that a provider gives.
const CODE_BYTES: usize = 4096;

/// How long whoever finds too many under way is told to wait, seconds.
const WAIT_S: i64 = 60;

/// The means that stand in records.
const MEANS: &str = "oidc";

/// Somebody was not signed in by the provider.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There is no provider.
    #[error("no provider is set up here: `[login.oidc]` of `outpost-control.toml` names one")]
    Off,
    /// It cannot be asked, or answers what cannot be; the details are for the log.
    #[error("the provider of `[login.oidc]` cannot be used: {0}")]
    Provider(String),
    /// What came back with the browser is not accepted.
    #[error("the provider's answer is not accepted: {0}; begin again")]
    Answer(&'static str),
    /// The provider lets nobody in, or we do not let in whom it names.
    #[error("you are not let in: {why}")]
    Refused {
        /// The person, if it is one of ours.
        who: String,
        /// Why not.
        why: String,
    },
}

impl LoginError {
    fn refused(why: impl Into<String>) -> Self {
        Self::Refused { who: String::new(), why: why.into() }
    }

    /// What somebody is told who may be a stranger.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Provider(_) => {
                "the provider cannot be reached as it should be; try again later, or sign in with a password".to_owned()
            }
            told => told.to_string(),
        }
    }
}

/// What a browser needs to go to the provider.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) address: String,
    /// The value of [`LOGIN_COOKIE`].
    pub(crate) cookie: String,
}

/// What the provider sent back with the browser (RFC 6749, section 4.1.2; RFC 9207).
#[derive(Debug, Default)]
pub(crate) struct Answer {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Answer {
    /// Reads the query of the address; what stands there twice is refused, as RFC 6749, section 3.1, says.
    pub(crate) fn read(query: &str) -> Result<Self, LoginError> {
        let mut answer = Self::default();
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*key {
                "state" => &mut answer.state,
                "code" => &mut answer.code,
                "error" => &mut answer.error,
                "iss" => &mut answer.issuer,
                _ => continue,
            };
            if value.len() > CODE_BYTES || place.replace(value.into_owned()).is_some() {
                return Err(LoginError::Answer("a part of it is too long or stands there twice"));
            }
        }
        Ok(answer)
    }
}

impl Fleet {
    /// The words on the button, if there is a provider.
    pub(crate) fn login_label(&self) -> Option<&str> {
        self.inner.people.provider.as_ref().map(|provider| provider.settings().oidc.label.as_str())
    }

    /// Begins a sign-in for a browser that has this session.
    pub(crate) async fn begin_login(&self, address: IpAddr, earlier: Option<&str>) -> Result<Begun, FleetError> {
        let provider = self.provider()?;
        let endpoints = provider.endpoints(self.now_s()).await?;
        let secret = || random::<32>().map(hex::encode).map_err(FleetError::Random);
        let (state, cookie, nonce, verifier) = (secret()?, secret()?, secret()?, secret()?);
        let mut url = endpoints.authorization;
        let settings = provider.settings();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &settings.oidc.client_id)
            .append_pair("redirect_uri", &settings.back())
            .append_pair("scope", &settings.oidc.scopes.join(" "))
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())))
            .append_pair("code_challenge_method", "S256");
        let (state, browser) = (tokens::hash(&state), tokens::hash(&cookie));
        let login = Login { nonce, verifier, earlier: earlier.map(tokens::hash) };
        let begin = move |fleet: &Self| {
            fleet.check_failures(&Failing::address(address))?;
            let (now_s, from) = (fleet.now_s(), origin::of(address).to_string());
            let from = (from.as_str(), [MOST_OF_ADDRESS, MOST]);
            match fleet.inner.database.begin_login(&state, &browser, &login, from, [now_s, now_s + LOGIN_S])? {
                true => Ok(()),
                false => Err(FleetError::HeldBack(WAIT_S)),
            }
        };
        self.run(begin).await?;
        Ok(Begun { address: url.into(), cookie })
    }

    /// Ends a sign-in: the answer is the cookie of the new session. What nobody began is nobody's attempt; any other failure
    /// counts against the address, and is on record.
    pub(crate) async fn end_login(
        &self,
        answer: Answer,
        cookie: Option<&str>,
        address: IpAddr,
    ) -> Result<String, FleetError> {
        let provider = self.provider()?;
        let unbegun = || LoginError::Answer("this browser did not begin it, or too long ago");
        let (state, browser) = answer.state.as_deref().zip(cookie).ok_or_else(unbegun)?;
        let (state, browser) = (tokens::hash(state), tokens::hash(browser));
        let take = move |fleet: &Self| {
            fleet.check_failures(&Failing::address(address))?;
            Ok::<_, FleetError>(fleet.inner.database.take_login(&state, &browser, fleet.now_s())?)
        };
        let login = self.run(take).await?.ok_or_else(unbegun)?;
        let ended = match self.vouched(provider, answer, &login).await {
            Ok(vouched) => self.run(move |fleet| fleet.let_in(&vouched, login.earlier.as_ref(), address)).await,
            Err(error) => Err(error.into()),
        };
        if let Err(FleetError::Login(error)) = &ended {
            let is_theirs = !matches!(error, LoginError::Provider(_));
            let who = if let LoginError::Refused { who, .. } = error { who.as_str() } else { "" };
            let effect = if who.is_empty() { "" } else { "deny" };
            let (outcome, effect) = (error.to_string(), effect.to_owned());
            let failed = Happening { outcome, effect, ..happening(who, MEANS, "sign_in", address) };
            let note = move |fleet: &Self| {
                if is_theirs {
                    fleet.count_failure(&Failing::address(address))?;
                }
                fleet.record(&failed)
            };
            self.run(note).await?;
        }
        ended
    }

    /// Whom the provider vouches for in this answer.
    async fn vouched(&self, provider: &Provider, answer: Answer, login: &Login) -> Result<Vouched, LoginError> {
        let endpoints = provider.endpoints(self.now_s()).await?;
        let oidc = &provider.settings().oidc;
        let must_say = endpoints.says_who_it_is;
        if answer.issuer.as_ref().map_or(must_say, |issuer| *issuer != oidc.issuer) {
            return Err(LoginError::Answer("it comes from another provider"));
        }
        if let Some(error) = answer.error {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(80).collect();
            return Err(LoginError::refused(format!("the provider answers `{error}`")));
        }
        let code = answer.code.ok_or(LoginError::Answer("there is no code in it"))?;
        let token = provider.exchange(&endpoints, &code, &login.verifier).await?;
        let header = Header::read(&token).map_err(LoginError::Answer)?;
        let keys = provider.keys(&header.key_id, self.now_s()).await?;
        let expected = Expected {
            issuer: &oidc.issuer,
            client_id: &oidc.client_id,
            audiences: &oidc.audiences,
            nonce: &login.nonce,
            now_s: self.now_s(),
        };
        let claims = id_token::verify(&token, &header, &keys, &expected).map_err(LoginError::Answer)?;
        Vouched::read(&claims, oidc).map_err(LoginError::refused)
    }

    /// Begins a session for somebody for whom the provider vouches, with the roles that it says now.
    fn let_in(&self, vouched: &Vouched, earlier: Option<&[u8; 32]>, address: IpAddr) -> Result<String, FleetError> {
        const NO_ROLE: &str = "the provider gives you no role here; ask whoever administers it";
        let Vouched { issuer, subject, name, roles } = vouched;
        let (database, now_s) = (&self.inner.database, self.now_s());
        match database.vouched_as(issuer, subject, name, roles)? {
            Vouching::Person(who) if roles.is_empty() => {
                database.vouch(issuer, subject, &who, roles, now_s)?;
                database.end_sessions(&who)?;
                Err(LoginError::Refused { who, why: NO_ROLE.to_owned() }.into())
            }
            Vouching::Person(who) => {
                // On record, with the roles, before they are theirs.
                self.record(&Happening { roles: roles.clone(), ..happening(&who, MEANS, "sign_in", address) })?;
                if !database.vouch(issuer, subject, &who, roles, now_s)? {
                    return Err(LoginError::refused("somebody changed this account meanwhile; begin again").into());
                }
                self.open_session(&who, address, earlier)
            }
            Vouching::Stranger => Err(LoginError::refused(format!("`{name}`: {NO_ROLE}")).into()),
            Vouching::Disabled(who) => {
                Err(LoginError::Refused { who, why: "whoever administers this fleet has locked you out".to_owned() }
                    .into())
            }
            Vouching::Taken => Err(LoginError::refused(format!(
                "`{name}` is somebody else's name here; ask whoever administers this fleet"
            ))
            .into()),
        }
    }

    fn provider(&self) -> Result<&Provider, LoginError> {
        self.inner.people.provider.as_ref().ok_or(LoginError::Off)
    }
}
