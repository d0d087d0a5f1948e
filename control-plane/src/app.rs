//! The running control plane: what starts in which order, and what stops in which.

use std::net::SocketAddr;
use std::sync::Arc;

use outpost_contract::{DeviceId, TenantId};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::audit::Desk;
use crate::blobs::BlobServer;
use crate::broker::{Admission, BULK_SUFFIX, Broker, CONTROL_PLANE, Entrant, Guard};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Entrance, Lease};
use crate::director::{Director, Doorkeeper};
use crate::fleet::{Fleet, FleetError};
use crate::ingest::{Ingest, hand_on_questions};
use crate::leader::keep_leading;
use crate::link::{self, LinkOptions};
use crate::people::keep_record;
use crate::revocation::RevocationList;
use crate::rollouts::Driver;
use crate::shares::Shares;
use crate::signals;
use crate::{api, http, tls};

/// Requests for chunks that may wait to be sorted by device.
const QUESTIONS: usize = 1024;

/// Questions about audit logs that may wait: a device has one at a time, and asks again.
const AUDIT_REQUESTS: usize = 256;

/// Starts control planes.
#[derive(Debug)]
pub struct ControlPlane;

/// A running control plane. Dropping it stops it without waiting; better call [`stop`](Self::stop).
#[derive(Debug)]
pub struct Running {
    fleet: Fleet,
    http_address: SocketAddr,
    broker: Option<Arc<Broker>>,
    stop: CancellationToken,
    http: JoinHandle<()>,
    tasks: JoinSet<()>,
    connections: watch::Receiver<u64>,
    /// What it holds while it leads rollouts.
    leads_as: Lease,
    /// Held as long as this server runs.
    _lock: std::fs::File,
}

impl ControlPlane {
    /// Starts everything on the state directory of `config`, by the system's clock. Once this returns, devices can enrol
    /// and connect.
    ///
    /// # Errors
    /// If there is no fleet in the directory, another server runs on it, or a port is taken.
    pub async fn start(config: Config) -> Result<Running, FleetError> {
        let fleet = tokio::task::spawn_blocking(|| Fleet::open(config, Clock::system())).await;
        Self::start_fleet(fleet.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?).await
    }

    /// Starts everything for a fleet that is open already.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_fleet(fleet: Fleet) -> Result<Running, FleetError> {
        let lock = fleet.lock()?;
        let config = fleet.config().clone();
        if config.external_broker.is_none() {
            fleet.lead_alone().await?;
        }
        let certificates = fleet.run(|fleet| {
            fleet.nobody_is_online()?;
            let (authority, now_s) = (&fleet.inner.authority, fleet.now_s());
            let server = authority.issue_server(&fleet.config().certificate_names(), now_s)?;
            Ok::<_, FleetError>((server, authority.issue_control_plane(now_s)?))
        });
        let (server, (own_certificate, own_key)) = certificates.await?;
        let own_tls = tls::client(&server.authority, &own_certificate, &own_key)?;
        let server_tls = tls::server(&server)?;

        let listen = config.http_listen;
        let listener =
            TcpListener::bind(listen).await.map_err(|source| FleetError::Listen { address: listen, source })?;
        let http_address = listener.local_addr().map_err(|source| FleetError::Listen { address: listen, source })?;

        let broker = match config.external_broker {
            Some(_) => None,
            None => {
                let guard = Guard::new(config.tenant.clone(), admission(&fleet));
                Some(Arc::new(Broker::start(config.mqtt_listen, &server, guard).await?))
            }
        };
        fleet.set_broker(broker.as_ref().map(|broker| broker.address()));
        let inside = || broker.as_ref().map(|broker| link::reached_at(broker.address()));
        let outside = || config.external_broker_parts().map(|(host, port)| (host.to_owned(), port));
        let reached_at = inside().or_else(outside).unwrap_or_else(|| link::reached_at(config.mqtt_listen));
        if broker.is_none() && config.revocation_list.is_none() {
            tracing::warn!("`revocation_list` is not set: the broker cannot refuse revoked devices");
        }

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let audience = Audience::of(&fleet);
        let options = |suffix: &str, leaves: &[&str]| LinkOptions {
            broker: reached_at.clone(),
            client_id: format!("{CONTROL_PLANE}{}{suffix}", audience.name),
            tls: own_tls.clone(),
            filters: leaves.iter().map(|leaf| audience.filter(&config.tenant, leaf)).collect(),
        };

        let leaves = ["hello", "presence", "reported", "audit/checkpoint", "audit/entries", "res", "event"];
        let (sender, heard) = link::start(options("", &leaves), stop.clone());
        let (connections, connected) = watch::channel(0);
        let (audit, requests) = mpsc::channel(AUDIT_REQUESTS);
        tasks.spawn(Ingest { fleet: fleet.clone(), sender: sender.clone(), connections, audit }.run(heard));
        tasks.spawn(Desk { fleet: fleet.clone(), sender: sender.clone() }.run(requests));
        let director = Director {
            fleet: fleet.clone(),
            sender,
            broker: broker.clone().map_or_else(|| Doorkeeper::Outside(options("", &[])), Doorkeeper::Inside),
            list: RevocationList::default(),
            connections: connected.clone(),
        };
        tasks.spawn(director.run());
        tasks.spawn(keep_record(fleet.clone()));
        tasks.spawn(signals::observe(fleet.clone()));
        tasks.spawn(signals::deliver(fleet.clone()));
        tasks.spawn(keep_leading(fleet.clone()));
        let driver = Driver::new(fleet.clone())?;
        let leads_as = driver.lease().clone();
        tasks.spawn(driver.run());

        // Chunks have a connection of their own: on the first one they would keep everything else waiting.
        let (sender, heard) = link::start(options(BULK_SUFFIX, &["blob/req"]), stop.clone());
        let (questions, asked) = mpsc::channel(QUESTIONS);
        tasks.spawn(hand_on_questions(fleet.clone(), heard, questions));
        let shares = Shares::new(config.rates, sites(&fleet));
        tasks.spawn(shares.clone().run());
        let blobs = BlobServer::new(config.tenant.clone(), fleet.inner.blobs.clone(), sender, shares.clone());
        tasks.spawn(blobs.run(asked));

        let router = api::router(fleet.clone(), shares);
        let http = tokio::spawn(http::serve(listener, server_tls, router, stop.clone()));
        let mqtt = format!("{}:{}", reached_at.0, reached_at.1);
        tracing::info!(http = %http_address, mqtt, "the control plane is up");
        Ok(Running { fleet, http_address, broker, stop, http, tasks, connections: connected, leads_as, _lock: lock })
    }
}

/// What is heard by which of several servers.
struct Audience {
    /// Added to the client id: at one broker, each server is another client.
    name: String,
    is_shared: bool,
}

/// What every server hears: who is online (a shared subscription is not told what is retained), and what only the leader answers.
const HEARD_BY_ALL: [&str; 3] = ["presence", "audit/checkpoint", "audit/entries"];

impl Audience {
    fn of(fleet: &Fleet) -> Self {
        let replica = fleet.inner.replica.name().filter(|_| fleet.config().external_broker.is_some());
        Self { name: replica.map(|name| format!("-{name}")).unwrap_or_default(), is_shared: replica.is_some() }
    }

    /// The rest goes to one of them, whoever has room: it counts once, wherever it is taken in.
    fn filter(&self, tenant: &TenantId, leaf: &str) -> String {
        let share = if self.is_shared && !HEARD_BY_ALL.contains(&leaf) { "$share/control-plane/" } else { "" };
        format!("{share}op/1/{tenant}/d/+/up/{leaf}")
    }
}

impl Fleet {
    /// Nobody is connected to a broker that has not started or has stopped. Of one that is not ours, other servers know more.
    fn nobody_is_online(&self) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let is_outside = self.config().external_broker.is_some();
        if database.is_shared() && is_outside { Ok(()) } else { Ok(database.all_offline()?) }
    }
}

fn admission(fleet: &Fleet) -> Admission {
    let fleet = fleet.clone();
    Arc::new(move |Entrant { device, serial, is_proof }| {
        let database = &fleet.inner.database;
        let entrance = match is_proof {
            true => database.entrance(device, serial),
            false => database.enter(device, serial, fleet.now_s()),
        };
        match entrance {
            Ok(entrance) => entrance == Entrance::Admitted,
            Err(error) => {
                tracing::error!(%device, %error, "admission cannot be looked up; the device is refused");
                false
            }
        }
    })
}

/// Where each device is, for the shares of the line.
fn sites(fleet: &Fleet) -> impl Fn(&DeviceId) -> Option<String> + Send + Sync + use<> {
    let database = fleet.inner.database.clone();
    move |device| {
        database.site(device).unwrap_or_else(|error| {
            tracing::error!(%device, %error, "the site cannot be looked up; the device counts as at none");
            None
        })
    }
}

impl Running {
    /// Where the HTTPS API listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// The HTTPS API's address, for `outpost enroll --server`.
    #[must_use]
    pub fn url(&self) -> String {
        let ip = self.http_address.ip();
        let host = if ip.is_loopback() || ip.is_unspecified() { "localhost".to_owned() } else { ip.to_string() };
        format!("https://{host}:{}", self.http_address.port())
    }

    /// Where the broker inside listens.
    #[must_use]
    pub fn mqtt_address(&self) -> SocketAddr {
        self.broker.as_ref().map_or_else(|| self.fleet.config().mqtt_listen, |broker| broker.address())
    }

    /// The fleet, for everything that an operator can do.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The settings with the ports that were taken: start with these to come back at the same addresses.
    #[must_use]
    pub fn config(&self) -> Config {
        Config { http_listen: self.http_address, mqtt_listen: self.mqtt_address(), ..self.fleet.config().clone() }
    }

    /// Waits until the control plane itself is connected to its broker.
    pub async fn connected(&self) {
        let mut connections = self.connections.clone();
        // The sender lives as long as the ingest task; if that is gone, waiting longer helps nobody.
        let _ = connections.wait_for(|count| *count > 0).await;
    }

    /// Stops everything: no port is open and no device connected once this returns.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.shutdown().await;
        if let Err(error) = (&mut self.http).await {
            tracing::warn!(%error, "the HTTPS listener did not end well");
        }
        self.fleet.set_broker(None);
        if let Some(broker) = self.broker.take().and_then(Arc::into_inner) {
            broker.stop().await;
        }
        let (fleet, leads_as) = (self.fleet.clone(), self.leads_as.clone());
        let ended = fleet.run(move |fleet| {
            Driver::release(&fleet.inner.database, &leads_as)?;
            fleet.nobody_is_online()?;
            fleet.inner.replica.let_go(&fleet.inner.database)
        });
        if let Err(error) = ended.await {
            tracing::warn!(%error, "that this server has ended could not be noted");
        }
        tracing::info!("the control plane is down");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
