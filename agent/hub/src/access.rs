//! Which hub, and with which token: from the environment, never from the command line.

use std::fmt;
use std::path::PathBuf;

use url::Url;
use zeroize::Zeroizing;

use super::HubError;
use crate::outgoing::is_this_machine;
use crate::patience::Patience;

/// The hub, if nothing else is said.
const ENDPOINT: &str = "https://huggingface.co";

/// Largest token file.
const TOKEN_BYTES: u64 = 4096;

/// A hub and the token for it. Neither prints the token.
#[derive(Clone)]
pub struct HubAccess {
    pub(super) endpoint: Url,
    pub(super) token: Option<Zeroizing<String>>,
    pub(super) patience: Patience,
}

impl fmt::Debug for HubAccess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        formatter.debug_struct("HubAccess").field("endpoint", &self.endpoint.as_str()).field("token", &token).finish()
    }
}

impl HubAccess {
    /// `HF_ENDPOINT`, and `HF_TOKEN` or the token file (`HF_TOKEN_PATH`, `HF_HOME/token`, `~/.cache/huggingface/token`).
    ///
    /// # Errors
    /// If one of them is there and cannot be used, or if `HF_HUB_OFFLINE` says that no hub may be asked.
    pub fn from_environment() -> Result<Self, HubError> {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        if text("HF_HUB_OFFLINE").is_some_and(|value| is_yes(&value)) {
            return Err(HubError::Offline);
        }
        let file = || {
            let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
            path("HF_TOKEN_PATH")
                .or_else(|| Some(path("HF_HOME")?.join("token")))
                .or_else(|| Some(path("HOME")?.join(".cache/huggingface/token")))
        };
        let token = match text("HF_TOKEN") {
            Some(token) => Some(token),
            None => match file().map(|path| crate::files::read(&path, TOKEN_BYTES)) {
                Some(Ok(token)) => Some(
                    String::from_utf8(token)
                        .map_err(|_| HubError::Access("the token file holds no text".to_owned()))?,
                ),
                Some(Err(error)) if !error.is_not_found() => return Err(error),
                _ => None,
            },
        };
        Self::new(text("HF_ENDPOINT").as_deref().unwrap_or(ENDPOINT), token)
    }

    /// A hub at an address, which is HTTPS unless it is this machine.
    ///
    /// # Errors
    /// If address or token are none.
    pub fn new(endpoint: &str, token: Option<String>) -> Result<Self, HubError> {
        let wrong = |why: &str| HubError::Access(format!("`HF_ENDPOINT` is no address of a hub: {why}"));
        let endpoint: Url = endpoint.trim().trim_end_matches('/').parse().map_err(|_| wrong("it is no URL"))?;
        if endpoint.username() != "" || endpoint.password().is_some() || endpoint.query().is_some() {
            return Err(wrong("it holds a name, a password or a query; a token belongs into `HF_TOKEN`"));
        }
        match endpoint.scheme() {
            "https" => {}
            "http" if is_this_machine(&endpoint) => {}
            _ => return Err(wrong("it must be `https://…`")),
        }
        let token = token.map(Zeroizing::new).map(|token| Zeroizing::new(token.trim().to_owned()));
        let token = token.filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(HubError::Access("the token in `HF_TOKEN` or the token file is none".to_owned()));
        }
        Ok(Self { endpoint, token, patience: Patience::default() })
    }

    /// The same with other times to wait and to try.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }
}

/// What the hub's own programs take for a yes.
fn is_yes(value: &str) -> bool {
    matches!(value.trim().to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn offline_is_what_the_hubs_own_programs_take_for_it() {
        assert!(["1", "true", "Yes", " ON "].iter().all(|yes| is_yes(yes)));
        assert!(!["0", "false", "no", "off", "2", ""].iter().any(|no| is_yes(no)));
    }
}
