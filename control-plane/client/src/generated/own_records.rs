//! `own_records`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListOwnRecords {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnRecord {
    pub index: u64,
    pub leaf: Map<String, Value>,
}

impl Client {
    /// The control plane's own log, oldest first; reading is recorded.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_own_records(&self, query: &ListOwnRecords, options: &Options) -> Result<Answer<Page<OwnRecord>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "own-records"], query)?, options).await
    }
}
