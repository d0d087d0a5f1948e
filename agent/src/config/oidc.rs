//! `[[api.oidc]]`: an OIDC provider as it is written, and where its keys come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Url;
use serde::Deserialize;

/// Minutes between two readings of a set at an address, unless said otherwise; and the most, a week.
const REFRESH_MINUTES: u64 = 60;
const MOST_REFRESH_MINUTES: u64 = 7 * 24 * 60;

/// Hours that a set counts after it was last read, unless said otherwise: a week; and the most, a year.
const MAX_OFFLINE_HOURS: u64 = 7 * 24;
const MOST_OFFLINE_HOURS: u64 = 365 * 24;

/// One OIDC provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oidc {
    /// The `iss` claim, compared exactly.
    pub issuer: String,
    /// The `aud` claim that tokens must carry.
    pub audience: String,
    /// The provider's public keys, a JWK set, in a file that is read again when it changes.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The same at the provider's own address, `https` only.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The only authorities that may vouch for that address, PEM; those of this system without.
    #[serde(default)]
    pub authority: Option<PathBuf>,
    /// How often that address is asked, minutes.
    #[serde(default)]
    pub refresh_minutes: Option<u64>,
    /// How long the keys count when that address cannot be reached, hours.
    #[serde(default)]
    pub max_offline_hours: Option<u64>,
    /// The claim that roles come from, as in `groups` or `realm_access.roles`.
    #[serde(default = "roles")]
    pub roles_claim: String,
    /// Roles by the claim's value, as in a group's object id.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// Values that begin with this count as the role that follows.
    #[serde(default)]
    pub role_prefix: String,
    /// Clients (`azp`) whose tokens count; empty for all of the audience.
    #[serde(default)]
    pub authorized_parties: Vec<String>,
    /// The tenant (`tid`) whose tokens count.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Whose tokens these are: `user` or `service`.
    #[serde(default = "user")]
    pub kind: String,
}

fn roles() -> String {
    "roles".to_owned()
}

fn user() -> String {
    "user".to_owned()
}

/// Where a provider's keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file that an admin answers for.
    File(PathBuf),
    /// The provider's own address.
    Address(KeyAddress),
}

/// A provider's own address for its keys, and how long they count without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAddress {
    /// Where.
    pub url: Url,
    /// The only authorities that may vouch for it, PEM; those of this system without.
    pub authority: Option<PathBuf>,
    /// How often it is asked.
    pub refresh: Duration,
    /// How long the keys count after they were last read.
    pub max_offline: Duration,
}

impl Oidc {
    /// Where the keys come from.
    ///
    /// # Errors
    /// If that is not said, or said twice; names the provider and the key.
    pub fn key_source(&self) -> Result<KeySource> {
        let source = match (&self.jwks_file, &self.jwks_url) {
            (Some(file), None) => self.file(file).map(KeySource::File),
            (None, Some(url)) => self.address(url).map(KeySource::Address),
            (Some(_), Some(_)) => Err(anyhow::anyhow!("give `jwks_file` or `jwks_url`, not both")),
            (None, None) => {
                Err(anyhow::anyhow!("nothing says where its keys come from: give `jwks_url`, or `jwks_file`"))
            }
        };
        source.with_context(|| format!("`api.oidc`: `{}`", self.issuer))
    }

    fn file(&self, file: &Path) -> Result<PathBuf> {
        let given = [
            ("authority", self.authority.is_some()),
            ("refresh_minutes", self.refresh_minutes.is_some()),
            ("max_offline_hours", self.max_offline_hours.is_some()),
        ];
        if let Some((key, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
            bail!("`{key}` belongs to `jwks_url`; a `jwks_file` counts for as long as it is there");
        }
        Ok(file.to_owned())
    }

    fn address(&self, url: &str) -> Result<KeyAddress> {
        let minutes = self.refresh_minutes.unwrap_or(REFRESH_MINUTES);
        if !(1..=MOST_REFRESH_MINUTES).contains(&minutes) {
            bail!("`refresh_minutes` is {minutes}: choose 1 to {MOST_REFRESH_MINUTES}");
        }
        let hours = self.max_offline_hours.unwrap_or(MAX_OFFLINE_HOURS);
        if !(1..=MOST_OFFLINE_HOURS).contains(&hours) {
            bail!("`max_offline_hours` is {hours}: choose 1 to {MOST_OFFLINE_HOURS}");
        }
        if hours * 60 < minutes {
            bail!("`max_offline_hours` is shorter than `refresh_minutes`: the keys would be too old in between");
        }
        Ok(KeyAddress {
            url: key_url(url)?,
            authority: self.authority.clone(),
            refresh: Duration::from_secs(minutes * 60),
            max_offline: Duration::from_secs(hours * 3600),
        })
    }
}

fn key_url(text: &str) -> Result<Url> {
    let advice = "write an `https` address, as in `https://login.example/keys`";
    let url = Url::parse(text).with_context(|| format!("`jwks_url` is no address: {advice}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        bail!("`jwks_url` carries a user name or a password: public keys need none, and it would stand in logs");
    }
    if url.scheme() != "https" || !url.has_host() {
        bail!("`jwks_url` is `{text}`: {advice}; keys that anybody on the way could change are worth nothing");
    }
    Ok(url)
}

/// Every provider says where its keys come from, and an issuer that stands here twice, for two audiences, says the same.
pub(super) fn check(providers: &[Oidc]) -> Result<()> {
    let mut sources: BTreeMap<&str, KeySource> = BTreeMap::new();
    for provider in providers {
        let source = provider.key_source()?;
        if sources.insert(&provider.issuer, source.clone()).is_some_and(|earlier| earlier != source) {
            bail!("`api.oidc`: `{}` stands there twice, with its keys from different places", provider.issuer);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &str) -> Result<KeySource> {
        let text = format!("issuer = \"https://login.example\"\naudience = \"api://outpost\"\n{lines}");
        toml::from_str::<Oidc>(&text)?.key_source()
    }

    fn mistake(lines: &str) -> String {
        format!("{:#}", read(lines).expect_err(lines))
    }

    #[test]
    fn keys_come_from_a_file_or_from_an_address_with_its_bounds() {
        assert_eq!(read("jwks_file = \"/k.json\"").unwrap(), KeySource::File("/k.json".into()));
        let KeySource::Address(address) = read("jwks_url = \"https://login.example/keys\"").unwrap() else {
            panic!("an address is no file");
        };
        assert_eq!((address.refresh.as_secs(), address.max_offline.as_secs()), (3_600, 7 * 24 * 3_600));
        let given = "jwks_url = \"https://login.example/keys\"\nauthority = \"/a.pem\"\n\
                     refresh_minutes = 5\nmax_offline_hours = 1";
        let expected = KeyAddress {
            url: Url::parse("https://login.example/keys").unwrap(),
            authority: Some("/a.pem".into()),
            refresh: Duration::from_secs(300),
            max_offline: Duration::from_secs(3_600),
        };
        assert_eq!(read(given).unwrap(), KeySource::Address(expected));
    }

    #[test]
    fn what_a_provider_says_wrongly_of_its_keys_is_named() {
        let url = "jwks_url = \"https://login.example/keys\"\n";
        for (lines, says) in [
            (String::new(), "nothing says where its keys come from"),
            (format!("{url}jwks_file = \"/k.json\""), "not both"),
            ("jwks_url = \"http://login.example/keys\"".to_owned(), "`https` address"),
            ("jwks_url = \"file:///k.json\"".to_owned(), "`https` address"),
            ("jwks_url = \"keys\"".to_owned(), "`jwks_url` is no address"),
            ("jwks_url = \"https://\"".to_owned(), "`jwks_url` is no address"),
            ("jwks_url = \"https://me:secret@login.example/keys\"".to_owned(), "a user name or a password"),
            ("jwks_file = \"/k.json\"\nauthority = \"/a.pem\"".to_owned(), "`authority` belongs to `jwks_url`"),
            ("jwks_file = \"/k.json\"\nrefresh_minutes = 1".to_owned(), "`refresh_minutes` belongs to `jwks_url`"),
            ("jwks_file = \"/k.json\"\nmax_offline_hours = 1".to_owned(), "`max_offline_hours` belongs to `jwks_url`"),
            (format!("{url}refresh_minutes = 0"), "choose 1 to 10080"),
            (format!("{url}max_offline_hours = 8761"), "choose 1 to 8760"),
            (format!("{url}refresh_minutes = 61\nmax_offline_hours = 1"), "shorter than `refresh_minutes`"),
        ] {
            let said = mistake(&lines);
            assert!(said.contains(says) && said.contains("`https://login.example`"), "{lines}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn an_issuer_may_stand_there_for_two_audiences_but_with_one_set_of_keys() {
        let provider = |audience: &str, file: &str| -> Oidc {
            let text = format!("issuer = \"https://login.example\"\naudience = \"{audience}\"\njwks_file = \"{file}\"");
            toml::from_str(&text).unwrap()
        };
        check(&[provider("a", "/k.json"), provider("b", "/k.json")]).unwrap();
        let error = check(&[provider("a", "/k.json"), provider("b", "/l.json")]).unwrap_err();
        assert!(error.to_string().contains("stands there twice"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_an_https_address_or_refused(text in "(https?://)?\\PC{0,60}") {
            if let Ok(url) = key_url(&text) {
                prop_assert!(url.scheme() == "https" && url.has_host() && url.username().is_empty());
            }
        }
    }
}
