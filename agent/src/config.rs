//! `outpost.toml`: what was written, what it means, and what to say when a key is misspelt.

mod oidc;
mod origins;
mod transfer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use outpost_contract::Signer;
use outpost_engine::Backend;
use serde::Deserialize;

pub use oidc::{KeyAddress, KeySource, Oidc};
pub use transfer::{Origin, Transfer};

/// The file as a new state directory gets it: every key with its default and a word of explanation.
pub const TEMPLATE: &str = include_str!("outpost.toml");

/// The longest that sealed content is kept, days: ten years.
const CONTENT_DAYS: u32 = 3650;

/// The least that records are kept, days: half a year, which is what deployers of AI systems are asked for.
const RECORD_DAYS: u32 = 183;

/// The least that an audit log may have, MiB: with less, a busy hour fills it.
const QUOTA_MIB: u64 = 64;

/// The longest that answers may take to end, seconds: an hour without a model for new requests is more than anybody meant.
const DRAIN_SECONDS: u64 = 3600;

/// How long it must have been calm before a step back is taken back, seconds: without any a device would go up and down, and
/// nobody means more than an hour.
const CALM_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// How long a new build may be tried, seconds: every build is healthy for no time, and nobody waits for more than a day.
const TRIAL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// The configuration cannot be used; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("the configuration `{}` cannot be used", .0.display())]
pub struct InvalidConfig(pub PathBuf);

/// What the agent was told.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The local API.
    pub api: Api,
    /// What to serve when no control plane says so.
    pub model: Model,
    /// The model files on this disk.
    pub store: Store,
    /// The audit log.
    pub audit: Audit,
    /// Where the bytes of models come from in a fleet.
    pub transfer: Transfer,
    /// Newer builds of the agent itself.
    pub update: Update,
    /// Operations logs.
    pub logs: Logs,
    /// Where the course of answers is told.
    pub telemetry: Telemetry,
    /// Whose signatures count on a box of its own.
    pub signers: Vec<Signer>,
}

/// The local API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// TCP address; empty for none.
    pub listen: String,
    /// Serve local commands on `outpost.sock` in the state directory.
    pub unix_socket: bool,
    /// Host names, beside the loopback ones, that a request may name.
    pub hosts: Vec<String>,
    /// Web origins, as in `https://console.example`, whose pages may call.
    pub origins: Vec<String>,
    /// TLS certificate chain, PEM. Needed for any address that is not loopback.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub private_key: Option<PathBuf>,
    /// Roles of local users on the Unix socket, by numeric user id. The agent's own user and root are `admin`.
    pub local_users: BTreeMap<String, Vec<String>>,
    /// Services whose word is taken, for the record alone, on whom they call for: `key:4f8a2c01`, `CN=front`.
    pub speak_for_others: Vec<String>,
    /// Client certificates that are asked for over TLS.
    pub client_certificates: ClientCertificates,
    /// OIDC providers whose tokens count.
    pub oidc: Vec<Oidc>,
}

/// Client certificates.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCertificates {
    /// The authorities that may have issued them, PEM; none are asked for without.
    pub authority: Option<PathBuf>,
    /// What a name is: `CN=till-7`, `DNS:till-7.shop.example`, `URI:spiffe://shop/till-7` or `email:ada@shop.example`.
    pub subjects: BTreeMap<String, Subject>,
}

/// What one name in a client certificate is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// `user`, `service` or `device`.
    #[serde(default = "service")]
    pub kind: String,
    /// Its roles.
    pub roles: Vec<String>,
}

fn service() -> String {
    "service".to_owned()
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8780".into(),
            unix_socket: true,
            hosts: Vec::new(),
            origins: Vec::new(),
            certificate: None,
            private_key: None,
            local_users: BTreeMap::new(),
            speak_for_others: Vec::new(),
            client_certificates: ClientCertificates::default(),
            oidc: Vec::new(),
        }
    }
}

impl Api {
    /// The TCP address, if one is wanted.
    ///
    /// # Errors
    /// If it is not `address:port`.
    pub fn address(&self) -> Result<Option<SocketAddr>> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let address = self.listen.parse();
        address
            .map(Some)
            .with_context(|| format!("`api.listen` is `{}`: write `address:port`, as in `127.0.0.1:8780`", self.listen))
    }
}

/// What to serve when no control plane says so, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// A GGUF file to serve on a box without a control plane.
    pub path: Option<PathBuf>,
    /// Longest context of a conversation, tokens; 0 lets the planner choose.
    pub context_tokens: u32,
    /// Conversations served at once.
    pub slots: u32,
    /// Threads of the engine; 0 takes every core.
    pub threads: u32,
    /// Where matrix products are computed.
    pub backend: BackendChoice,
    /// A smaller model of the same vocabulary that guesses ahead.
    pub draft: Option<PathBuf>,
    /// Directories that `pull` takes model files from, on a box without a control plane.
    pub sources: Vec<PathBuf>,
    /// Seconds that answers may take to end when their model has to leave for another that does not fit beside it.
    pub drain_seconds: u64,
    /// Seconds that memory, or the processor's temperature, must have been calm before a step back is taken back.
    pub calm_seconds: u64,
}

/// The model files on this disk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Most mebibytes that model files may take; 0 for what the disk gives.
    pub disk_budget_mib: u64,
    /// Models kept on disk that served before the present one: 0 or 1.
    pub keep_previous: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self { disk_budget_mib: 0, keep_previous: 1 }
    }
}

/// Where matrix products are computed: by name, or the best that this binary has and that works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// A graphics processor if there is one.
    #[default]
    Auto,
    /// The main processor.
    Cpu,
    /// CUDA, or no model.
    Cuda,
    /// Metal, or no model.
    Metal,
}

impl BackendChoice {
    /// In the engine's words.
    #[must_use]
    pub fn wanted(self) -> Option<Backend> {
        match self {
            Self::Auto => None,
            Self::Cpu => Some(Backend::Cpu),
            Self::Cuda => Some(Backend::Cuda),
            Self::Metal => Some(Backend::Metal),
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            path: None,
            context_tokens: 0,
            slots: 4,
            threads: 0,
            backend: BackendChoice::Auto,
            draft: None,
            sources: Vec::new(),
            drain_seconds: 60,
            calm_seconds: 30,
        }
    }
}

/// The audit log: how large it may become, how long its records stay, and what a rule had sealed beside them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// A month's sealed content goes when its last moment is so many days past.
    pub content_days: u32,
    /// Records older than so many days may leave the device, once a mirror has them; 0 keeps them for ever.
    pub record_days: u32,
    /// Most mebibytes that the log may have; none for what the disk gives.
    pub quota_mib: Option<u64>,
    /// Neighbours are asked to vouch for the log once the control plane has been away for so long; 0 asks nobody.
    pub ask_neighbours_after_s: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            content_days: outpost_audit::Retention::default().content_days,
            record_days: 395,
            quota_mib: None,
            ask_neighbours_after_s: 60,
        }
    }
}

/// Newer builds of the agent itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// Seconds that a new build must stay healthy before it is what starts from then on.
    pub trial_seconds: u64,
}

impl Default for Update {
    fn default() -> Self {
        Self { trial_seconds: 60 }
    }
}

/// Operations logs: rolling JSON files in `logs/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Days to keep.
    pub keep_days: usize,
}

impl Default for Logs {
    fn default() -> Self {
        Self { level: "info".into(), keep_days: 14 }
    }
}

/// Where the course of answers is told: how long they waited, were read and generated; never what was said, or by whom.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// An OpenTelemetry collector that takes OTLP over HTTP; nowhere if not said.
    pub otlp_endpoint: Option<String>,
}

impl Config {
    /// Reads the file, writing [`TEMPLATE`] first if there is none.
    ///
    /// # Errors
    /// If the file cannot be read or written, is not TOML, or has a key or value that means nothing; names the file,
    /// the place and the nearest valid key.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).context(InvalidConfig(path.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                outpost_disk::atomic::write(path, TEMPLATE.as_bytes())
                    .with_context(|| format!("cannot write `{}`", path.display()))?;
                Self::parse(TEMPLATE)
            }
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
        }
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// As [`Config::load_or_create`].
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| match unknown_key(&error) {
            Some((key, Some(nearest))) => anyhow::anyhow!("unknown key `{key}`; did you mean `{nearest}`?\n{error}"),
            Some((key, None)) => anyhow::anyhow!("unknown key `{key}`\n{error}"),
            None => anyhow::anyhow!("{error}"),
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        self.api.address()?;
        if self.api.certificate.is_some() != self.api.private_key.is_some() {
            bail!("`api.certificate` and `api.private_key` belong together: give both or neither");
        }
        if self.api.client_certificates.authority.is_some() && self.api.certificate.is_none() {
            bail!("`api.client_certificates.authority` needs TLS: give `api.certificate` and `api.private_key`");
        }
        origins::check(&self.api.origins)?;
        self.transfer.check()?;
        oidc::check(&self.api.oidc)?;
        if let Some(endpoint) = &self.telemetry.otlp_endpoint {
            crate::telemetry::Collector::parse(endpoint)?;
        }
        outpost_trust::Signers::new(&self.signers).context("`signers`")?;
        if self.model.slots == 0 || self.model.slots > 64 {
            bail!("`model.slots` is {}: choose 1 to 64", self.model.slots);
        }
        if !CALM_SECONDS.contains(&self.model.calm_seconds) {
            let (least, most) = (CALM_SECONDS.start(), CALM_SECONDS.end());
            bail!("`model.calm_seconds` is {}: choose {least} to {most}", self.model.calm_seconds);
        }
        if self.model.drain_seconds > DRAIN_SECONDS {
            bail!("`model.drain_seconds` is {}: choose 0 to {DRAIN_SECONDS}", self.model.drain_seconds);
        }
        if self.store.keep_previous > 1 {
            bail!("`store.keep_previous` is {}: choose 0 or 1", self.store.keep_previous);
        }
        if self.audit.content_days > CONTENT_DAYS {
            bail!("`audit.content_days` is {}: choose 0 to {CONTENT_DAYS}", self.audit.content_days);
        }
        if (1..RECORD_DAYS).contains(&self.audit.record_days) {
            bail!("`audit.record_days` is {}: choose 0, or {RECORD_DAYS} and more", self.audit.record_days);
        }
        if self.audit.quota_mib.is_some_and(|quota| quota < QUOTA_MIB) {
            bail!("`audit.quota_mib` is too small for a log: choose {QUOTA_MIB} and more, or leave it out");
        }
        if !TRIAL_SECONDS.contains(&self.update.trial_seconds) {
            let (least, most) = (TRIAL_SECONDS.start(), TRIAL_SECONDS.end());
            bail!("`update.trial_seconds` is {}: choose {least} to {most}", self.update.trial_seconds);
        }
        if !matches!(self.logs.level.as_str(), "error" | "warn" | "info" | "debug" | "trace") {
            bail!("`logs.level` is `{}`: choose error, warn, info, debug or trace", self.logs.level);
        }
        Ok(())
    }
}

/// The misspelt key in serde's message, and the valid key that looks most like it.
fn unknown_key(error: &toml::de::Error) -> Option<(String, Option<String>)> {
    let message = error.message();
    let rest = message.strip_prefix("unknown field `")?;
    let (key, rest) = rest.split_once('`')?;
    let nearest = rest
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|valid| (strsim::jaro_winkler(key, valid), valid))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, valid)| valid.to_owned());
    Some((key.to_owned(), nearest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_means_the_defaults() {
        let written = format!("{:?}", Config::parse(TEMPLATE).unwrap());
        assert_eq!(written, format!("{:?}", Config::default()));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_nearest_valid_one() {
        let error = format!("{:#}", Config::parse("[api]\nlisen = \"127.0.0.1:1\"\n").unwrap_err());
        assert!(error.contains("unknown key `lisen`; did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_value_that_means_nothing_is_refused_by_name() {
        for (text, name) in [
            ("[api]\nlisten = \"everywhere\"", "api.listen"),
            ("[model]\nslots = 0", "model.slots"),
            ("[model]\ndrain_seconds = 99999", "model.drain_seconds"),
            ("[model]\ncalm_seconds = 0", "model.calm_seconds"),
            ("[store]\nkeep_previous = 2", "store.keep_previous"),
            ("[update]\ntrial_seconds = 0", "update.trial_seconds"),
            ("[logs]\nlevel = \"loud\"", "logs.level"),
            ("[audit]\ncontent_days = 99999", "audit.content_days"),
            ("[audit]\nrecord_days = 30", "audit.record_days"),
            ("[audit]\nquota_mib = 1", "audit.quota_mib"),
            ("[api]\ncertificate = \"/x\"", "api.private_key"),
            ("[[signers]]\nname = \"ada\"\nkey = \"short\"\nmay = [\"policy\"]", "signers"),
            ("[api]\norigins = [\"*\"]", "api.origins"),
            ("[[api.oidc]]\nissuer = \"i\"\naudience = \"a\"", "api.oidc"),
            ("[transfer]\norder = []", "transfer.order"),
            ("[transfer]\norder = [\"lan\", \"lan\"]", "transfer.order"),
            ("[transfer]\norder = [\"directory\"]", "transfer.directory"),
            ("[transfer]\nsite = \"../x\"", "transfer.site"),
            ("[transfer]\nannounce = \"0.0.0.0:8791\"", "transfer.announce"),
            ("[transfer]\npeers_mib_per_s = 0", "transfer.peers_mib_per_s"),
            ("[telemetry]\notlp_endpoint = \"https://collector\"", "telemetry.otlp_endpoint"),
        ] {
            let error = format!("{:#}", Config::parse(text).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_the_template_shows_of_a_provider_can_be_used_as_it_stands() {
        let shown = TEMPLATE.lines().skip_while(|line| *line != "# [[api.oidc]]").take_while(|line| !line.is_empty());
        let text: String = shown.filter_map(|line| line.strip_prefix("# ")).map(|line| format!("{line}\n")).collect();
        let config = Config::parse(&text).unwrap();
        let KeySource::Address(address) = config.api.oidc[0].key_source().unwrap() else { panic!("{text}") };
        let bare = "[[api.oidc]]\nissuer = \"i\"\naudience = \"a\"\njwks_url = \"https://login.example/\"";
        let KeySource::Address(bare) = Config::parse(bare).unwrap().api.oidc[0].key_source().unwrap() else { panic!() };
        assert_eq!((address.refresh, address.max_offline), (bare.refresh, bare.max_offline), "the defaults are shown");
    }
}
