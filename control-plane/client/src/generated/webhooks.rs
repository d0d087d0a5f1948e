//! `webhooks`, as the description has it.

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
pub struct NewWebhook {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<String>>,
    pub name: String,
    pub url: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AddWebhookAnswer {
    pub name: String,
    pub secret: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoveWebhookAnswer {
    pub removed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseWebhookAnswer {
    pub paused: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetryWebhookAnswer {
    pub retried: bool,
}

impl Client {
    /// Who is sent events.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn webhooks(&self, options: &Options) -> Result<Answer<Vec<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "webhooks"], &())?, options).await
    }

    /// Sends events to an address; the secret is shown this once.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn add_webhook(&self, body: &NewWebhook, options: &Options) -> Result<Answer<AddWebhookAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "webhooks"], &())?.json(body), options).await
    }

    /// Sends no more events there.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn remove_webhook(&self, name: &str, options: &Options) -> Result<Answer<RemoveWebhookAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "webhooks", name], &())?, options).await
    }

    /// What was sent, and what waits.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn webhook_deliveries(&self, name: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "webhooks", name, "deliveries"], &())?, options).await
    }

    /// Sends nothing there until it is tried again.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn pause_webhook(&self, name: &str, options: &Options) -> Result<Answer<PauseWebhookAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "webhooks", name, "pause"], &())?, options).await
    }

    /// Tries it again at once, also if it was paused.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn retry_webhook(&self, name: &str, options: &Options) -> Result<Answer<RetryWebhookAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "webhooks", name, "retry"], &())?, options).await
    }

    /// Sends an event that says so.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn test_webhook(&self, name: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "webhooks", name, "test"], &())?, options).await
    }
}
