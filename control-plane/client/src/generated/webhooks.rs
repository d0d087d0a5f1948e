//! `webhooks`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListWebhooks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

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
pub struct ListWebhookDeliveries {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListWebhookDeliveriesAnswer {
    pub dead: Vec<Map<String, Value>>,
    pub entries: Vec<Map<String, Value>>,
    pub next: Option<String>,
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
    pub async fn list_webhooks(&self, query: &ListWebhooks, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "webhooks"], query)?, options).await
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

    /// What was sent, the newest first, and what was given up.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_webhook_deliveries(&self, name: &str, query: &ListWebhookDeliveries, options: &Options) -> Result<Answer<ListWebhookDeliveriesAnswer>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "webhooks", name, "deliveries"], query)?, options).await
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
