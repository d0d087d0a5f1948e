//! `codes`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WantedCode {
    pub device: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Code {
    pub code: String,
    pub device: String,
    pub valid_s: i64,
}

impl Client {
    /// A one-time code for one device; shown this once.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn create_code(&self, body: &WantedCode, options: &Options) -> Result<Answer<Code>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "codes"], &())?.json(body), options).await
    }
}
