//! Settings: one state directory, one commented TOML file in it, and nothing that is silently ignored.

mod login;
mod models;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use outpost_contract::TenantId;
use serde::Deserialize;

use crate::files::{self, FileError};
use crate::shares::Rates;
pub(crate) use login::is_private;
pub use login::{LoginSettings, OidcSettings};
pub(crate) use models::LicenceStanding;
pub use models::ModelRules;
use outpost_hub::outgoing::{Network, Reach};

/// The settings' file name inside the state directory.
pub const CONFIG_FILE: &str = "outpost-control.toml";

/// Larger than any file of settings.
const MOST_BYTES: u64 = 64 * 1024;

/// The file that `init` writes: every setting with its default, commented.
pub const TEMPLATE: &str = include_str!("config/outpost-control.toml");

/// What the control plane runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// The organisation that all devices here belong to.
    pub tenant: TenantId,
    /// Where the HTTPS API listens; port 0 takes a free one.
    pub http_listen: SocketAddr,
    /// Where the MQTT broker listens (TLS with client certificates); port 0 takes a free one.
    pub mqtt_listen: SocketAddr,
    /// Names and IP addresses that the servers' certificate carries besides `localhost` and `127.0.0.1`.
    pub names: Vec<String>,
    /// `host:port` of the broker as devices reach it; none means `localhost` and the broker's own port.
    pub broker_address: Option<String>,
    /// `host:port` of a broker that is used instead of our own; none starts our own.
    pub external_broker: Option<String>,
    /// Where that broker's revocation list is kept.
    pub revocation_list: Option<PathBuf>,
    /// The `iss` claim of tokens for people and services.
    pub token_issuer: String,
    /// The `aud` claim of those tokens.
    pub token_audience: String,
    /// How long a device's certificate is good for, days.
    pub certificate_days: u32,
    /// Whether a device without a code and without an allowed key may ask, for an operator to decide.
    pub accept_requests: bool,
    /// How long after its certificate has expired a device may still renew it with its old key, days.
    pub renew_expired_days: u32,
    /// How long a device that has not seen a desired state yet may still accept it, days.
    pub desired_days: u32,
    /// What may leave per second.
    pub rates: Rates,
    /// Whether a second person must approve a policy before it is released; `None` is as soon as there are two people.
    pub two_persons: Option<bool>,
    /// Where webhooks may go.
    pub webhooks: Reach,
    /// What is asked of a model before it is assigned.
    pub models: ModelRules,
    /// The PostgreSQL that several servers share; none keeps everything in a file of the state directory.
    pub database: Option<DatabaseSettings>,
    /// The S3-compatible store where the servers' blobs are; none keeps them in the state directory alone.
    pub blobs: Option<BlobSettings>,
    /// How people sign in by a provider; none lets in those alone who are entered here.
    pub login: Option<LoginSettings>,
}

/// `[blobs]`: a bucket in an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobSettings {
    /// Its name.
    pub bucket: String,
    /// `https://…`, or `http://` on this machine; without it, Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: Option<String>,
    /// What every name in it begins with.
    pub prefix: Option<String>,
    /// The authority of its certificate, PEM, if it is none that the system knows.
    pub authority: Option<PathBuf>,
}

impl BlobSettings {
    /// Whether the store is on this machine and is spoken to in the clear.
    pub(crate) fn is_plain(&self) -> bool {
        self.endpoint.as_ref().and_then(|endpoint| url::Url::parse(endpoint).ok()).is_some_and(|endpoint| {
            let host = endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let is_near = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
            endpoint.scheme() == "http" && is_near
        })
    }
}

/// `[database]`: a PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `postgres://USER@HOST/DATABASE`, without a password.
    pub url: String,
    /// A file with the password; without it, PGPASSWORD or PGPASSFILE of the environment say it.
    pub password_file: Option<PathBuf>,
    /// The authority of the server's certificate, PEM.
    pub authority: Option<PathBuf>,
}

/// Settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key is unknown.
    #[error("`{path}`: unknown key `{key}`{hint}", hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key that stands there.
        key: String,
        /// The nearest valid key, if one is near.
        nearest: Option<&'static str>,
    },
    /// A value or the file's form is wrong.
    #[error("`{path}`: {what}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
struct Raw {
    tenant: Option<TenantId>,
    http_listen: Option<SocketAddr>,
    mqtt_listen: Option<SocketAddr>,
    names: Option<Vec<String>>,
    broker_address: Option<String>,
    external_broker: Option<String>,
    revocation_list: Option<PathBuf>,
    token_issuer: Option<String>,
    token_audience: Option<String>,
    certificate_days: Option<u32>,
    accept_requests: Option<bool>,
    renew_expired_days: Option<u32>,
    desired_days: Option<u32>,
    transfer: Option<RawTransfer>,
    database: Option<DatabaseSettings>,
    blobs: Option<BlobSettings>,
    models: Option<models::RawModels>,
    licences: Option<models::RawLicences>,
    webhooks: Option<RawReach>,
    policies: Option<RawPolicies>,
    login: Option<LoginSettings>,
}

/// `[policies]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPolicies {
    two_persons: Option<bool>,
}

/// `[transfer]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawTransfer {
    fleet_kib_per_second: u32,
    site_kib_per_second: u32,
    device_kib_per_second: u32,
}

/// `[webhooks]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawReach {
    allow: Vec<String>,
    http: bool,
}

impl RawReach {
    fn check(&self, section: &str) -> Result<(), String> {
        let wrong = self.allow.iter().find_map(|network| network.parse::<Network>().err());
        wrong.map_or(Ok(()), |why| Err(format!("`allow` of `[{section}]`: {why}")))
    }

    fn into_reach(self, section: &'static str) -> Reach {
        let allow = self.allow.iter().filter_map(|network| network.parse().ok()).collect();
        Reach { section: Some(section), allow, http: self.http }
    }
}

const KEYS: [&str; 21] = [
    "tenant",
    "http_listen",
    "mqtt_listen",
    "names",
    "broker_address",
    "external_broker",
    "revocation_list",
    "token_issuer",
    "token_audience",
    "certificate_days",
    "accept_requests",
    "renew_expired_days",
    "desired_days",
    "transfer",
    "policies",
    "webhooks",
    "models",
    "licences",
    "database",
    "blobs",
    "login",
];

impl Config {
    /// The defaults over a state directory; what a missing file means, too.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self::from_raw(state_dir.into(), Raw::default())
    }

    /// Reads the file in the state directory; without one, the defaults hold.
    ///
    /// # Errors
    /// An unknown key is refused with the nearest valid one; so is a value that is none.
    pub fn load(state_dir: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let state_dir = state_dir.into();
        let path = state_dir.join(CONFIG_FILE);
        let text = match files::read_text(&path, MOST_BYTES) {
            Ok(text) => text,
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        Self::parse(state_dir, &path, &text)
    }

    fn parse(state_dir: PathBuf, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let invalid = |what: String| ConfigError::Invalid { path: path.to_owned(), what };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| invalid(error.to_string()))?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let nearest = KEYS
                .iter()
                .map(|known| (strsim::damerau_levenshtein(key, known), *known))
                .filter(|(distance, known)| *distance <= known.len() / 2)
                .min();
            let nearest = nearest.map(|(_, known)| known);
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key: key.clone(), nearest });
        }
        let raw: Raw = toml::from_str(text).map_err(|error| invalid(error.to_string()))?;
        raw.webhooks.as_ref().map_or(Ok(()), |reach| reach.check("webhooks")).map_err(invalid)?;
        let config = Self::from_raw(state_dir, raw);
        config.check().map_err(invalid)?;
        Ok(config)
    }

    fn from_raw(state_dir: PathBuf, raw: Raw) -> Self {
        let transfer = raw.transfer.unwrap_or_default();
        let bytes = |kib: u32| u64::from(kib) * 1024;
        Self {
            state_dir,
            tenant: raw.tenant.unwrap_or_else(|| "default".parse().expect("a valid tenant")),
            http_listen: raw.http_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8790))),
            mqtt_listen: raw.mqtt_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8883))),
            names: raw.names.unwrap_or_default(),
            broker_address: raw.broker_address,
            external_broker: raw.external_broker,
            revocation_list: raw.revocation_list,
            token_issuer: raw.token_issuer.unwrap_or_else(|| "outpost-control".to_owned()),
            token_audience: raw.token_audience.unwrap_or_else(|| "outpost".to_owned()),
            certificate_days: raw.certificate_days.unwrap_or(365),
            accept_requests: raw.accept_requests.unwrap_or(false),
            renew_expired_days: raw.renew_expired_days.unwrap_or(400),
            desired_days: raw.desired_days.unwrap_or(30),
            rates: Rates {
                fleet: bytes(transfer.fleet_kib_per_second),
                site: bytes(transfer.site_kib_per_second),
                device: bytes(transfer.device_kib_per_second),
            },
            two_persons: raw.policies.unwrap_or_default().two_persons,
            webhooks: raw.webhooks.unwrap_or_default().into_reach("webhooks"),
            models: ModelRules::new(raw.models.unwrap_or_default(), raw.licences.unwrap_or_default()),
            database: raw.database,
            blobs: raw.blobs,
            login: raw.login,
        }
    }

    /// The file of settings that a new fleet gets: every setting commented, and the database, if one was given.
    pub(crate) fn template(&self) -> String {
        let Some(DatabaseSettings { url, password_file, authority }) = &self.database else {
            return TEMPLATE.to_owned();
        };
        let files = [("password_file", password_file), ("authority", authority)];
        let files = files.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?.display().to_string())));
        let lines = std::iter::once(("url", url.clone())).chain(files);
        let lines: String = lines.map(|(key, value)| format!("{key} = {}\n", toml::Value::String(value))).collect();
        format!("{TEMPLATE}\n[database]\n{lines}")
    }

    /// Uses this PostgreSQL, whatever the file says; how to get in is as the file says.
    #[must_use]
    pub fn with_database(mut self, url: String) -> Self {
        let named = self.database.take().unwrap_or(DatabaseSettings {
            url: String::new(),
            password_file: None,
            authority: None,
        });
        self.database = Some(DatabaseSettings { url, ..named });
        self
    }

    fn check(&self) -> Result<(), String> {
        let addresses = [("broker_address", &self.broker_address), ("external_broker", &self.external_broker)];
        for (key, address) in addresses.into_iter().filter_map(|(key, address)| Some((key, address.as_deref()?))) {
            if host_and_port(address).is_none() {
                return Err(format!("`{key}` is `{address}`; expected `host:port`"));
            }
        }
        if self.blobs.as_ref().is_some_and(|blobs| {
            blobs.endpoint.as_ref().is_some_and(|endpoint| !endpoint.starts_with("https://")) && !blobs.is_plain()
        }) {
            return Err("`endpoint` of `[blobs]` must begin with `https://`, unless it is on this machine".to_owned());
        }
        if self.revocation_list.as_ref().is_some_and(|path| path.is_relative()) {
            return Err("`revocation_list` must be an absolute path: another program reads it".to_owned());
        }
        for (key, days) in [("certificate_days", self.certificate_days), ("desired_days", self.desired_days)] {
            if !(1..=3650).contains(&days) {
                return Err(format!("`{key}` is {days}; expected 1 to 3650"));
            }
        }
        self.models.check()?;
        self.login.as_ref().map_or(Ok(()), LoginSettings::check)?;
        // 0 is a choice here: nobody comes back late.
        if self.renew_expired_days > 3650 {
            return Err(format!("`renew_expired_days` is {}; expected 0 to 3650", self.renew_expired_days));
        }
        Ok(())
    }

    /// Host and port of the external broker, if there is one.
    #[must_use]
    pub fn external_broker_parts(&self) -> Option<(&str, u16)> {
        host_and_port(self.external_broker.as_deref()?)
    }

    /// Names for the servers' certificate: `localhost`, the loopback address, the addresses listened on, and `names`.
    #[must_use]
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        for address in [self.http_listen.ip(), self.mqtt_listen.ip()] {
            if !address.is_unspecified() {
                names.push(address.to_string());
            }
        }
        names.extend(self.names.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

/// A host without brackets, and a port that is not 0.
fn host_and_port(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse("state".into(), Path::new("state/outpost-control.toml"), text)
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_valid_one() {
        let refusal = parse("http_lisen = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert_eq!(refusal, "`state/outpost-control.toml`: unknown key `http_lisen`; did you mean `http_listen`?");
        let refusal = parse("zzz = 1").unwrap_err().to_string();
        assert_eq!(refusal, "`state/outpost-control.toml`: unknown key `zzz`");
    }

    #[test]
    fn the_template_holds_every_key_and_means_the_defaults() {
        assert_eq!(parse(TEMPLATE).unwrap(), Config::new("state"));
        for key in KEYS {
            let table = format!("[{key}]");
            assert!(TEMPLATE.contains(&format!("# {key} = ")) || TEMPLATE.contains(&table), "{key}");
        }
        let set: String = TEMPLATE.lines().map(|line| format!("{}\n", uncommented(line))).collect();
        assert!(parse(&set).is_ok(), "{set}");
    }

    /// The keys of `[transfer]`.
    const RATES: [&str; 3] = ["fleet_kib_per_second", "site_kib_per_second", "device_kib_per_second"];

    #[test]
    fn rates_are_kib_per_second_and_a_misspelt_one_is_refused() {
        let rates = parse("[transfer]\nfleet_kib_per_second = 2").unwrap().rates;
        assert_eq!(rates, Rates { fleet: 2048, ..Rates::default() });
        let refusal = parse("[transfer]\nfleet_kib = 2").unwrap_err().to_string();
        assert!(refusal.contains("fleet_kib") && refusal.contains("site_kib_per_second"), "{refusal}");
        for key in RATES {
            assert!(TEMPLATE.contains(&format!("# {key} = ")), "{key}");
        }
    }

    #[test]
    fn webhooks_go_where_a_network_is_named_and_a_network_that_is_none_is_refused() {
        let reach = parse("[webhooks]\nallow = [\"10.20.0.0/16\"]\nhttp = true").unwrap().webhooks;
        assert_eq!((reach.allow.len(), reach.http, reach.section), (1, true, Some("webhooks")));
        assert!(Config::new("state").webhooks.allow.is_empty() && !Config::new("state").webhooks.http);
        let refusal = parse("[webhooks]\nallow = [\"10.20.0.1/16\"]").unwrap_err().to_string();
        assert!(refusal.contains("`allow` of `[webhooks]`") && refusal.contains("names a host"), "{refusal}");
        assert!(parse("[webhooks]\nalow = []").unwrap_err().to_string().contains("alow"));
        for line in ["# allow = [", "# http = false"] {
            assert!(TEMPLATE.contains(line), "{line}");
        }
    }

    #[test]
    fn a_new_fleet_remembers_its_database() {
        assert_eq!(Config::new("state").template(), TEMPLATE);
        let mut config = Config::new("state").with_database("postgres://ada@localhost/fl\"eet".to_owned());
        config.database.as_mut().unwrap().password_file = Some("/etc/word".into());
        assert_eq!(parse(&config.template()).unwrap(), config);
        let other = config.clone().with_database("postgres://ada@localhost/other".to_owned()).database.unwrap();
        assert_eq!(
            (other.url.as_str(), other.password_file),
            ("postgres://ada@localhost/other", Some("/etc/word".into()))
        );
    }

    fn uncommented(line: &str) -> &str {
        match line.strip_prefix("# ") {
            Some(rest) if KEYS.iter().chain(&RATES).any(|key| rest.starts_with(&format!("{key} = "))) => rest,
            _ => line,
        }
    }

    #[test]
    fn whether_two_people_release_a_policy_is_told_or_found_out() {
        assert_eq!(parse("").unwrap().two_persons, None);
        assert_eq!(parse("[policies]\ntwo_persons = false").unwrap().two_persons, Some(false));
        assert!(parse("[policies]\ntwo_people = true").unwrap_err().to_string().contains("two_persons"));
        assert!(TEMPLATE.contains("# two_persons = "));
    }

    #[test]
    fn a_value_that_is_none_is_refused_by_name() {
        assert!(parse("broker_address = \"nohost\"").unwrap_err().to_string().contains("expected `host:port`"));
        assert!(parse("external_broker = \":1\"").unwrap_err().to_string().contains("expected `host:port`"));
        assert!(parse("revocation_list = \"crl.pem\"").unwrap_err().to_string().contains("absolute path"));
        let parts =
            |text: &str| parse(text).unwrap().external_broker_parts().map(|(host, port)| format!("{host} {port}"));
        assert_eq!(parts("external_broker = \"[::1]:8883\""), Some("::1 8883".to_owned()));
        assert_eq!(parts(""), None);
        assert!(parse("desired_days = 0").unwrap_err().to_string().contains("expected 1 to 3650"));
        let blobs = |endpoint: &str| parse(&format!("[blobs]\nbucket = \"b\"\nendpoint = \"{endpoint}\""));
        assert!(blobs("http://s3.example").unwrap_err().to_string().contains("must begin with `https://`"));
        assert!(
            blobs("https://s3.example").is_ok() && blobs("http://127.0.0.1:5000").unwrap().blobs.unwrap().is_plain()
        );
        assert!(parse("tenant = \"../x\"").unwrap_err().to_string().contains("tenant id"));
    }
}
