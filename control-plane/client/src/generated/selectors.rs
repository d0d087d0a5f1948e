//! `selectors`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options};

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
