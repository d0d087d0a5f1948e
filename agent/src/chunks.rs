//! Where chunks come from: the sources of a device in its configured order, in the shape that the store asks for.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use outpost_contract::{Chunk, ChunkRun};
use outpost_store::{Deliver, DirectorySource, Source, SourceError, Sources};
use outpost_sync::{HttpsChunks, MqttChunks, TransferError};

use crate::config::Origin;
use crate::neighbours::Neighbours;

/// All sources of a device of a fleet.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    pub(crate) order: Vec<Origin>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) neighbours: Arc<Neighbours>,
    pub(crate) https: Arc<HttpsChunks>,
    pub(crate) mqtt: Arc<MqttChunks>,
}

impl Origins {
    /// The sources as they stand now. Make them anew for each pull: who lied in one is asked again in the next.
    pub(crate) fn for_one_pull(&self) -> Sources {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        for origin in &self.order {
            match origin {
                Origin::Directory => {
                    let directory = self.directory.as_deref().map(DirectorySource::new);
                    sources.extend(directory.map(|directory| Arc::new(directory) as Arc<dyn Source>));
                }
                Origin::Lan => sources.extend(self.neighbours.sources()),
                Origin::Https => sources.push(Arc::new(OverHttps(Arc::clone(&self.https)))),
                Origin::Mqtt => sources.push(Arc::new(OverMqtt(Arc::clone(&self.mqtt)))),
            }
        }
        Sources::new(sources)
    }
}

/// The control plane over MQTT.
#[derive(Debug)]
struct OverMqtt(Arc<MqttChunks>);

#[async_trait]
impl Source for OverMqtt {
    fn name(&self) -> String {
        "the control plane over MQTT".into()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch(wanted, deliver).await.map_err(|error| told(self.name(), error))
    }
}

/// The control plane over HTTPS.
#[derive(Debug)]
struct OverHttps(Arc<HttpsChunks>);

#[async_trait]
impl Source for OverHttps {
    fn name(&self) -> String {
        "the control plane over HTTPS".into()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch(wanted, deliver).await.map_err(|error| told(self.name(), error))
    }

    async fn fetch_runs(&self, runs: &[ChunkRun], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch_runs(runs, deliver).await.map_err(|error| told(self.name(), error))
    }
}

/// The store's words for how a transfer ended.
pub(crate) fn told(origin: String, error: TransferError) -> SourceError {
    match error {
        TransferError::Closed => SourceError::Closed,
        TransferError::Missing { missing } => SourceError::Missing { origin, missing },
        TransferError::Refused { detail, retry_after_s, .. } => {
            SourceError::Refused { origin, detail, retry_after_s: Some(retry_after_s) }
        }
        unavailable @ TransferError::Unavailable { .. } => {
            SourceError::Unavailable { origin, detail: unavailable.to_string() }
        }
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
