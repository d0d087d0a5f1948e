//! `withdrawals`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListWithdrawals {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Client {
    /// Models that were withdrawn.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_withdrawals(&self, query: &ListWithdrawals, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "withdrawals"], query)?, options).await
    }
}
