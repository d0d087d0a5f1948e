//! A file of noise that a control plane serves, a device that may fetch it, and the control plane as a source of chunks.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use outpost_contract::{Chunk, ChunkRun, GoldenPrompts, Manifest, ModelFacts, VariantFacts};
use outpost_control::{OfflineKeys, ReleaseRequest, Variant};
use outpost_disk::Clock;
use outpost_store::{Deliver, Source, SourceError, manifest};
use outpost_sync::{Enrolment, HttpsChunks, Identity, MqttChunks, TransferError, enrol};

use crate::fleet::Fleet;

/// Makes a file of `header` bytes of metadata, so to speak, and `body`, and releases it as the one variant of a model, cut
/// between the two. Makes the offline keys if there are none.
///
/// # Errors
/// If the file cannot be written or the release is refused.
pub async fn release(fleet: &Fleet, folder: &Path, header: usize, body: &[u8]) -> Result<Manifest> {
    let path = folder.join(format!("noise-{header}.gguf"));
    let mut file = std::fs::File::create(&path)?;
    file.write_all(&vec![7; header])?;
    file.write_all(body)?;
    let cuts = vec![header as u64];
    let manifest = manifest::of_file(&path, &cuts)?;
    let request = ReleaseRequest { variants: vec![variant(path, manifest.bytes, cuts)], ..ReleaseRequest::default() };
    let keys = folder.join("offline-keys");
    let released = fleet.control.run(move |fleet| -> Result<()> {
        let keys = if keys.exists() { OfflineKeys::load(&keys)? } else { fleet.create_offline_keys(&keys)? };
        fleet.release(&keys, request)?;
        Ok(())
    });
    released.await.context("the file cannot be released")?;
    Ok(manifest)
}

fn variant(path: PathBuf, bytes: u64, cuts: Vec<u64>) -> Variant {
    let model = ModelFacts {
        model: "noise".parse().expect("a model's name"),
        architecture: "llama".to_owned(),
        licence: "Apache-2.0".to_owned(),
        parameters: bytes,
        context_tokens: 512,
        layers: 2,
        embedding_length: 64,
        vocabulary: 256,
        kv_elements_per_layer: 64,
        feed_forward_length: 128,
        query_elements: 64,
    };
    let facts = VariantFacts {
        release: 0,
        model,
        quantisation: "Q8_0".to_owned(),
        file_bytes: bytes,
        weight_bytes: bytes,
        quality_milli: 8_500,
        golden: GoldenPrompts::default(),
        origin: None,
        footprint: None,
    };
    Variant { path, target: None, facts, cuts }
}

/// Enrols the device `till-1` at `url`, its identity in `dir`.
///
/// # Errors
/// If the control plane refuses.
pub async fn enrol_at(fleet: &Fleet, url: &str, dir: &Path) -> Result<Identity> {
    let device = "till-1".parse().context("a device's name")?;
    let code = fleet.control.run(move |fleet| fleet.create_code(&device, 600)).await?;
    let enrolment = Enrolment {
        server_url: url,
        code: &code,
        wished_name: "",
        authority: fleet.control.authority_pem(),
        dir,
        agent: env!("CARGO_PKG_VERSION"),
        audit_key: "till-1+00000000+AA",
    };
    Ok(enrol(&enrolment, &Clock::system()).await?)
}

/// The control plane over HTTPS.
#[derive(Debug, Clone)]
pub struct OverHttps(pub HttpsChunks);

/// The control plane over MQTT.
#[derive(Debug, Clone)]
pub struct OverMqtt(pub Arc<MqttChunks>);

#[async_trait]
impl Source for OverHttps {
    fn name(&self) -> String {
        "HTTPS".to_owned()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch(wanted, deliver).await.map_err(|error| told(self.name(), &error))
    }

    async fn fetch_runs(&self, runs: &[ChunkRun], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch_runs(runs, deliver).await.map_err(|error| told(self.name(), &error))
    }
}

#[async_trait]
impl Source for OverMqtt {
    fn name(&self) -> String {
        "MQTT".to_owned()
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        self.0.fetch(wanted, deliver).await.map_err(|error| told(self.name(), &error))
    }
}

fn told(origin: String, error: &TransferError) -> SourceError {
    SourceError::Unavailable { origin, detail: error.to_string() }
}
