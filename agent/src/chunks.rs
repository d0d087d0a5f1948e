//! Chunks from the control plane, in the shape that the store asks for.

use std::sync::Arc;

use async_trait::async_trait;
use outpost_contract::Chunk;
use outpost_store::{Deliver, Source, SourceError};
use outpost_sync::{MqttChunks, TransferError};

/// The control plane over MQTT, as a source of chunks.
#[derive(Debug, Clone)]
pub(crate) struct FleetChunks(pub(crate) Arc<MqttChunks>);

#[async_trait]
impl Source for FleetChunks {
    fn name(&self) -> String {
        "the control plane over MQTT".into()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch(wanted, deliver).await.map_err(|error| match error {
            TransferError::Closed => SourceError::Closed,
            TransferError::Refused { detail, retry_after_s, .. } => {
                SourceError::Refused { origin: self.name(), detail, retry_after_s: Some(retry_after_s) }
            }
            other => SourceError::Unavailable { origin: self.name(), detail: other.to_string() },
        })
    }
}

/// No source at all: what is in the store is all there is.
#[derive(Debug)]
pub(crate) struct Nowhere;

#[async_trait]
impl Source for Nowhere {
    fn name(&self) -> String {
        "this device's store".into()
    }

    async fn fetch(&self, wanted: &[Chunk], _deliver: Deliver) -> Result<(), SourceError> {
        Err(SourceError::Missing { origin: self.name(), missing: wanted.len() })
    }
}
