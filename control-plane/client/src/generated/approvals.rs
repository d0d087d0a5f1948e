//! `approvals`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListModelApprovals {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RevokeModelApprovalAnswer {
    pub revoked: bool,
}

impl Client {
    /// Approvals of models, oldest first.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_model_approvals(&self, query: &ListModelApprovals, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "approvals", "models"], query)?, options).await
    }

    /// Takes an approval back.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn revoke_model_approval(&self, id: &str, options: &Options) -> Result<Answer<RevokeModelApprovalAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "approvals", "models", id], &())?, options).await
    }
}
