//! Answers, whole and as they come, each within a time after which the test is stuck.

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use serde_json::Value;

use super::PATIENCE;

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub(super) async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect()).await.expect("the body ends").unwrap().to_bytes();
        Self { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The error's code, after checking that it has the shape that every error has.
    pub fn code(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        assert_eq!(self.header("x-request-id").len(), 26);
        if let Some(message) = error.as_str() {
            assert!(message.len() > 10, "{json}");
            return json["code"].as_str().unwrap().to_owned();
        }
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
        assert!(error["type"].is_string() && (json["type"] == "error" || error.get("param").is_some()), "{json}");
        error["code"].as_str().unwrap().to_owned()
    }

    pub fn message(&self) -> String {
        let error = &self.json()["error"];
        error.as_str().or_else(|| error["message"].as_str()).unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An answer that is still coming.
pub struct Open {
    pub response: Response<Incoming>,
}

impl Open {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.response.body_mut().frame()).await.expect("more comes")?;
            if let Ok(data) = frame.ok()?.into_data() {
                return Some(String::from_utf8(data.to_vec()).unwrap());
            }
        }
    }

    /// Reads until something contains `text`; what was read.
    pub async fn until(&mut self, text: &str) -> String {
        let mut read = String::new();
        while !read.contains(text) {
            read.push_str(&self.next().await.unwrap_or_else(|| panic!("`{text}` never came: {read}")));
        }
        read
    }
}
