//! Asking a hub: redirects followed one by one, the token sent to the hub alone, every answer limited.

use std::sync::Arc;

use outpost_disk::Clock;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION, RANGE, USER_AGENT};
use reqwest::{Response, StatusCode};
use url::Url;

use super::access::HubAccess;
use super::listing::Listing;
use super::{HubError, HubReference};
use crate::outgoing::{Reach, is_this_machine, public_tls};
use crate::patience::{Patience, asked};

/// Largest listing of a repository.
const LISTING_BYTES: usize = 16 * 1024 * 1024;

/// A hub sends on to its store at most so often.
const MOST_REDIRECTS: usize = 5;

/// A hub, asked over one client for itself and one for whatever it sends on to.
pub(crate) struct Client {
    access: HubAccess,
    of_hub: reqwest::Client,
    of_store: reqwest::Client,
    /// Where the hub may send on to, which is its word alone; none if the hub is inside of this network itself.
    reach: Option<Arc<Reach>>,
}

impl Client {
    pub(super) fn new(access: HubAccess) -> Result<Self, HubError> {
        let failed = |detail: String| HubError::Access(format!("cannot set up a client: {detail}"));
        let builder = || -> Result<reqwest::ClientBuilder, HubError> {
            let redirects = reqwest::redirect::Policy::none();
            let tls = public_tls().map_err(failed)?;
            let client = reqwest::Client::builder().tls_backend_preconfigured(tls).redirect(redirects);
            let client = client.connect_timeout(access.patience.connect).read_timeout(access.patience.silence);
            // Between this machine and itself nobody stands, and a token would go to whoever did in the clear.
            Ok(if is_this_machine(&access.endpoint) { client.no_proxy() } else { client })
        };
        let built = |builder: reqwest::ClientBuilder| builder.build().map_err(|error| failed(error.to_string()));
        let of_hub = built(builder()?)?;
        let reach = Some(Reach::public()).filter(|reach| reach.admit(&access.endpoint).is_ok()).map(Arc::new);
        let of_store = match &reach {
            Some(reach) => built(builder()?.dns_resolver(Arc::clone(reach).resolver()))?,
            None => built(builder()?)?,
        };
        Ok(Self { access, of_hub, of_store, reach })
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
        let what = reference.to_string();
        let mut failed = 0;
        loop {
            let error = match self.whole(&url, &what).await {
                Ok(bytes) => return Listing::parse(&bytes),
                Err(error) => error,
            };
            failed += 1;
            self.wait(failed, error).await?;
        }
    }

    /// The whole of a short answer, within the time in which something must have arrived.
    async fn whole(&self, url: &Url, what: &str) -> Result<Vec<u8>, HubError> {
        let host = self.host();
        let reading = async {
            let mut answer = self.ask(url.clone(), None, what).await?;
            let mut bytes = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(|error| unreachable(&host, error))? {
                if bytes.len() + piece.len() > LISTING_BYTES {
                    return Err(HubError::Listing(format!("it has more than {LISTING_BYTES} bytes")));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        };
        match tokio::time::timeout(self.access.patience.silence, reading).await {
            Ok(read) => read,
            Err(_) => Err(HubError::Unreachable { host, detail: "its answer did not end in time".to_owned() }),
        }
    }

    /// A file at a commit, from a byte on, and up to another if not to the end.
    pub(super) async fn file(
        &self,
        reference: &HubReference,
        commit: &str,
        path: &str,
        (from, to): (u64, Option<u64>),
    ) -> Result<Response, HubError> {
        let mut parts = vec![reference.owner.as_str(), reference.repository.as_str(), "resolve", commit];
        parts.extend(path.split('/'));
        let url = self.address(&parts)?;
        let range = match to {
            Some(to) => Some(format!("bytes={from}-{}", to.saturating_sub(1))),
            None => Some(format!("bytes={from}-")).filter(|_| from > 0),
        };
        let mut failed = 0;
        loop {
            let error = match self.ask(url.clone(), range.as_deref(), &format!("`{path}`")).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failed += 1;
            self.wait(failed, error).await?;
        }
    }

    /// Waits until what failed may be tried again.
    ///
    /// # Errors
    /// What failed, if that is of no use, was tried often enough, or the hub asks for more patience than there is.
    pub(super) async fn wait(&self, failed: u32, error: HubError) -> Result<(), HubError> {
        let patience = &self.access.patience;
        let Some(wait) = error.may_pass().then(|| patience.wait(failed, error.asked())).flatten() else {
            return Err(error);
        };
        tracing::info!(%error, failed, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "the hub is asked again");
        tokio::time::sleep(wait).await;
        Ok(())
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.access.patience
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

    /// Asks once, and follows where the hub sends on to.
    async fn ask(&self, mut url: Url, range: Option<&str>, what: &str) -> Result<Response, HubError> {
        for _ in 0..=MOST_REDIRECTS {
            let is_hub = same_origin(&url, &self.access.endpoint);
            let client = if is_hub { &self.of_hub } else { &self.of_store };
            let mut request = client.get(url.clone());
            request = request.header(USER_AGENT, concat!("outpost/", env!("CARGO_PKG_VERSION")));
            if let Some(range) = range {
                request = request.header(RANGE, range);
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
            if status == StatusCode::OK || (status == StatusCode::PARTIAL_CONTENT && range.is_some()) {
                return Ok(answer);
            }
            return Err(self.refused(host, &answer, what));
        }
        Err(HubError::Redirect(format!("more than {MOST_REDIRECTS} places, one after the other")))
    }

    /// What an answer that gives nothing means, and the way out.
    fn refused(&self, host: String, answer: &Response, what: &str) -> HubError {
        let (status, headers) = (answer.status(), answer.headers());
        let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let has_token = self.access.token.is_some();
        let hint = match (code, status) {
            ("GatedRepo", _) if has_token => {
                "; its terms are not accepted by this token's owner: accept them on the model's page, or use another token"
            }
            ("GatedRepo", _) => {
                "; it is gated: accept its terms on the model's page, then set `HF_TOKEN`, or write the token file"
            }
            ("RepoNotFound", _) if has_token => "; there is no such repository, or the token does not open it",
            ("RepoNotFound", _) => {
                "; there is no such repository, or it is private: set `HF_TOKEN`, or write the token file"
            }
            ("RevisionNotFound", _) => "; the repository has no such revision: leave out `@…`, or name another",
            ("EntryNotFound", _) => "; the commit has no such file",
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if has_token => {
                "; the token does not open it: accept its terms on its page, or use another token"
            }
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => "; set `HF_TOKEN`, or write the token file",
            (_, StatusCode::NOT_FOUND) => "; is the name right, and the revision?",
            (_, StatusCode::TOO_MANY_REQUESTS) => "; it was asked too often: try again later",
            (_, status) if status.is_server_error() => "; the fault is there: try again later",
            _ => "",
        };
        let asked = asked(headers, Clock::system().now_s());
        HubError::Refused { host, status: status.as_u16(), what: what.to_owned(), hint, asked }
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
        if self.reach.as_ref().is_some_and(|reach| reach.admit(&url).is_err()) {
            return Err(HubError::Redirect(format!("{}, which is not a public address", shown())));
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_store_is_looked_at_when_its_name_is_resolved_unless_the_hub_is_inside() {
        let client = |hub: &str| Client::new(HubAccess::new(hub, None).unwrap()).unwrap();
        let ask = |client: Client| async move {
            let refused = client.of_store.get("https://localhost:1/x").send().await.unwrap_err();
            unreachable("localhost", refused).to_string()
        };
        let refused = ask(client("https://hub.example.org")).await;
        assert!(refused.contains("`localhost` is at") && refused.contains("not a public address"), "{refused}");
        for inside in ["https://10.0.0.1", "https://[fd00::1]", "http://localhost:9"] {
            let refused = ask(client(inside)).await;
            assert!(!refused.contains("not a public address"), "{inside}: {refused}");
        }
    }
}
