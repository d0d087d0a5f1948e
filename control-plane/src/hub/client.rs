//! Asking a hub: redirects followed one by one, the token sent to the hub alone, every answer limited.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION, RANGE, USER_AGENT};
use reqwest::{Response, StatusCode};
use rustls_platform_verifier::BuilderVerifierExt;
use url::{Host, Url};

use super::access::{HubAccess, is_this_machine};
use super::listing::Listing;
use super::{HubError, HubReference};

/// Largest listing of a repository.
const LISTING_BYTES: usize = 16 * 1024 * 1024;

/// A hub sends on to its store at most so often.
const MOST_REDIRECTS: usize = 5;

/// Time for a connection, and the longest time in which nothing arrives.
const CONNECT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);

/// A hub, asked over one client for itself and one for whatever it sends on to.
pub(super) struct Client {
    access: HubAccess,
    of_hub: reqwest::Client,
    of_store: reqwest::Client,
}

impl Client {
    pub(super) fn new(access: HubAccess) -> Result<Self, HubError> {
        let failed = |detail: String| HubError::Access(format!("cannot set up a client: {detail}"));
        let builder = || -> Result<reqwest::ClientBuilder, HubError> {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let tls = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| failed(error.to_string()))?
                .with_platform_verifier()
                .map_err(|error| failed(format!("this system has no list of authorities ({error})")))?
                .with_no_client_auth();
            let redirects = reqwest::redirect::Policy::none();
            let client = reqwest::Client::builder().tls_backend_preconfigured(tls).redirect(redirects);
            let client = client.connect_timeout(CONNECT).read_timeout(SILENCE);
            // Between this machine and itself nobody stands, and a token would go to whoever did in the clear.
            Ok(if is_this_machine(&access.endpoint) { client.no_proxy() } else { client })
        };
        let built = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| failed(error.to_string()));
        let of_hub = built(builder()?)?;
        // Where the hub sends on to is the hub's word: from the open network it does not lead into this one.
        let is_inside = host_is_inside(&access.endpoint);
        let of_store = if is_inside { built(builder()?)? } else { built(builder()?.dns_resolver(Arc::new(Outside)))? };
        Ok(Self { access, of_hub, of_store })
    }

    /// The repository's address, for people and provenance.
    pub(super) fn source(&self, reference: &HubReference) -> String {
        let endpoint = self.access.endpoint.as_str().trim_end_matches('/');
        format!("{endpoint}/{}/{}", reference.owner, reference.repository)
    }

    /// What the repository holds at the revision, as one commit.
    pub(super) async fn listing(&self, reference: &HubReference) -> Result<Listing, HubError> {
        let HubReference { owner, repository, revision } = reference;
        let mut url = self.address(&["api", "models", owner, repository, "revision", revision])?;
        url.set_query(Some("blobs=true"));
        let mut answer = self.get(url, None, &reference.to_string()).await?;
        let host = self.host();
        let mut bytes = Vec::new();
        loop {
            let piece = answer.chunk().await.map_err(|error| unreachable(&host, error))?;
            let Some(piece) = piece else { break };
            if bytes.len() + piece.len() > LISTING_BYTES {
                return Err(HubError::Listing(format!("it has more than {LISTING_BYTES} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Listing::parse(&bytes)
    }

    /// A file at a commit, from a byte on.
    pub(super) async fn file(
        &self,
        reference: &HubReference,
        commit: &str,
        path: &str,
        from: u64,
    ) -> Result<Response, HubError> {
        let mut parts = vec![reference.owner.as_str(), reference.repository.as_str(), "resolve", commit];
        parts.extend(path.split('/'));
        self.get(self.address(&parts)?, Some(from).filter(|from| *from > 0), &format!("`{path}`")).await
    }

    fn address(&self, parts: &[&str]) -> Result<Url, HubError> {
        let mut url = self.access.endpoint.clone();
        let none = || HubError::Access("`HF_ENDPOINT` is no address of a hub".to_owned());
        url.path_segments_mut().map_err(|()| none())?.pop_if_empty().extend(parts);
        Ok(url)
    }

    fn host(&self) -> String {
        self.access.endpoint.host_str().unwrap_or_default().to_owned()
    }

    async fn get(&self, mut url: Url, from: Option<u64>, what: &str) -> Result<Response, HubError> {
        for _ in 0..=MOST_REDIRECTS {
            let is_hub = same_origin(&url, &self.access.endpoint);
            let client = if is_hub { &self.of_hub } else { &self.of_store };
            let mut request = client.get(url.clone());
            request = request.header(USER_AGENT, concat!("outpost-control/", env!("CARGO_PKG_VERSION")));
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if let (true, Some(token)) = (is_hub, &self.access.token) {
                let value = HeaderValue::try_from(format!("Bearer {}", token.as_str()));
                let mut value = value.map_err(|_| HubError::Access("the token is none".to_owned()))?;
                value.set_sensitive(true);
                request = request.header(AUTHORIZATION, value);
            }
            let host = url.host_str().unwrap_or_default().to_owned();
            let answer = request.send().await.map_err(|error| unreachable(&host, error))?;
            let status = answer.status();
            if status.is_redirection() {
                url = self.next(&url, answer.headers().get(LOCATION))?;
                continue;
            }
            if status == StatusCode::OK || status == StatusCode::PARTIAL_CONTENT {
                return Ok(answer);
            }
            let has_token = self.access.token.is_some();
            let hint = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if has_token => {
                    "; the token does not open it: accept its terms on its page, or use another token"
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; set `HF_TOKEN`, or write the token file",
                StatusCode::NOT_FOUND => "; is the name right, and the revision?",
                StatusCode::TOO_MANY_REQUESTS => "; it was asked too often: try again later",
                _ => "",
            };
            return Err(HubError::Refused { host, status: status.as_u16(), what: what.to_owned(), hint });
        }
        Err(HubError::Redirect(format!("more than {MOST_REDIRECTS} places, one after the other")))
    }

    /// Where a hub sends on to: within itself, or over HTTPS to a store that is not inside of this network. A hub on this
    /// machine may have its store here.
    fn next(&self, from: &Url, to: Option<&HeaderValue>) -> Result<Url, HubError> {
        let to =
            to.and_then(|to| to.to_str().ok()).ok_or_else(|| HubError::Redirect("an unreadable address".to_owned()))?;
        let url = from.join(to).map_err(|_| HubError::Redirect("an unreadable address".to_owned()))?;
        let shown = || format!("`{}://{}`", url.scheme(), url.host_str().unwrap_or_default());
        if same_origin(&url, &self.access.endpoint) {
            return Ok(url);
        }
        let is_own = is_this_machine(&self.access.endpoint) && is_this_machine(&url);
        if url.scheme() != "https" && !is_own {
            return Err(HubError::Redirect(format!("{}, which is not HTTPS", shown())));
        }
        if host_is_inside(&url) && !host_is_inside(&self.access.endpoint) {
            return Err(HubError::Redirect(format!("{}, which is inside of this network", shown())));
        }
        Ok(url)
    }
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// An error of the client, without the address: its query may be a key.
fn unreachable(host: &str, error: reqwest::Error) -> HubError {
    let error = error.without_url();
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        detail = format!("{detail}: {source}");
        cause = source.source();
    }
    HubError::Unreachable { host: host.to_owned(), detail }
}

/// Whether the host is a number of this machine or network, or `localhost`.
fn host_is_inside(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => is_inside(ip.into()),
        Some(Host::Ipv6(ip)) => is_inside(ip.into()),
        None => true,
    }
}

/// Whether an address belongs to this machine or a private network.
fn is_inside(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
        }
    }
}

/// Finds only addresses that are not inside of this network, whatever a name resolves to.
struct Outside;

impl Resolve for Outside {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let outside: Vec<SocketAddr> = found.filter(|address| !is_inside(address.ip())).collect();
            if outside.is_empty() {
                return Err("the name leads into this network".into());
            }
            Ok(Box::new(outside.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_of_a_network_is_known_by_every_spelling() {
        for inside in [
            "http://127.0.0.1",
            "http://10.1.2.3",
            "http://192.168.0.1",
            "http://169.254.169.254",
            "http://[::1]",
            "http://[::ffff:10.0.0.1]",
            "http://[fd00::1]",
            "http://[fe80::1]",
            "http://0.0.0.0",
            "http://2130706433",
            "http://100.64.0.1",
            "http://localhost",
            "http://a.localhost",
            "http://0x7f.1",
        ] {
            assert!(host_is_inside(&inside.parse().unwrap()), "{inside}");
        }
        for outside in ["https://8.8.8.8", "https://[2606:4700::1]", "https://hub.example.org"] {
            assert!(!host_is_inside(&outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_hub_on_the_open_network_sends_on_over_https_to_the_open_network_only() {
        let client = Client::new(HubAccess::new("https://hub.example.org", None).unwrap()).unwrap();
        let from: Url = "https://hub.example.org/a/b/resolve/c/d.gguf".parse().unwrap();
        let next = |to: &str| client.next(&from, Some(&HeaderValue::from_str(to).unwrap())).map(|url| url.to_string());
        assert_eq!(next("/a/renamed").unwrap(), "https://hub.example.org/a/renamed");
        assert!(next("https://store.example.net/x?key=1").is_ok());
        for bad in [
            "http://store.example.net/x",
            "https://169.254.169.254/latest",
            "https://localhost/x",
            "file:///etc/passwd",
            "http://hub.example.org/x",
            "https://10.0.0.1/x?key=secret",
        ] {
            let refusal = next(bad).unwrap_err().to_string();
            assert!(refusal.contains("not followed") && !refusal.contains("secret"), "{bad}: {refusal}");
        }
    }
}
