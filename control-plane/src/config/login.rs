//! `[login]`: where browsers find the control plane, and the OIDC provider that vouches for people.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use outpost_hub::outgoing::is_this_machine;

/// `[login]`: signing in by a provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginSettings {
    /// The origin at which browsers find the control plane, as in `https://fleet.example:8790`. Never taken from a request.
    pub url: String,
    /// The provider.
    pub oidc: OidcSettings,
}

/// `[login.oidc]`: one OIDC provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSettings {
    /// The `iss` claim, compared exactly; everything else is found from there.
    pub issuer: String,
    /// As what the provider knows this control plane.
    pub client_id: String,
    /// A file with the client's secret; none for a public client, which has PKCE alone.
    pub client_secret_file: Option<PathBuf>,
    /// The only authorities that may vouch for the provider's address, PEM; those of this system without.
    pub authority: Option<PathBuf>,
    /// What is asked for; `openid` is among it.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// What tokens may be for beside this client.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// The claim that a person's name here comes from.
    #[serde(default = "name_claim")]
    pub name_claim: String,
    /// The claim that roles come from, as in `groups` or `realm_access.roles`.
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
    /// Roles by the claim's value.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// Values that begin with this count as the role that follows.
    #[serde(default)]
    pub role_prefix: String,
    /// What the button says after `Sign in with`.
    #[serde(default = "label")]
    pub label: String,
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}

fn name_claim() -> String {
    "preferred_username".to_owned()
}

fn roles_claim() -> String {
    "roles".to_owned()
}

fn label() -> String {
    "your organisation".to_owned()
}

impl LoginSettings {
    /// The first thing that is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |key: &str, text: &str, advice: &str| Err(format!("`{key}` is `{text}`; {advice}"));
        let url = address(&self.url).filter(|url| url.scheme() == "https" && url.path() == "/");
        if url.is_none() {
            return wrong(
                "login.url",
                &self.url,
                "write the origin that browsers use, as in `https://fleet.example:8790`",
            );
        }
        let OidcSettings { issuer, client_id, scopes, roles, role_prefix, .. } = &self.oidc;
        if !address(issuer).is_some_and(|url| is_private(&url)) {
            return wrong("login.oidc.issuer", issuer, "write the provider's `https` address, as its tokens say it");
        }
        if client_id.is_empty() || client_id.len() > 256 {
            return Err("`login.oidc.client_id` is empty or longer than 256 bytes".to_owned());
        }
        if !scopes.iter().any(|scope| scope == "openid")
            || scopes.iter().any(|scope| scope.contains(char::is_whitespace))
        {
            return Err("`login.oidc.scopes` must hold `openid`, and single words".to_owned());
        }
        if roles.is_empty() && role_prefix.is_empty() {
            return Err("`login.oidc`: nothing says what its claims mean: give `roles` or `role_prefix`".to_owned());
        }
        for roles in roles.values() {
            crate::people::check_roles(roles).map_err(|error| format!("`login.oidc.roles`: {error}"))?;
        }
        Ok(())
    }

    /// Where the provider sends browsers back to.
    pub(crate) fn back(&self) -> String {
        format!("{}/login/oidc/back", self.url.trim_end_matches('/'))
    }
}

/// An address without a user, a query or a fragment.
fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(Url::has_host)?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    (is_plain && url.query().is_none() && url.fragment().is_none()).then_some(url)
}

/// Whether nobody on the way can read or change what is said there: TLS, or this machine itself.
pub(crate) fn is_private(url: &Url) -> bool {
    url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: &str) -> Result<(), String> {
        let (key, value) = change.split_once(" = ").unwrap_or(("label", "\"x\""));
        let mut lines = BTreeMap::from([
            ("issuer", "\"https://login.example/realm\""),
            ("client_id", "\"outpost\""),
            ("role_prefix", "\"outpost-\""),
        ]);
        let mut url = "\"https://fleet.example:8790\"";
        if key == "url" {
            url = value;
        } else {
            lines.insert(key, value);
        }
        let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let settings: LoginSettings =
            toml::from_str(&format!("url = {url}\n[oidc]\n{lines}")).map_err(|error| error.to_string())?;
        settings.check()
    }

    #[test]
    fn what_is_said_wrongly_is_named() {
        read("").unwrap();
        read("issuer = \"http://127.0.0.1:4000\"").unwrap();
        read("url = \"https://fleet.example/\"").unwrap();
        for (change, says) in [
            ("url = \"http://fleet.example\"", "`login.url`"),
            ("url = \"https://fleet.example/console\"", "`login.url`"),
            ("url = \"https://fleet.example?x\"", "`login.url`"),
            ("issuer = \"http://login.example\"", "`https` address"),
            ("issuer = \"https://me:word@login.example\"", "`https` address"),
            ("issuer = \"login.example\"", "`https` address"),
            ("client_id = \"\"", "client_id"),
            ("scopes = [\"profile\"]", "`openid`"),
            ("role_prefix = \"\"", "nothing says what its claims mean"),
            ("roles = { a = [\"No Role\"] }", "`login.oidc.roles`"),
            ("isuer = \"https://login.example\"", "unknown field"),
        ] {
            let said = read(change).expect_err(change);
            assert!(said.contains(says), "{change}: {said}");
        }
    }
}
