//! The devices around this one: whom it asks for chunks, and that it serves them what its store holds and vouches for them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use outpost_contract::limits::{CATALOGUE_BYTES, PEERS};
use outpost_contract::{Blake3, Chunk, HelloAck};
use outpost_disk::Clock;
use outpost_store::{Deliver, Source, SourceError, Store};
use outpost_sync::{
    Announcement, HttpsChunks, HttpsOptions, Identity, PeerLimits, PeerServer, PeerWitness, Revoked, Shelf, TlsError,
};
use tokio_util::sync::CancellationToken;

use crate::chunks::told;
use crate::config::Transfer;
use crate::site_witness::SiteWitness;

/// Neighbours hold models and no documents: for less than the largest document the control plane alone is asked, so that a
/// neighbour who is gone never holds up a policy.
const WORTH_ASKING_BYTES: u64 = CATALOGUE_BYTES;

/// Whom this device asks on its site, and what it knows of whom not to serve.
#[derive(Debug)]
pub(crate) struct Neighbours {
    identity: Identity,
    clock: Clock,
    /// Named in the configuration.
    fixed: Vec<SocketAddr>,
    /// What the control plane said last.
    hinted: Mutex<Vec<SocketAddr>>,
    revoked: Revoked,
}

impl Neighbours {
    pub(crate) fn new(identity: Identity, clock: Clock, fixed: Vec<SocketAddr>) -> Self {
        Self { identity, clock, fixed, hinted: Mutex::default(), revoked: Revoked::default() }
    }

    /// Takes in what an answer to a hello says. Nobody signed it: a wrong address costs an attempt, and no more.
    pub(crate) fn hear(&self, answer: &HelloAck) {
        let peers = answer.peers.iter().take(PEERS).filter_map(|address| address.parse().ok());
        *self.hinted.lock().unwrap_or_else(PoisonError::into_inner) = peers.collect();
        self.revoked.replace(answer.revoked.iter().cloned());
    }

    /// Where neighbours are, each once: those of the configuration first.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in self.fixed.iter().chain(self.hinted.lock().unwrap_or_else(PoisonError::into_inner).iter()) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }

    /// The neighbour at this address, as one who may vouch for this device's audit log.
    pub(crate) fn witness(&self, address: SocketAddr) -> Result<PeerWitness, TlsError> {
        PeerWitness::at(&self.identity, address, &self.clock)
    }

    /// Each neighbour as a source of its own, so that one who lies is set aside alone.
    pub(crate) fn sources(&self) -> Vec<Arc<dyn Source>> {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        for address in self.addresses() {
            match HttpsChunks::peer(&self.identity, address, HttpsOptions::peer(), &self.clock) {
                Ok(chunks) => sources.push(Arc::new(Peer { chunks, address })),
                Err(error) => tracing::warn!(%address, %error, "a neighbour is not asked"),
            }
        }
        sources
    }

    /// Begins to serve neighbours where the configuration says so.
    ///
    /// # Errors
    /// If the address cannot be listened on, or the identity not be used.
    pub(crate) fn serve(
        &self,
        transfer: &Transfer,
        store: Store,
        vouch: impl FnOnce() -> Result<SiteWitness>,
        stop: CancellationToken,
    ) -> Result<()> {
        let Some(address) = transfer.serve_peers else { return Ok(()) };
        let limits =
            PeerLimits { bytes_per_s: transfer.peers_mib_per_s.saturating_mul(1024 * 1024), ..PeerLimits::default() };
        let server =
            PeerServer::new(&self.identity, Arc::new(StoreShelf(store)), self.revoked.clone(), limits, &self.clock)
                .context("neighbours cannot be served with the device's identity")?
                .vouching(Arc::new(vouch()?));
        let taken = || format!("cannot listen on {address} for neighbours (`transfer.serve_peers`)");
        let listener = std::net::TcpListener::bind(address).with_context(taken)?;
        listener.set_nonblocking(true).with_context(taken)?;
        let listener = tokio::net::TcpListener::from_std(listener).with_context(taken)?;
        tokio::spawn(server.run(listener, stop));
        tracing::info!(%address, "neighbours are served");
        Ok(())
    }
}

/// What is said of this device with each hello; `None` if it stands on no site.
pub(crate) fn announcement(transfer: &Transfer) -> Option<Announcement> {
    let serves = transfer.serve_peers.map(|address| transfer.announce.unwrap_or(address));
    transfer.site.clone().map(|site| Announcement { site, serves })
}

/// A neighbour as a source of chunks.
#[derive(Debug)]
struct Peer {
    chunks: HttpsChunks,
    address: SocketAddr,
}

#[async_trait]
impl Source for Peer {
    fn name(&self) -> String {
        format!("the neighbour {}", self.address)
    }

    async fn fetch(&self, wanted: &[Chunk], deliver: Deliver) -> Result<(), SourceError> {
        let bytes: u64 = wanted.iter().map(|chunk| u64::from(chunk.bytes)).sum();
        if bytes < WORTH_ASKING_BYTES {
            return Err(SourceError::Missing { origin: self.name(), missing: wanted.len() });
        }
        self.chunks.fetch(wanted, deliver).await.map_err(|error| told(self.name(), error))
    }
}

/// The store as neighbours see it: whole files only.
struct StoreShelf(Store);

impl Shelf for StoreShelf {
    fn chunk(&self, id: &Blake3) -> std::io::Result<Option<Bytes>> {
        self.0.chunk(*id).map_err(std::io::Error::other)
    }
}
