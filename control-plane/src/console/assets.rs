//! Style and script: part of the program, named by their digest, so that a browser may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

const STYLE: &[u8] = include_bytes!("assets/console.css");
const SCRIPT: &[u8] = include_bytes!("assets/console.js");

/// Where the style lies.
pub(crate) static STYLE_PATH: LazyLock<String> = LazyLock::new(|| path(STYLE, "css"));

/// Where the script lies.
pub(super) static SCRIPT_PATH: LazyLock<String> = LazyLock::new(|| path(SCRIPT, "js"));

fn path(bytes: &[u8], kind: &str) -> String {
    format!("/console/assets/{}.{kind}", hex::encode(&Sha256::digest(bytes)[..12]))
}

/// The one file of that name; nobody needs an identity for it, the page on which one logs in has it too.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let asked = format!("/console/assets/{name}");
    let (kind, bytes) = if asked == *STYLE_PATH {
        ("text/css; charset=utf-8", STYLE)
    } else if asked == *SCRIPT_PATH {
        ("text/javascript; charset=utf-8", SCRIPT)
    } else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, bytes).into_response()
}
