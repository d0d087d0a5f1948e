//! `approvals`, as the description has it.

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
pub struct RevokeModelApprovalAnswer {
    pub revoked: bool,
}

impl Client {
    /// Approvals of models.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn model_approvals(&self, options: &Options) -> Result<Answer<Vec<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "approvals", "models"], &())?, options).await
    }

    /// Takes an approval back.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn revoke_model_approval(&self, id: &str, options: &Options) -> Result<Answer<RevokeModelApprovalAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "approvals", "models", id], &())?, options).await
    }
}
