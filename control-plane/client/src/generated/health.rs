//! `health`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthAnswer {
    pub broker: String,
    pub status: String,
    pub version: String,
}

impl Client {
    /// Whether it runs; needs no identity.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn health(&self, options: &Options) -> Result<Answer<HealthAnswer>, ClientError> {
        self.send(self.request(Method::GET, &["health"], &())?, options).await
    }
}
