//! `policies`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyFiles {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DropPolicyAnswer {
    pub dropped: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyApproval {
    pub digest: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#where: Option<String>,
}

impl Client {
    /// The bundle in force, and the drafts.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_policies(&self, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "policies"], &())?, options).await
    }

    /// One draft, with what lint and cases say.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_policy(&self, name: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "policies", name], &())?, options).await
    }

    /// Keeps a draft.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn save_policy(&self, name: &str, body: &PolicyFiles, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::PUT, &["v1", "policies", name], &())?.json(body), options).await
    }

    /// Forgets a draft.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn drop_policy(&self, name: &str, options: &Options) -> Result<Answer<DropPolicyAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "policies", name], &())?, options).await
    }

    /// Agrees to exactly this draft of somebody else.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn approve_policy(&self, name: &str, body: &PolicyApproval, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "policies", name, "approve"], &())?.json(body), options).await
    }

    /// How a draft differs from what is in force.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn diff_policy(&self, name: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "policies", name, "diff"], &())?, options).await
    }

    /// What recorded decisions would have been.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn simulate_policy(&self, name: &str, body: &Reach, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "policies", name, "simulate"], &())?.json(body), options).await
    }
}
