//! `withdrawals`, as the description has it.

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

impl Client {
    /// Models that were withdrawn.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn withdrawals(&self, options: &Options) -> Result<Answer<Vec<Map<String, Value>>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "withdrawals"], &())?, options).await
    }
}
