//! `catalogue`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListCatalogue {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub facts: Map<String, Value>,
    pub length: u64,
    pub name: String,
    pub sha256: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompareModels {
    pub a: String,
    pub b: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub c: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListCatalogueModels {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#where: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Client {
    /// What the newest catalogue holds.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_catalogue(&self, query: &ListCatalogue, options: &Options) -> Result<Answer<Page<Target>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "catalogue"], query)?, options).await
    }

    /// Variants side by side.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn compare_models(&self, query: &CompareModels, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "catalogue", "compare"], query)?, options).await
    }

    /// Variants in the catalogue that a filter lets through.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_catalogue_models(&self, query: &ListCatalogueModels, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "catalogue", "models"], query)?, options).await
    }
}
