//! `tokens`, as the description has it.

#[allow(unused_imports, reason = "not every area needs them all")]
use std::collections::BTreeMap;

#[allow(unused_imports, reason = "the same")]
use reqwest::Method;
#[allow(unused_imports, reason = "the same")]
use serde::{Deserialize, Serialize};
#[allow(unused_imports, reason = "the same")]
use serde_json::{Map, Value};

#[allow(unused_imports, reason = "the same")]
use crate::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WantedToken {
    pub roles: Vec<String>,
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IssueTokenAnswer {
    pub token: String,
}

impl Client {
    /// A token with which somebody asks devices; shown this once.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn issue_token(&self, body: &WantedToken, options: &Options) -> Result<Answer<IssueTokenAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "tokens"], &())?.json(body), options).await
    }
}
