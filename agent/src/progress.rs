//! What the agent is doing, as it happens: for the demo's story, for tests that wait, and for the logs.

use std::net::SocketAddr;

use tokio::sync::broadcast;

/// Something happened that somebody may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The local API accepts connections; no address if it has none on TCP.
    Listening(Option<SocketAddr>),
    /// The control plane is within reach.
    Connected,
    /// The control plane is out of reach; why.
    Disconnected(String),
    /// A desired state was accepted: its version.
    Accepted(u64),
    /// Something wanted was refused: the reason's code and words.
    Refused(String),
    /// A policy bundle is in force: its version.
    Policy(u64),
    /// A plan was made: the table for people, and the target chosen.
    Planned {
        /// One line per candidate, with its reason.
        table: String,
        /// The chosen catalogue target, if any fits.
        chosen: Option<String>,
    },
    /// Bytes of a model have arrived and been checked.
    Pulling {
        /// Bytes on disk and verified.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// What one source brought while a desired state was put in force.
    Brought {
        /// The source, in words.
        source: String,
        /// Bytes of chunks.
        bytes: u64,
    },
    /// A model passed its self-test and serves.
    Serving {
        /// Model id.
        model: String,
        /// Quantisation.
        variant: String,
        /// Thousandths of a token per second in the self-test.
        tokens_per_second_milli: u64,
    },
    /// A reported state was stored by the control plane: its sequence.
    Reported(u64),
}

/// Where progress is announced; cloning gives another hand on the same announcer.
#[derive(Debug, Clone)]
pub struct Announcer(broadcast::Sender<Progress>);

impl Default for Announcer {
    fn default() -> Self {
        Self(broadcast::channel(256).0)
    }
}

impl Announcer {
    /// Announces; nobody listening is fine.
    pub fn say(&self, progress: Progress) {
        self.0.send(progress).ok();
    }

    /// Hears everything announced from now on; a slow listener loses the oldest.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Progress> {
        self.0.subscribe()
    }
}
