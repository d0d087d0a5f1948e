//! Gives `tough` the files of a bundle from memory: no path is made from anything that came from outside.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use super::{BundlePath, CatalogueBundle};

/// A bundle as a place to fetch from. Its only failure is "not there", so `tough` can never take a failed fetch of a
/// newer root for an absent one.
#[derive(Debug, Clone)]
pub(super) struct BundleTransport(pub(super) Arc<CatalogueBundle>);

impl BundleTransport {
    /// Where metadata and targets seem to be.
    pub(super) fn addresses() -> (Url, Url) {
        let parse = |text| Url::parse(text).expect("a constant that a test reads");
        (parse("bundle:///metadata/"), parse("bundle:///targets/"))
    }
}

#[async_trait::async_trait]
impl Transport for BundleTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path = url.path().trim_start_matches('/').parse::<BundlePath>().ok();
        match path.and_then(|path| self.0.file(&path)) {
            Some(bytes) => Ok(Box::pin(stream::iter([Ok(Bytes::copy_from_slice(bytes))]))),
            None => Err(TransportError::new(TransportErrorKind::FileNotFound, url)),
        }
    }
}
