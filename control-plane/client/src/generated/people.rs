//! `people`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListPeople {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Person {
    pub created_s: i64,
    pub disabled_s: Option<i64>,
    pub has_password: bool,
    pub has_totp: bool,
    pub name: String,
    pub roles: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewPerson {
    pub name: String,
    pub roles: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PersonCode {
    pub code: String,
    pub name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RemovePersonAnswer {
    pub removed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PersonChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
}

impl Client {
    /// People who administer the fleet, by name.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_people(&self, query: &ListPeople, options: &Options) -> Result<Answer<Page<Person>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "people"], query)?, options).await
    }

    /// Enters a person; the code with which they set a password is shown once.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn add_person(&self, body: &NewPerson, options: &Options) -> Result<Answer<PersonCode>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "people"], &())?.json(body), options).await
    }

    /// One person.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn show_person(&self, name: &str, options: &Options) -> Result<Answer<Person>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "people", name], &())?, options).await
    }

    /// Forgets a person; what they did stays on record.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn remove_person(&self, name: &str, options: &Options) -> Result<Answer<RemovePersonAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "people", name], &())?, options).await
    }

    /// Changes roles; lets a person in no longer, or again.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn change_person(&self, name: &str, body: &PersonChange, options: &Options) -> Result<Answer<Person>, ClientError> {
        self.send(self.request(Method::PATCH, &["v1", "people", name], &())?.json(body), options).await
    }

    /// A new code to set a password with; shown this once.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn reset_person(&self, name: &str, options: &Options) -> Result<Answer<PersonCode>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "people", name, "code"], &())?, options).await
    }
}
