//! `devices`, as the description has it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListDevices {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#where: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    pub minimum_context_tokens: u64,
    pub model: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceSummary {
    pub agent: String,
    pub assignment: Option<Given>,
    pub audit_key: String,
    pub desired_version: u64,
    pub device: String,
    pub enrolled_s: i64,
    pub online: bool,
    pub reported: Option<Map<String, Value>>,
    pub revoked_s: Option<i64>,
    pub seen_s: Option<i64>,
    pub site: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stick_s: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assigned {
    pub assignment: Option<Given>,
    pub desired_version: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    pub minimum_context_tokens: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListCommands {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandRecordAnswer {
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRecord {
    pub answer: Option<CommandRecordAnswer>,
    pub answered_s: Option<i64>,
    pub asked_by: String,
    pub device: String,
    pub id: String,
    pub issued_s: i64,
    pub not_after_s: i64,
    pub op: Value,
    pub state: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    pub op: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandDeviceAnswer {
    pub id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceEvent {
    pub at_s: i64,
    pub kind: String,
    pub received_s: i64,
    pub text: String,
}

pub type LabelChange = BTreeMap<String, Option<String>>;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RevokeDeviceAnswer {
    pub revoked: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AtSite {
    pub device: String,
    pub site: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    pub site: Option<String>,
}

impl Client {
    /// Devices by name, with what they reported.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_devices(&self, query: &ListDevices, options: &Options) -> Result<Answer<Page<DeviceSummary>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices"], query)?, options).await
    }

    /// One device, with what it reported.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_device(&self, device: &str, options: &Options) -> Result<Answer<DeviceSummary>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices", device], &())?, options).await
    }

    /// What a device should run.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_assignment(&self, device: &str, options: &Options) -> Result<Answer<Assigned>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices", device, "assignment"], &())?, options).await
    }

    /// Says what a device should run, and signs it.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn assign(&self, device: &str, body: &Assignment, options: &Options) -> Result<Answer<Assigned>, ClientError> {
        self.send(self.request(Method::PUT, &["v1", "devices", device, "assignment"], &())?.json(body), options).await
    }

    /// Commands to a device, newest first.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_commands(&self, device: &str, query: &ListCommands, options: &Options) -> Result<Answer<Page<CommandRecord>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices", device, "commands"], query)?, options).await
    }

    /// Tells a device to do something, once.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn command_device(&self, device: &str, body: &Wish, options: &Options) -> Result<Answer<CommandDeviceAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "devices", device, "commands"], &())?.json(body), options).await
    }

    /// One command, with its newest answer.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_command(&self, device: &str, id: &str, options: &Options) -> Result<Answer<CommandRecord>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices", device, "commands", id], &())?, options).await
    }

    /// What happened on a device, newest first; one page.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_events(&self, device: &str, options: &Options) -> Result<Answer<Page<DeviceEvent>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices", device, "events"], &())?, options).await
    }

    /// The labels of a device.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_labels(&self, device: &str, options: &Options) -> Result<Answer<BTreeMap<String, String>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices", device, "labels"], &())?, options).await
    }

    /// Sets labels, and removes those that are null.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn set_labels(&self, device: &str, body: &LabelChange, options: &Options) -> Result<Answer<BTreeMap<String, String>>, ClientError> {
        self.send(self.request(Method::PATCH, &["v1", "devices", device, "labels"], &())?.json(body), options).await
    }

    /// Lets a device in no longer.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn revoke_device(&self, device: &str, options: &Options) -> Result<Answer<RevokeDeviceAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "devices", device, "revoke"], &())?, options).await
    }

    /// Where a device is.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_site(&self, device: &str, options: &Options) -> Result<Answer<AtSite>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "devices", device, "site"], &())?, options).await
    }

    /// Says where a device is; null is nowhere.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn set_site(&self, device: &str, body: &Site, options: &Options) -> Result<Answer<AtSite>, ClientError> {
        self.send(self.request(Method::PUT, &["v1", "devices", device, "site"], &())?.json(body), options).await
    }
}
