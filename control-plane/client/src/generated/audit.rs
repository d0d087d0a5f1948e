//! `audit`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListAuditLogs {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListIncidents {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchRecords {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchRecordsAnswer {
    pub entries: Vec<Map<String, Value>>,
    pub looked: u64,
    pub next: Option<String>,
    pub not_looked: Vec<String>,
}

impl Client {
    /// How complete the devices' logs are, by name.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_audit_logs(&self, query: &ListAuditLogs, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "audit"], query)?, options).await
    }

    /// How complete one device's logs are.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn device_logs(&self, device: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "audit", "devices", device], &())?, options).await
    }

    /// What was found against a device's logs.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_incidents(&self, device: &str, query: &ListIncidents, options: &Options) -> Result<Answer<Page<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "audit", "devices", device, "incidents"], query)?, options).await
    }

    /// One finding, with its evidence.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn incident(&self, device: &str, number: &str, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "audit", "devices", device, "incidents", number], &())?, options).await
    }

    /// One file of the evidence.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn incident_file(&self, device: &str, number: &str, file: &str, options: &Options) -> Result<Answer<Value>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "audit", "devices", device, "incidents", number, file], &())?, options).await
    }

    /// Records of all devices; reading is recorded.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn search_records(&self, query: &SearchRecords, options: &Options) -> Result<Answer<SearchRecordsAnswer>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "audit", "search"], query)?, options).await
    }
}
