//! An S3-compatible store that several servers share: every blob lies there under its BLAKE3, and is checked against it when it comes
//! back. What a server has used lies in its own directory, too.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::{Certificate, ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use outpost_contract::Blake3;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use super::BlobError;
use crate::config::BlobSettings;
use crate::files::{self, failed};

/// How long a store that does not answer is tried again.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long one request may take; a large file comes by one.
const REQUEST: Duration = Duration::from_secs(60 * 60);

/// Bytes that are read from the disk at once.
const BLOCK_BYTES: usize = 1024 * 1024;

/// The store.
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    /// Before every name.
    prefix: String,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
    /// One file comes at a time: a second caller for it finds it here.
    fetching: Mutex<()>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bucket").field("store", &self.store.to_string()).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Access keys come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and so on).
    pub(super) fn open(settings: &BlobSettings) -> Result<Self, BlobError> {
        let mut options = ClientOptions::new().with_timeout(REQUEST).with_allow_http(settings.is_plain());
        if let Some(path) = &settings.authority {
            let pem = files::read(path, 64 * 1024)?;
            options = options.with_root_certificate(Certificate::from_pem(&pem).map_err(store)?);
        }
        let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&settings.bucket).with_retry(retry);
        builder = builder.with_client_options(options);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("outpost-objects")
            .enable_all()
            .build()
            .map_err(store)?;
        let prefix = settings.prefix.clone().unwrap_or_default();
        let store = Arc::new(builder.build().map_err(store)?);
        Ok(Self { store, prefix, runtime: Some(runtime), fetching: Mutex::default() })
    }

    /// Puts a file there. Once this returns, every server can have it.
    pub(super) fn put(&self, blob: &Blake3, path: &Path) -> Result<(), BlobError> {
        let mut file = File::open(path).map_err(failed("open", path))?;
        let (at, objects, path) = (self.at(blob), Arc::clone(&self.store), path.to_owned());
        self.run(async move {
            // Large files go in parts.
            let mut upload = object_store::buffered::BufWriter::new(objects, at);
            let mut block = vec![0; BLOCK_BYTES];
            loop {
                let read = file.read(&mut block).map_err(failed("read", &path))?;
                if read == 0 {
                    return upload.shutdown().await.map_err(store);
                }
                upload.write_all(&block[..read]).await.map_err(store)?;
            }
        })
    }

    /// How long a blob is; `None` if it is not there.
    pub(super) fn bytes(&self, blob: &Blake3) -> Result<Option<u64>, BlobError> {
        let (at, objects) = (self.at(blob), Arc::clone(&self.store));
        found(self.run(async move { objects.head(&at).await })).map(|meta| meta.map(|meta| meta.size))
    }

    /// A part of a blob; `None` if it is not there.
    pub(super) fn part(&self, blob: &Blake3, start: u64, bytes: u32) -> Result<Option<Bytes>, BlobError> {
        let (at, objects) = (self.at(blob), Arc::clone(&self.store));
        found(self.run(async move { objects.get_range(&at, start..start + u64::from(bytes)).await }))
    }

    /// Brings a whole blob to a path; false if it is not there. What is not as its name says does not come.
    pub(super) fn fetch(&self, blob: &Blake3, to: &Path) -> Result<bool, BlobError> {
        let _one = self.fetching.lock();
        if to.exists() {
            return Ok(true);
        }
        let beside = to.with_extension("part");
        let (at, objects, blob, path) = (self.at(blob), Arc::clone(&self.store), *blob, beside.clone());
        let came = self.run(async move { download(objects, at, blob, &path).await });
        match came {
            Ok(true) => files::rename(&beside, to).map(|()| true).map_err(BlobError::from),
            other => {
                fs::remove_file(&beside).ok();
                other
            }
        }
    }

    fn at(&self, blob: &Blake3) -> object_store::path::Path {
        object_store::path::Path::from(format!("{}{}", self.prefix, blob.to_hex()))
    }

    /// Waits with this thread; the work is done by another.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().expect("it is there until it is dropped");
        let (sender, answer) = mpsc::channel();
        runtime.spawn(async move { sender.send(work.await).ok() });
        answer.recv().expect("the work does not panic")
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: this may be an asynchronous thread.
            runtime.shutdown_background();
        }
    }
}

async fn download(
    objects: Arc<dyn ObjectStore>,
    at: object_store::path::Path,
    blob: Blake3,
    path: &PathBuf,
) -> Result<bool, BlobError> {
    let Some(object) = found(objects.get(&at).await)? else { return Ok(false) };
    let mut file = File::create(path).map_err(failed("create", path))?;
    let (mut hash, mut stream) = (blake3::Hasher::new(), object.into_stream());
    while let Some(block) = stream.try_next().await.map_err(store)? {
        hash.update(&block);
        file.write_all(&block).map_err(failed("write", path))?;
    }
    file.sync_all().map_err(failed("write", path))?;
    if hash.finalize().as_bytes() == &blob.0 { Ok(true) } else { Err(BlobError::Changed(blob)) }
}

fn store(error: impl std::fmt::Display) -> BlobError {
    BlobError::Store(error.to_string())
}

fn found<T>(answer: object_store::Result<T>) -> Result<Option<T>, BlobError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(store(error)),
    }
}
