//! `[transfer]`: where the bytes of models come from, in which order, and whether neighbours get them from here.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use outpost_contract::limits::SITE_BYTES;
use serde::Deserialize;

/// Neighbours that may be named in the file.
const MOST_PEERS: usize = 32;

/// Where the bytes of models come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transfer {
    /// The sources, first choice first.
    pub order: Vec<Origin>,
    /// A directory with one file per chunk, a stick's for example; needed where `order` names it.
    pub directory: Option<PathBuf>,
    /// The name of the place where this device stands; the control plane tells devices of one site of each other.
    pub site: Option<String>,
    /// Neighbours to ask beside those that the control plane tells of.
    pub peers: Vec<SocketAddr>,
    /// Where this device serves chunks to neighbours; nowhere if not said.
    pub serve_peers: Option<SocketAddr>,
    /// Where neighbours reach that, if this machine cannot tell.
    pub announce: Option<SocketAddr>,
    /// Mebibytes per second that neighbours get, all together.
    pub peers_mib_per_s: u64,
    /// Kibibytes per second below which, for ten minutes, it is told that a transfer is slow; 0 never.
    pub slow_kib_per_s: u64,
}

/// One kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The directory of the file.
    Directory,
    /// Neighbours.
    Lan,
    /// The control plane over HTTPS.
    Https,
    /// The control plane over MQTT.
    Mqtt,
}

impl Default for Transfer {
    fn default() -> Self {
        Self {
            order: vec![Origin::Lan, Origin::Https, Origin::Mqtt],
            directory: None,
            site: None,
            peers: Vec::new(),
            serve_peers: None,
            announce: None,
            peers_mib_per_s: 32,
            // They bring a GiB in 18 hours.
            slow_kib_per_s: 16,
        }
    }
}

impl Transfer {
    pub(super) fn check(&self) -> Result<()> {
        let repeats = self.order.iter().enumerate().any(|(index, origin)| self.order[..index].contains(origin));
        if self.order.is_empty() || repeats {
            bail!("`transfer.order` names each source once, and one at least: directory, lan, https, mqtt");
        }
        if self.order.contains(&Origin::Directory) && self.directory.is_none() {
            bail!("`transfer.order` names `directory`: say in `transfer.directory` which");
        }
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if let Some(site) = &self.site
            && !((1..=SITE_BYTES).contains(&site.len()) && site.bytes().all(known))
        {
            bail!("`transfer.site` is `{site}`: choose 1 to {SITE_BYTES} letters, digits, `-`, `_` and `.`");
        }
        if self.peers.len() > MOST_PEERS {
            bail!("`transfer.peers` names {} neighbours: {MOST_PEERS} at the most", self.peers.len());
        }
        if self.announce.is_some_and(|address| address.ip().is_unspecified() || address.port() == 0) {
            bail!("`transfer.announce` is no address that a neighbour can dial: give this machine's own");
        }
        if !(1..=10_000).contains(&self.peers_mib_per_s) {
            bail!("`transfer.peers_mib_per_s` is {}: choose 1 to 10000", self.peers_mib_per_s);
        }
        Ok(())
    }
}
