//! `groups`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListGroups {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WantedGroup {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoveGroupAnswer {
    pub removed: bool,
}

impl Client {
    /// Groups by name.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_groups(&self, query: &ListGroups, options: &Options) -> Result<Answer<Page<Group>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "groups"], query)?, options).await
    }

    /// Makes a group, or puts it in the place of the one of its name.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn keep_group(&self, body: &WantedGroup, options: &Options) -> Result<Answer<Group>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "groups"], &())?.json(body), options).await
    }

    /// One group.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_group(&self, group: &str, options: &Options) -> Result<Answer<Group>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "groups", group], &())?, options).await
    }

    /// Makes the group of this name, or replaces it.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn put_group(&self, group: &str, body: &WantedGroup, options: &Options) -> Result<Answer<Group>, ClientError> {
        self.send(self.request(Method::PUT, &["v1", "groups", group], &())?.json(body), options).await
    }

    /// Forgets a group that no other one is defined by.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn remove_group(&self, group: &str, options: &Options) -> Result<Answer<RemoveGroupAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "groups", group], &())?, options).await
    }
}
