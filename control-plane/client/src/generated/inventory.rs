//! `inventory`, as the description has it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Given, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListInventory {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#where: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceViewBuildRolledBack {
    pub reason: String,
    pub sha256: String,
    pub version: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceViewBuild {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<DeviceViewBuildRolledBack>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    pub source: String,
    pub target: String,
    pub trial: bool,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceViewCertificate {
    pub days_left: Option<i64>,
    pub not_after_s: Option<i64>,
    pub state: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceViewClock {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_s: Option<i64>,
    pub state: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    pub code: String,
    pub detail: String,
    pub subject: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceViewDrift {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<Cause>>,
    pub state: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceViewMachine {
    pub available_bytes: u64,
    pub cores: u64,
    pub cpu: String,
    pub disk_bytes: u64,
    pub measured_at_s: i64,
    pub memory_bytes: u64,
    pub memory_bytes_per_second: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceViewRuns {
    pub context_tokens: u64,
    pub model: String,
    pub target: String,
    pub tokens_per_second_milli: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    pub agent: String,
    pub answered: u64,
    pub applied_version: u64,
    pub assignment: Option<Given>,
    pub audit_key: String,
    pub audit_records: u64,
    pub backlog: u64,
    pub build: Option<DeviceViewBuild>,
    pub certificate: DeviceViewCertificate,
    pub clock: DeviceViewClock,
    pub dead_letters: u64,
    pub desired_version: u64,
    pub device: String,
    pub drift: DeviceViewDrift,
    pub enrolled_s: i64,
    pub groups: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub last_error: Option<String>,
    pub machine: Option<DeviceViewMachine>,
    pub next_retry: Option<String>,
    pub online: bool,
    pub plan: Vec<String>,
    pub policy_version: u64,
    pub reasons: Vec<Cause>,
    pub refused: u64,
    pub runs: Option<DeviceViewRuns>,
    pub seen_s: Option<i64>,
    pub site: Option<String>,
    pub stick_s: Option<i64>,
    pub transfer: Option<String>,
    pub words: String,
}

impl Client {
    /// Devices by name, whole: drift, certificate, clock, machine.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_inventory(&self, query: &ListInventory, options: &Options) -> Result<Answer<Page<DeviceView>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "inventory"], query)?, options).await
    }

    /// One device, whole.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_inventory(&self, device: &str, options: &Options) -> Result<Answer<DeviceView>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "inventory", device], &())?, options).await
    }
}
