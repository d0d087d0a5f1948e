//! Requests to addresses that people typed or strangers named: they leave only for where they may go, whatever a name resolves to.
//!
//! ```text
//! url ──check──► https, a host, no user info, no literal address that is refused
//!                  └──► resolver: EVERY address of the name is looked at ──► connected to one of these, and nothing else
//! ```
//!
//! The resolver is the client's own, so nobody can answer otherwise between the check and the connection. No redirect is
//! followed and no proxy of the environment is used: both would lead past the check. No connection is kept for later.

mod network;
#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls_platform_verifier::BuilderVerifierExt as _;
use url::{Host, Url};

pub use network::Network;
use network::is_public;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a request may take, from the first packet to the last.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longest address.
const MOST_BYTES: usize = 2048;

/// Where requests may go, by configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The section of the settings that says so, for errors; none if no setting widens it.
    pub section: Option<&'static str>,
    /// Networks that are allowed though they are not public.
    pub allow: Vec<Network>,
    /// Whether `http` is allowed, in clear.
    pub http: bool,
}

/// A request may not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutgoingError {
    /// The address cannot be read, or says what an address must not say.
    #[error("`{url}` is no address to send to: {why}")]
    Address {
        /// What was typed.
        url: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// It leads to where requests may not go.
    #[error("`{host}` is at {address}, which is not a public address{}", how_to_allow(*section))]
    NotPublic {
        /// The host.
        host: String,
        /// Where it is.
        address: IpAddr,
        /// The section of the settings, if one could allow it.
        section: Option<&'static str>,
    },
    /// The name leads nowhere.
    #[error("the name `{0}` has no address")]
    NoAddress(String),
}

fn how_to_allow(section: Option<&str>) -> String {
    let advice =
        |section| format!("; if that is right, name its network in `[{section}] allow` of `outpost-control.toml`");
    section.map(advice).unwrap_or_default()
}

impl Reach {
    /// Public addresses and nothing else, whatever the settings say.
    #[must_use]
    pub fn public() -> Self {
        Self { section: None, allow: Vec::new(), http: false }
    }

    /// Reads an address and refuses what can be refused before any name is looked up.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, text: &str) -> Result<Url, OutgoingError> {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        let wrong = |why: &str| Err(OutgoingError::Address { url: shown.clone(), why: why.to_owned() });
        if text.len() > MOST_BYTES {
            return wrong("it is longer than 2048 bytes");
        }
        // Browsers and libraries disagree about these; ours need not.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return wrong("there is a blank, a backslash or a control character in it");
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return wrong(&error.to_string()),
        };
        match (url.scheme(), self.http) {
            ("https", _) | ("http", true) => {}
            ("http", false) => return wrong("write `https://…`, or set `http = true` beside `allow` in the settings"),
            _ => return wrong("write `https://…`"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("a name or a password stands before the host; take it out");
        }
        if url.fragment().is_some() {
            return wrong("take out what follows `#`: it would not be sent");
        }
        if !url.has_host() {
            return wrong("there is no host in it");
        }
        self.admit(&url)?;
        Ok(url)
    }

    /// Refuses a host that is an address where requests may not go, or a name for this machine if they may not go there. Any
    /// other name is looked at by the [`resolver`](Self::resolver).
    ///
    /// # Errors
    /// Where it leads.
    pub fn admit(&self, url: &Url) -> Result<(), OutgoingError> {
        // For http and https, the parser has made one form of decimal, octal, hexadecimal and shortened addresses.
        let addresses = match url.host() {
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            // Whatever a resolver makes of it (RFC 6761, section 6.3).
            Some(Host::Domain(name)) if name == "localhost" || name.ends_with(".localhost") => HERE.to_vec(),
            _ => return Ok(()),
        };
        if addresses.iter().any(|address| self.may_reach(*address)) {
            return Ok(());
        }
        Err(self.not_public(url.host_str().unwrap_or_default(), addresses[0]))
    }

    /// What finds the addresses of a name for a client, and refuses the name if one of them is where requests may not go.
    #[must_use]
    pub fn resolver(self: Arc<Self>) -> Arc<impl Resolve + 'static> {
        Arc::new(Guard { reach: self, lookup: Arc::new(by_system) })
    }

    fn not_public(&self, host: &str, address: IpAddr) -> OutgoingError {
        OutgoingError::NotPublic { host: host.to_owned(), address, section: self.section }
    }

    /// Whether requests may go there.
    fn may_reach(&self, address: IpAddr) -> bool {
        let address = network::unmapped(address);
        is_public(address) || self.allow.iter().any(|network| network.contains(address))
    }
}

/// This machine.
const HERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Whether an address leads to this machine, by its number or as `localhost`.
#[must_use]
pub fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// How a name becomes addresses; blocks.
type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Resolves names for the client, and refuses those that lead where requests may not go.
#[derive(Clone)]
struct Guard {
    reach: Arc<Reach>,
    lookup: Arc<Lookup>,
}

impl Guard {
    fn resolve_now(&self, host: &str) -> Result<Vec<SocketAddr>, OutgoingError> {
        let addresses = (self.lookup)(host).unwrap_or_default();
        if addresses.is_empty() {
            return Err(OutgoingError::NoAddress(host.to_owned()));
        }
        // One that is refused spoils the others: an honest name is not here and there.
        match addresses.iter().find(|address| !self.reach.may_reach(**address)) {
            Some(address) => Err(self.reach.not_public(host, *address)),
            None => Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect()),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let addresses = tokio::task::spawn_blocking(move || guard.resolve_now(&host)).await??;
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

/// Sends requests to where they may go. Clones share it.
#[derive(Debug, Clone)]
pub struct Outgoing {
    reach: Arc<Reach>,
    client: reqwest::Client,
}

impl Outgoing {
    /// A client that goes as far as `reach` says.
    ///
    /// # Errors
    /// In words, if TLS cannot be set up.
    pub fn new(reach: &Reach) -> Result<Self, String> {
        Self::with_lookup(reach, Arc::new(by_system))
    }

    fn with_lookup(reach: &Reach, lookup: Arc<Lookup>) -> Result<Self, String> {
        let reach = Arc::new(reach.clone());
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(public_tls()?)
            .dns_resolver(Arc::new(Guard { reach: Arc::clone(&reach), lookup }))
            .https_only(!reach.http)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            // A connection that is kept was looked at when it was made, which may be long ago.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .user_agent(concat!("outpost-control/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| cause(&error))?;
        Ok(Self { reach, client })
    }

    /// A request that may leave, to be filled and sent. For longer answers, set `timeout` on it.
    ///
    /// # Errors
    /// If the address is refused; that of a name is looked at when the request is sent.
    pub fn request(&self, method: reqwest::Method, url: &str) -> Result<reqwest::RequestBuilder, OutgoingError> {
        Ok(self.client.request(method, self.reach.check(url)?))
    }
}

/// TLS towards servers that the authorities of this system vouch for.
///
/// # Errors
/// In words, if the system has none.
pub fn public_tls() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.and_then(|tls| tls.with_platform_verifier());
    let failed = |error| format!("this system has no list of authorities ({error}); install its `ca-certificates`");
    Ok(tls.map_err(failed)?.with_no_client_auth())
}

/// What lies at the bottom of a failed request, without its address.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match error.source() {
        Some(_) => deepest.to_string(),
        None => error.to_string(),
    }
}

fn by_system(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}
