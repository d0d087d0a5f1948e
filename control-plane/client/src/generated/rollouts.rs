//! `rollouts`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListRollouts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_percent: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#for: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_context_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_percent: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waves: Option<Vec<Map<String, Value>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<Map<String, Value>>>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutEnd {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_back: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutApproval {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListRolloutDevices {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Client {
    /// Rollouts by name.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_rollouts(&self, query: &ListRollouts, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "rollouts"], query)?, options).await
    }

    /// Starts a rollout: waves, gates, windows, what a failure does.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn start_rollout(&self, body: &RolloutRequest, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "rollouts"], &())?.json(body), options).await
    }

    /// One rollout, with its waves.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_rollout(&self, rollout: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "rollouts", rollout], &())?, options).await
    }

    /// Ends it, and gives back what devices had unless told otherwise.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn abort_rollout(&self, rollout: &str, body: &RolloutEnd, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "rollouts", rollout, "abort"], &())?.json(body), options).await
    }

    /// Agrees to a wave that somebody else started.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn approve_rollout(&self, rollout: &str, body: &RolloutApproval, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "rollouts", rollout, "approve"], &())?.json(body), options).await
    }

    /// Devices of a rollout by name, and how each stands.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_rollout_devices(&self, rollout: &str, query: &ListRolloutDevices, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "rollouts", rollout, "devices"], query)?, options).await
    }

    /// Orders no more devices for now.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn pause_rollout(&self, rollout: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "rollouts", rollout, "pause"], &())?, options).await
    }

    /// Goes on.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn resume_rollout(&self, rollout: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "rollouts", rollout, "resume"], &())?, options).await
    }

    /// Orders the devices that failed once more.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn retry_rollout(&self, rollout: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "rollouts", rollout, "retry"], &())?, options).await
    }
}
