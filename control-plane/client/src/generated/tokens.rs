//! `tokens`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options};

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
