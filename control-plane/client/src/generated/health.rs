//! `health`, as the description has it.

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
