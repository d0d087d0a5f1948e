//! `api_tokens`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListApiTokens {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiToken {
    pub created_s: i64,
    pub expires_s: i64,
    pub name: String,
    pub revoked_s: Option<i64>,
    pub roles: Vec<String>,
    pub scope: Vec<String>,
    pub used_s: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewApiToken {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u64>,
    pub name: String,
    pub roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MadeApiToken {
    pub created_s: i64,
    pub expires_s: i64,
    pub name: String,
    pub revoked_s: Option<i64>,
    pub roles: Vec<String>,
    pub scope: Vec<String>,
    pub token: String,
    pub used_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RevokeApiTokenAnswer {
    pub revoked: bool,
}

impl Client {
    /// API tokens by name, without their secrets.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_api_tokens(&self, query: &ListApiTokens, options: &Options) -> Result<Answer<Page<ApiToken>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "api-tokens"], query)?, options).await
    }

    /// Makes an API token; its secret is shown this once.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn create_api_token(&self, body: &NewApiToken, options: &Options) -> Result<Answer<MadeApiToken>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "api-tokens"], &())?.json(body), options).await
    }

    /// One API token.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_api_token(&self, name: &str, options: &Options) -> Result<Answer<ApiToken>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "api-tokens", name], &())?, options).await
    }

    /// Lets the carrier of a token in no longer.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn revoke_api_token(&self, name: &str, options: &Options) -> Result<Answer<RevokeApiTokenAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "api-tokens", name], &())?, options).await
    }
}
