//! `openapi_json`, as the description has it.

use reqwest::Method;
use serde_json::{Map, Value};

use crate::{Answer, Client, ClientError, Options};

impl Client {
    /// This description.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn describe(&self, options: &Options) -> Result<Answer<Map<String, Value>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "openapi.json"], &())?, options).await
    }
}
