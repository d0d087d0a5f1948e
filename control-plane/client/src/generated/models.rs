//! `models`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListApprovalsOfModel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelApprovalRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub until_s: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#where: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RestoreModelAnswer {
    pub restored: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WithdrawalRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<u64>,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Client {
    /// Approvals of one model.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_approvals_of_model(&self, model: &str, query: &ListApprovalsOfModel, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "models", model, "approvals"], query)?, options).await
    }

    /// Approves a model until a time, for some devices or all.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn approve_model(&self, model: &str, body: &ModelApprovalRequest, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "models", model, "approvals"], &())?.json(body), options).await
    }

    /// Lets a model that was withdrawn serve again.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn restore_model(&self, model: &str, options: &Options) -> Result<Answer<RestoreModelAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "models", model, "restore"], &())?, options).await
    }

    /// Stops a model everywhere, by a deadline.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn withdraw_model(&self, model: &str, body: &WithdrawalRequest, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "models", model, "withdraw"], &())?.json(body), options).await
    }
}
