//! The digest of what was sent, for the record of the act that it asked for: whoever has the request can show that it was this one.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

tokio::task_local! {
    static SENT: Arc<Mutex<Sent>>;
}

/// What came of a request's body so far; extractors read all of it before an act begins.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    hash: Sha256,
    is_something: bool,
}

/// Looks at the body of a request that may change something, while it is read.
pub(crate) async fn digested(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let sent = Arc::new(Mutex::new(Sent::default()));
    let seen = Arc::clone(&sent);
    let request = request.map(|body| {
        Body::from_stream(body.into_data_stream().inspect_ok(move |piece| {
            let mut seen = seen.lock();
            seen.is_something |= !piece.is_empty();
            seen.hash.update(piece);
        }))
    });
    SENT.scope(sent, next.run(request)).await
}

/// What the request of this task has sent, to be taken to another thread.
pub(crate) fn current() -> Option<Arc<Mutex<Sent>>> {
    SENT.try_with(Arc::clone).ok()
}

/// Acts for the request that has sent this.
pub(crate) fn acting<T>(sent: Option<Arc<Mutex<Sent>>>, act: impl FnOnce() -> T) -> T {
    match sent {
        Some(sent) => SENT.sync_scope(sent, act),
        None => act(),
    }
}

/// SHA-256 of the body of the request that is acted for, 64 hexadecimal digits; empty if there is none.
pub(super) fn digest() -> String {
    let digest = SENT.try_with(|sent| {
        let sent = sent.lock();
        sent.is_something.then(|| hex::encode(sent.hash.clone().finalize()))
    });
    digest.ok().flatten().unwrap_or_default()
}
