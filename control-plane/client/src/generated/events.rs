//! `events`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Events {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventsAnswer {
    pub events: Vec<Map<String, Value>>,
    pub gap: bool,
    pub next: i64,
    pub oldest: i64,
}

impl Client {
    /// What happened in the fleet, in order.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn events(&self, query: &Events, options: &Options) -> Result<Answer<EventsAnswer>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "events"], query)?, options).await
    }
}
