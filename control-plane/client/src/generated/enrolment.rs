//! `enrolment`, as the description has it.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use crate::{Answer, Client, ClientError, Options, Page};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListCodes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenCode {
    pub created_s: i64,
    pub device: String,
    pub expires_s: i64,
    pub id: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CodeList {
    pub list: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceCode {
    pub code: String,
    pub device: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateCodesAnswer {
    pub entries: Vec<DeviceCode>,
    pub valid_s: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WithdrawCodeAnswer {
    pub withdrawn: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListKeys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AllowedKey {
    pub created_s: i64,
    pub device: String,
    pub fingerprint: String,
    pub used_s: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyList {
    pub list: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AllowKeysAnswerEntries {
    pub device: String,
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AllowKeysAnswer {
    pub entries: Vec<AllowKeysAnswerEntries>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ForbidKeyAnswer {
    pub device: String,
    pub forbidden: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListRequests {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnrolmentRequest {
    pub address: String,
    pub agent: String,
    pub fingerprint: String,
    pub first_s: i64,
    pub rejected_s: Option<i64>,
    pub seen_s: i64,
    pub wished_name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    pub device: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AcceptRequestAnswer {
    pub accepted: String,
    pub device: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RejectRequestAnswer {
    pub rejected: String,
}

impl Client {
    /// Codes that nobody has used.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_codes(&self, query: &ListCodes, options: &Options) -> Result<Answer<Page<OpenCode>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "enrolment", "codes"], query)?, options).await
    }

    /// Codes for a list of devices, all or none.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn create_codes(&self, body: &CodeList, options: &Options) -> Result<Answer<CreateCodesAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "enrolment", "codes"], &())?.json(body), options).await
    }

    /// Takes a code back that nobody has used.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn withdraw_code(&self, id: &str, options: &Options) -> Result<Answer<WithdrawCodeAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "enrolment", "codes", id], &())?, options).await
    }

    /// Keys that may enrol without a code.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_keys(&self, query: &ListKeys, options: &Options) -> Result<Answer<Page<AllowedKey>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "enrolment", "keys"], query)?, options).await
    }

    /// Allows a list of keys, each as one device; all or none.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn allow_keys(&self, body: &KeyList, options: &Options) -> Result<Answer<AllowKeysAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "enrolment", "keys"], &())?.json(body), options).await
    }

    /// Allows a key no longer.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn forbid_key(&self, fingerprint: &str, options: &Options) -> Result<Answer<ForbidKeyAnswer>, ClientError> {
        self.send(self.request(Method::DELETE, &["v1", "enrolment", "keys", fingerprint], &())?, options).await
    }

    /// Devices that ask to be let in.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn list_requests(&self, query: &ListRequests, options: &Options) -> Result<Answer<Page<EnrolmentRequest>>, ClientError> {
        self.send(self.request(Method::GET, &["v1", "enrolment", "requests"], query)?, options).await
    }

    /// Lets a device in under a name.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn accept_request(&self, fingerprint: &str, body: &Accepted, options: &Options) -> Result<Answer<AcceptRequestAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "enrolment", "requests", fingerprint, "accept"], &())?.json(body), options).await
    }

    /// Says no to a device.
    ///
    /// # Errors
    /// If the control plane refuses or cannot be asked.
    pub async fn reject_request(&self, fingerprint: &str, options: &Options) -> Result<Answer<RejectRequestAnswer>, ClientError> {
        self.send(self.request(Method::POST, &["v1", "enrolment", "requests", fingerprint, "reject"], &())?, options).await
    }
}
