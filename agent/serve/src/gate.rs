//! Before anything else: is this call meant for us, and not sent by somebody's web page?
//!
//! A local service is a target for pages open in a browser on the same machine. DNS rebinding shows in `Host`, a
//! cross-site call in `Origin` and `Sec-Fetch-Site`. A Unix socket is out of a browser's reach and is not asked.

use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Request};

use crate::error::ApiError;
use crate::identify::Peer;

/// Names that always mean this machine.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which names and origins are ours.
#[derive(Debug)]
pub(crate) struct Gate {
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Gate {
    pub(crate) fn new(hosts: &[String], origins: &[String]) -> Self {
        let hosts = LOCAL_HOSTS.iter().map(|&host| host.to_owned()).chain(hosts.iter().map(|host| host.to_lowercase()));
        Self { hosts: hosts.collect(), origins: origins.iter().map(|origin| origin.to_lowercase()).collect() }
    }

    /// Lets the call in.
    ///
    /// # Errors
    /// 421 for another host, 403 for another site.
    pub(crate) fn check<B>(&self, peer: &Peer, request: &Request<B>) -> Result<(), ApiError> {
        if let Peer::Unix { .. } = peer {
            return Ok(());
        }
        self.check_host(request)?;
        self.check_site(request.headers())
    }

    /// The origin of a page that may call and may read the answer.
    pub(crate) fn listed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        self.lists(origin).then(|| origin.clone())
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.origins.contains(&origin.to_lowercase()))
    }

    fn check_host<B>(&self, request: &Request<B>) -> Result<(), ApiError> {
        let mut named = request.headers().get_all(HOST).iter();
        let (host, more) = (named.next(), named.next());
        // A request line may name the host as well; both must be ours.
        let authority = request.uri().authority().map(|authority| authority.as_str());
        let header = host.and_then(|host| host.to_str().ok());
        let known = header.is_some_and(|host| self.knows(host)) && authority.is_none_or(|host| self.knows(host));
        if known && more.is_none() {
            return Ok(());
        }
        let shown: String = header.unwrap_or("none").chars().take(100).collect();
        Err(ApiError::misdirected(format!(
            "the host `{shown}` is not this server: address it as `localhost`, or add the name to `hosts`"
        )))
    }

    fn knows(&self, host: &str) -> bool {
        let name = without_port(host).trim_end_matches('.').to_lowercase();
        self.hosts.contains(&name)
    }

    fn check_site(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        for origin in headers.get_all(ORIGIN) {
            if !self.lists(origin) {
                return Err(ApiError::cross_site("a web page of another origin may not call this server"));
            }
        }
        // A page of a listed origin is cross-site by nature; its origin has been checked above.
        if headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let foreign =
            headers.get_all(SEC_FETCH_SITE).iter().any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
        if foreign {
            return Err(ApiError::cross_site("a web page of another site may not call this server"));
        }
        Ok(())
    }
}

/// The host without its port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| match &host[end + 1..] {
            "" => host,
            rest if rest.starts_with(':') => &host[..=end],
            _ => "",
        });
    }
    match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => "",
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gate() -> Gate {
        Gate::new(&["Till-7.shop.example".to_owned()], &["https://console.example".to_owned()])
    }

    fn tcp() -> Peer {
        Peer::Tcp { address: ([127, 0, 0, 1], 1).into(), tls: false, certificate: None }
    }

    fn status(headers: &[(&str, &str)]) -> u16 {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        gate().check(&tcp(), &request.body(()).unwrap()).map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_rebound_name_is_answered_421() {
        for host in ["localhost", "localhost:8780", "127.0.0.1:1", "[::1]:8780", "TILL-7.shop.example", "localhost."] {
            assert_eq!(status(&[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "",
            "[::1]x",
            "localhost:x",
            "[::1",
            "127.0.0.2",
        ] {
            assert_eq!(status(&[("host", host)]), 421, "{host}");
        }
        assert_eq!(status(&[]), 421);
        assert_eq!(status(&[("host", "localhost"), ("host", "evil.example")]), 421);
    }

    #[test]
    fn a_page_of_another_site_is_answered_403() {
        let call = |name, value| status(&[("host", "localhost"), (name, value)]);
        assert_eq!(call("origin", "https://evil.example"), 403);
        assert_eq!(call("origin", "null"), 403);
        assert_eq!(call("origin", "http://localhost:3000"), 403);
        assert_eq!(call("origin", "https://console.example"), 200);
        assert_eq!(call("sec-fetch-site", "cross-site"), 403);
        assert_eq!(call("sec-fetch-site", "same-site"), 403);
        assert_eq!(call("sec-fetch-site", "none"), 200);
        // A browser opens a WebSocket to anywhere without asking first; only the origin tells.
        let socket = |origin| {
            status(&[("host", "localhost"), ("connection", "upgrade"), ("upgrade", "websocket"), ("origin", origin)])
        };
        assert_eq!((socket("http://localhost:3000"), socket("null")), (403, 403));
    }

    proptest! {
        #[test]
        fn any_host_is_known_or_not_without_panic(host in "\\PC{0,60}") {
            gate().knows(&host);
        }
    }
}
