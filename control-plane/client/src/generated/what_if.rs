//! `what_if`, as the description has it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#where: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Possible {
    pub because: String,
    pub context_tokens: u64,
    pub device: String,
    pub lack: Option<Map<String, Value>>,
    pub target: Option<String>,
    pub tokens_per_second_milli: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    pub devices: Vec<Possible>,
    pub hold: u64,
    pub model: String,
    pub of: u64,
    pub summary: String,
    pub variants: BTreeMap<String, u64>,
}

impl Client {
    /// Which devices hold a model, as their own measurements say.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn what_if(&self, body: &Question, options: &Options) -> Result<Answer<WhatIf>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "what-if"], &())?.json(body), options).await
    }
}
