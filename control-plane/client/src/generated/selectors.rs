//! `selectors`, as the description has it.

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
pub struct PreviewSelector {
    pub r#where: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewSelectorAnswer {
    pub count: u64,
    pub first: Vec<String>,
    pub of: u64,
    pub selector: String,
}

impl Client {
    /// Whom a selector means, while it is written.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn preview_selector(&self, query: &PreviewSelector, options: &Options) -> Result<Answer<PreviewSelectorAnswer>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "selectors", "preview"], query)?, options).await
    }
}
