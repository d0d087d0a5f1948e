//! The embedded MQTT broker: TLS with client certificates, and the rules of [`Guard`] on every connection and message.
//!
//! It runs on a runtime of its own, because the library has no stop: shutting that runtime down ends every task, closes
//! every connection and gives the port back. Nothing here survives that, and nothing has to: the database is the truth
//! and the director publishes it again.

mod guard;
mod retained;
mod rules;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outpost_contract::limits::MQTT_PACKET_BYTES;
use rmqtt::context::ServerContext;
use rmqtt::hook::Type;
use rmqtt::net::Builder;
use rmqtt::server::MqttServer;
use rmqtt::types::{ClientId, Id};
use tokio::runtime::Runtime;

pub use guard::{Admission, CONTROL_PLANE, Entrant, Guard};
use retained::Retained;
pub use rules::{Dialect, Rules};

/// Added to a device's id: the client id of its second connection, the one for chunks.
pub const BULK_SUFFIX: &str = ".bulk";

/// Added to a device's id: the client id of the connection that proves a renewed certificate.
pub const PROOF_SUFFIX: &str = ".proof";

/// How long stopping may take before the remaining tasks are left behind.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// How often the port of a broker that has just stopped is tried again, and how long between.
const BIND_ATTEMPTS: u32 = 20;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// The certificate, its key and the authority of clients, as PEM files.
#[derive(Debug, Clone)]
pub struct BrokerTls {
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority whose client certificates are accepted.
    pub authority: PathBuf,
}

/// The broker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The port cannot be had.
    #[error("the MQTT broker cannot listen on {address}: {what}; is another program using the port?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        what: String,
    },
    /// Certificate or key cannot be used.
    #[error("the MQTT broker cannot use its certificates: {0}")]
    Tls(String),
    /// A thread could not be started.
    #[error("the MQTT broker cannot start its threads: {0}")]
    Runtime(#[from] std::io::Error),
}

/// A running broker. Dropping it stops it, without waiting.
pub struct Broker {
    address: SocketAddr,
    context: ServerContext,
    /// `None` only while it is being stopped.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Broker {
    /// Listens and serves. Once this returns, clients can connect.
    ///
    /// # Errors
    /// If the port is taken or the certificates cannot be used.
    pub async fn start(listen: SocketAddr, tls: &BrokerTls, guard: Guard) -> Result<Self, BrokerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("outpost-broker")
            .enable_all()
            .build()?;
        let builder = builder(listen, tls);
        // Listening happens on the broker's own runtime: a socket belongs to the runtime that made it.
        let started = runtime.spawn(run(builder, guard)).await;
        match started {
            Ok(Ok((address, context))) => Ok(Self { address, context, runtime: Some(runtime) }),
            Ok(Err(error)) => {
                runtime.shutdown_background();
                Err(error)
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(BrokerError::Tls(error.to_string()))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the session of a client, and forgets it. A client that is not there is no error. False if it may still be there.
    pub async fn kick(&self, client_id: &str) -> bool {
        let id = Id::from(self.context.node.id(), ClientId::from(client_id.to_owned()));
        let entry = self.context.extends.shared().await.entry(id);
        let ended = match entry.try_lock().await {
            Ok(mut entry) => entry.kick(true, true, true).await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = &ended {
            tracing::warn!(client_id, %error, "a session could not be ended");
        }
        ended.is_ok()
    }

    /// Ends every connection and frees the port. Once this returns, nobody is connected.
    pub async fn stop(mut self) {
        if let Some(runtime) = self.runtime.take() {
            let stopped = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(STOP_PATIENCE)).await;
            if let Err(error) = stopped {
                tracing::warn!(%error, "the broker's threads did not end well");
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn builder(listen: SocketAddr, tls: &BrokerTls) -> Builder {
    let text = |path: &PathBuf| Some(path.to_string_lossy().into_owned());
    let packet_bytes = u32::try_from(MQTT_PACKET_BYTES).unwrap_or(u32::MAX);
    let mut builder = Builder::new()
        .name("outpost")
        .laddr(listen)
        // A stopped broker's closed connections linger in the system; they must not keep the port.
        .reuseaddr(Some(true))
        .nodelay(true)
        .max_connections(20_000)
        // Every client goes through the guard.
        .allow_anonymous(false)
        .tls_cross_certificate(true)
        .tls_cert(text(&tls.certificate))
        .tls_key(text(&tls.key))
        .tls_client_ca_certs(text(&tls.authority))
        .collect_cert_info(true)
        .handshake_timeout(Duration::from_secs(10))
        .max_clientid_len(80)
        .max_topic_levels(10)
        .max_subscriptions(16)
        .max_topic_aliases(0)
        // What waited longer for a device than this says nothing any more: it says hello again.
        .session_expiry_interval(Duration::from_secs(2 * 60 * 60))
        .max_session_expiry_interval(Duration::from_secs(24 * 60 * 60));
    builder.max_packet_size = packet_bytes;
    builder
}

async fn run(builder: Builder, guard: Guard) -> Result<(SocketAddr, ServerContext), BrokerError> {
    let address = builder.laddr;
    // The library's own busy check would refuse connections by the machine's CPU load, which inference makes high.
    let context = ServerContext::new().busy_check_enable(false).build().await;
    *context.extends.retain_mut().await = Box::new(Retained::default());
    let register = context.extends.hook_mgr().register();
    for hook in [Type::ClientAuthenticate, Type::MessagePublishCheckAcl, Type::ClientSubscribeCheckAcl] {
        register.add(hook, Box::new(guard.clone())).await;
    }
    register.start().await;

    let mut attempt = 0;
    let listener = loop {
        match builder.clone().bind() {
            Ok(listener) => break listener,
            Err(_) if attempt < BIND_ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(BIND_PAUSE).await;
            }
            Err(error) => return Err(BrokerError::Listen { address, what: error.to_string() }),
        }
    };
    let address = listener.local_addr().map_err(|error| BrokerError::Listen { address, what: error.to_string() })?;
    let listener = listener.tls().map_err(|error| BrokerError::Tls(format!("{error:#}")))?;
    let server = MqttServer::new(context.clone()).listener_by_id(listener, address.port()).build();
    // Not the library's `start`: it ends the whole process when something fails.
    tokio::spawn(server.run());
    Ok((address, context))
}
