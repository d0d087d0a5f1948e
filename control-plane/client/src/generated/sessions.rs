//! `sessions`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListSessions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub address: String,
    pub id: String,
    pub seen_s: i64,
    pub started_s: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndSessionsAnswer {
    pub ended: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EndSessionAnswer {
    pub ended: u64,
}

impl Client {
    /// The caller's own browsers that are signed in.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_sessions(&self, query: &ListSessions, options: &Options) -> Result<Answer<Page<Session>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "sessions"], query)?, options).await
    }

    /// Ends all sessions of the caller.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn end_sessions(&self, options: &Options) -> Result<Answer<EndSessionsAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "sessions"], &())?, options).await
    }

    /// Ends one session of the caller.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn end_session(&self, id: &str, options: &Options) -> Result<Answer<EndSessionAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "sessions", id], &())?, options).await
    }
}
