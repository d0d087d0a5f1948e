//! Documents as the agent takes them, but for their signatures: any sealed one counts, and a bundle as it is.

use async_trait::async_trait;
use bytes::Bytes;
use outpost_policies::Permit;
use outpost_serve::{Governance, GovernanceError};
use serde_json::{Map, Value, json};

use super::Scripted;

type InForce = Result<Map<String, Value>, GovernanceError>;

#[async_trait]
impl Governance for Scripted {
    async fn apply_locks(&self, permit: Permit, document: Bytes) -> InForce {
        self.trap.pass().await;
        sealed(&read(&document)?)?;
        self.govern("apply_locks", &permit)
    }

    async fn open_override(&self, permit: Permit, document: Bytes) -> InForce {
        self.trap.pass().await;
        sealed(&read(&document)?)?;
        self.govern("open_override", &permit)
    }

    async fn close_override(&self, permit: Permit) -> InForce {
        self.trap.pass().await;
        self.govern("close_override", &permit)
    }

    async fn activate_policy(&self, permit: Permit, document: Bytes) -> InForce {
        self.trap.pass().await;
        let document = read(&document)?;
        let is_bundle = document["v"].as_u64().is_some_and(|v| v > 0) && document["version"].is_u64();
        if !is_bundle {
            sealed(&document)?;
        }
        self.govern("activate_policy", &permit)
    }

    async fn roll_back_policy(&self, permit: Permit) -> InForce {
        self.trap.pass().await;
        self.govern("roll_back_policy", &permit)
    }
}

impl Scripted {
    fn govern(&self, word: &str, permit: &Permit) -> InForce {
        self.did(format!("{word} by {}", permit.principal().id));
        Ok(Map::from_iter([("done".to_owned(), json!(word))]))
    }
}

fn read(document: &[u8]) -> Result<Value, GovernanceError> {
    serde_json::from_slice(document).map_err(|error| GovernanceError::Invalid(error.to_string()))
}

fn sealed(document: &Value) -> Result<(), GovernanceError> {
    let has = |value: &Value, names: &[&str]| {
        value.as_object().is_some_and(|fields| fields.keys().all(|name| names.contains(&name.as_str())))
    };
    let signatures = document["signatures"].as_array().filter(|signatures| (1..=8).contains(&signatures.len()));
    let is_envelope = has(document, &["payload", "payloadType", "signatures"])
        && document["payload"].is_string()
        && document["payloadType"].is_string()
        && signatures.is_some_and(|signatures| {
            signatures
                .iter()
                .all(|one| has(one, &["keyid", "sig"]) && one["keyid"].is_string() && one["sig"].is_string())
        });
    if is_envelope { Ok(()) } else { Err(GovernanceError::Invalid("not an envelope".to_owned())) }
}
