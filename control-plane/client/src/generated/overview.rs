//! `overview`, as the description has it.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    pub below: Option<i64>,
    pub devices: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SiteCount {
    pub devices: u64,
    pub drifting: u64,
    pub online: u64,
    pub site: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    pub agents: BTreeMap<String, u64>,
    pub certificates: Vec<Bucket>,
    pub dead_letters: u64,
    pub devices: u64,
    pub drifting: u64,
    pub is_linked: bool,
    pub models: BTreeMap<String, u64>,
    pub never_measured: u64,
    pub online: u64,
    pub other_sites: u64,
    pub reasons: BTreeMap<String, u64>,
    pub renewal_overdue: u64,
    pub revoked: u64,
    pub sites: Vec<SiteCount>,
    pub speeds: Vec<Bucket>,
    pub states: BTreeMap<String, u64>,
    pub variants: BTreeMap<String, u64>,
}

impl Client {
    /// The fleet in numbers.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn overview(&self, options: &Options) -> Result<Answer<Overview>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "overview"], &())?, options).await
    }
}
