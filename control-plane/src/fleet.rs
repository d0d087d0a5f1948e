//! The fleet as an operator sees it: everything that can be done with a state directory, with or without a server on it.
//!
//! A server that runs on the same directory notices what another process changed and acts on it.

mod error;
mod roots;
mod wait;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use outpost_contract::DeviceId;
use tokio::sync::watch;

use crate::audit::Keeper;
use crate::blobs::{Blobs, Downloads};
use crate::broker::CONTROL_PLANE;
use crate::ca::Authority;
use crate::catalogue::authority_in;
use crate::clock::Clock;
use crate::config::{CONFIG_FILE, Config};
use crate::db::{Database, DbError, DeviceSummary};
use crate::enrol::Attempts;
use crate::files;
use crate::inventory::Index;
use crate::keys::OnlineKeys;
use crate::leader::Replica;
use crate::metrics::Metrics;
use crate::neighbours::Neighbours;
use crate::people::People;
use crate::renewal::Nonces;
use crate::signals::Throttle;
use crate::tokens::{self, Issuer};
pub use error::FleetError;
pub(crate) use roots::ROOT_S;

const ADMIN_TOKEN: &str = "admin_token_sha256";

/// SHA-256 of the authority's certificate, where several servers share a database.
const AUTHORITY: &str = "authority_sha256";

/// Larger than any certificate of an authority.
const CERTIFICATE_BYTES: u64 = 64 * 1024;

/// The key by which servers that share a database know each other's numbers for renewals.
const NONCE_KEY: &str = "nonce_key";

/// A fleet's state, opened. Clones share it. Its methods block on the disk for milliseconds (`release` for as long as the
/// files take); from async code call them through [`Fleet::run`].
#[derive(Debug, Clone)]
pub struct Fleet {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) database: Database,
    /// This server among those that share the database.
    pub(crate) replica: Arc<Replica>,
    pub(crate) authority: Authority,
    pub(crate) keys: OnlineKeys,
    pub(crate) blobs: Blobs,
    pub(crate) audit: Keeper,
    pub(crate) attempts: Attempts,
    pub(crate) metrics: Metrics,
    pub(crate) throttle: Throttle,
    pub(crate) people: People,
    /// Places for downloads over HTTPS.
    pub(crate) downloads: Downloads,
    /// Who serves chunks to its site.
    pub(crate) neighbours: Neighbours,
    pub(crate) nonces: Nonces,
    /// What is known of all devices, in memory.
    pub(crate) index: Index,
    /// Where the broker listens, while it does.
    pub(crate) broker: RwLock<Option<SocketAddr>>,
    /// True while the control plane is connected to its broker.
    pub(crate) linked: AtomicBool,
    /// Counts changes that the director must act on.
    pub(crate) changed: watch::Sender<u64>,
    /// Counts what devices reported.
    pub(crate) news: watch::Sender<u64>,
}

/// A new fleet.
#[derive(Debug)]
pub struct Initialised {
    /// The fleet.
    pub fleet: Fleet,
    /// The operators' bearer token. Only its hash is kept: this is the one time it can be read.
    pub admin_token: String,
}

impl Fleet {
    /// Makes a fleet in the state directory of `config`: settings with comments, authority, online keys, database.
    ///
    /// # Errors
    /// [`FleetError::Initialised`] if there is one.
    pub fn init(config: Config, clock: Clock) -> Result<Initialised, FleetError> {
        let dir = &config.state_dir;
        if config.database.is_none() && dir.join("control.db").exists() {
            return Err(FleetError::Initialised(dir.clone()));
        }
        let shared = config.database.as_ref().map(Database::connect).transpose()?;
        if shared.as_ref().map(|shared| shared.setting(ADMIN_TOKEN)).transpose()?.flatten().is_some() {
            return Err(FleetError::InitialisedThere);
        }
        files::check_not_everybodys(dir)?;
        files::private_directory(dir)?;
        let settings = dir.join(CONFIG_FILE);
        if !settings.exists() {
            files::write(&settings, config.template().as_bytes())?;
        }
        // The database comes last: without it, an interrupted init starts again.
        if !dir.join("tls/ca.pem").exists() {
            Authority::create(&dir.join("tls"), clock.now_s())?;
        }
        if !dir.join("keys/tokens.pem").exists() {
            let keys = dir.join("keys");
            let _ = std::fs::remove_dir_all(&keys);
            OnlineKeys::create(&keys)?;
        }
        files::private_directory(&dir.join("trust"))?;
        let admin_token = tokens::new_admin_token().map_err(FleetError::Random)?;
        let authority = authority_digest(dir)?;
        let database = shared.map_or_else(|| Database::open(&dir.join("control.db")), Ok)?;
        database.together(|| {
            if database.is_shared() && database.setting(ADMIN_TOKEN)?.is_some() {
                return Err(FleetError::InitialisedThere);
            }
            database.set(AUTHORITY, &authority)?;
            Ok(database.set(ADMIN_TOKEN, &tokens::hash(&admin_token))?)
        })?;
        drop(database);
        Ok(Initialised { fleet: Self::open(config, clock)?, admin_token })
    }

    /// Opens the fleet in the state directory of `config`.
    ///
    /// # Errors
    /// [`FleetError::NotInitialised`] if there is none.
    pub fn open(config: Config, clock: Clock) -> Result<Self, FleetError> {
        let dir = &config.state_dir;
        let first = if config.database.is_none() { "control.db" } else { "tls/ca.pem" };
        if !dir.join(first).exists() {
            return Err(FleetError::NotInitialised(dir.clone()));
        }
        let database = match &config.database {
            None => Database::open(&dir.join("control.db"))?,
            Some(settings) => Database::connect(settings)?,
        };
        let nonces = if database.is_shared() {
            match database.setting(AUTHORITY)? {
                None => return Err(FleetError::NotInitialised(dir.clone())),
                Some(authority) if authority != authority_digest(dir)? => {
                    return Err(FleetError::OtherFleet(dir.join("tls")));
                }
                Some(_) => Nonces::shared(&nonce_key(&database)?),
            }
        } else {
            Nonces::new().map_err(FleetError::Random)?
        };
        let replica = Arc::new(Replica::open(dir, &database)?);
        let inner = Inner {
            authority: Authority::load(&dir.join("tls"))?,
            keys: OnlineKeys::load(&dir.join("keys"))?,
            blobs: Blobs::open(&dir.join("blobs"), database.clone(), config.blobs.as_ref())?,
            audit: Keeper::open(dir, &config.tenant)?,
            attempts: Attempts::default(),
            metrics: Metrics::default(),
            index: Index::open(&database),
            people: People::open(&config, database.clone(), &replica)?,
            throttle: Throttle::default(),
            downloads: Downloads::default(),
            neighbours: Neighbours::default(),
            nonces,
            replica,
            broker: RwLock::new(None),
            linked: AtomicBool::new(false),
            changed: watch::Sender::new(0),
            news: watch::Sender::new(0),
            config,
            clock,
            database,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs one of the blocking methods from async code, away from the async threads.
    pub async fn run<T: Send + 'static>(&self, act: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let (fleet, sent) = (self.clone(), crate::people::sent::current());
        match tokio::task::spawn_blocking(move || crate::people::sent::acting(sent, || act(&fleet))).await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The authority's certificate file, for `outpost enroll --ca`.
    #[must_use]
    pub fn authority_path(&self) -> PathBuf {
        self.inner.authority.certificate_path()
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn authority_pem(&self) -> &str {
        self.inner.authority.certificate()
    }

    /// All devices, by name.
    ///
    /// # Errors
    /// If the database fails.
    pub fn devices(&self) -> Result<Vec<DeviceSummary>, FleetError> {
        Ok(self.inner.database.devices()?)
    }

    /// One device, with what it reported.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`] if it is not there.
    pub fn device(&self, device: &DeviceId) -> Result<DeviceSummary, FleetError> {
        self.inner.database.device(device)?.ok_or_else(|| FleetError::UnknownDevice(device.clone()))
    }

    /// Says which site a device is at, whose line it shares; `None` is no site.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`] if it is not there or was revoked; [`FleetError::Site`] if the name is none.
    pub fn set_site(&self, device: &DeviceId, site: Option<&str>) -> Result<(), FleetError> {
        if !self.inner.database.is_admitted(device)? {
            return Err(FleetError::UnknownDevice(device.clone()));
        }
        // A site is named as a device is.
        if let Some(site) = site.filter(|site| site.parse::<DeviceId>().is_err()) {
            return Err(FleetError::Site(site.chars().take(80).collect()));
        }
        self.inner.database.set_site(device, site)?;
        self.tell_news();
        Ok(())
    }

    /// Lets a device in no longer: its sessions end and are forgotten, what is retained for it is withdrawn, its certificate
    /// counts for nothing and is not renewed, and codes and allowed keys of its name let nobody in.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`] if it is not there or was revoked before.
    pub fn revoke(&self, device: &DeviceId) -> Result<(), FleetError> {
        let database = &self.inner.database;
        let revoked = database.together(|| {
            // What a fleet file has it told once it enrols is not for whoever bears the name next.
            database.stop_awaiting(std::slice::from_ref(device))?;
            let revoked = database.revoke(device, self.now_s())?;
            if revoked {
                database.depart(device, "")?;
                database.unpin(device)?;
            }
            Ok::<_, DbError>(revoked)
        })?;
        if !revoked {
            return Err(FleetError::UnknownDevice(device.clone()));
        }
        self.touch();
        Ok(())
    }

    /// Issues a token for a person or service. `valid_s` is at most 30 days.
    ///
    /// # Errors
    /// If subject, roles or validity are refused.
    pub fn issue_token(&self, subject: &str, roles: &[String], valid_s: i64) -> Result<String, FleetError> {
        Ok(self.issuer()?.issue(subject, roles, valid_s, self.now_s())?)
    }

    /// Whom devices are told to believe: the tokens key, and the one before it unless somebody else has that.
    pub(crate) fn issuers(&self) -> Vec<Issuer<'_>> {
        let keys = &self.inner.keys;
        let before = keys.tokens_before.iter().filter(|before| !before.stolen).map(|before| &before.key);
        let config = &self.inner.config;
        let issuer = |key| Issuer { key, issuer: &config.token_issuer, audience: &config.token_audience };
        [&keys.tokens].into_iter().chain(before).map(issuer).collect()
    }

    /// Who issues now: the first that the newest catalogue tells devices to believe, else the tokens key.
    fn issuer(&self) -> Result<Issuer<'_>, FleetError> {
        let listed = authority_in(&self.inner.database.targets()?)?.map(|authority| authority.token_issuers);
        let listed = listed.unwrap_or_default();
        let mut issuers = self.issuers();
        let believed = issuers.iter().position(|issuer| listed.contains(&issuer.described()));
        Ok(issuers.swap_remove(believed.unwrap_or(0)))
    }

    /// True if this is the operators' bearer token.
    ///
    /// # Errors
    /// If the database fails.
    pub fn is_admin_token(&self, token: &str) -> Result<bool, FleetError> {
        let kept = self.inner.database.setting(ADMIN_TOKEN)?;
        Ok(kept.is_some_and(|kept| tokens::matches(token, &kept)))
    }

    pub(crate) fn check_device_name(device: &DeviceId) -> Result<(), FleetError> {
        if device.as_str() == CONTROL_PLANE { Err(FleetError::ReservedName(device.clone())) } else { Ok(()) }
    }

    /// `host:port` of the broker as devices reach it.
    pub(crate) fn broker_address(&self) -> String {
        let config = &self.inner.config;
        if let Some(address) = config.broker_address.as_ref().or(config.external_broker.as_ref()) {
            return address.clone();
        }
        let running = *self.inner.broker.read().unwrap_or_else(PoisonError::into_inner);
        let address = running.unwrap_or(self.inner.config.mqtt_listen);
        let ip = address.ip();
        let host = if ip.is_loopback() || ip.is_unspecified() { "localhost".to_owned() } else { ip.to_string() };
        format!("{host}:{}", address.port())
    }

    pub(crate) fn set_broker(&self, address: Option<SocketAddr>) {
        *self.inner.broker.write().unwrap_or_else(PoisonError::into_inner) = address;
    }

    pub(crate) fn now_s(&self) -> i64 {
        self.inner.clock.now_s()
    }

    /// Wakes the director.
    pub(crate) fn touch(&self) {
        self.inner.changed.send_modify(|count| *count += 1);
    }

    /// Wakes whoever waits for a device, and pages that are looked at.
    pub(crate) fn tell_news(&self) {
        self.inner.news.send_modify(|count| *count += 1);
    }

    /// Holds the state directory for one server.
    pub(crate) fn lock(&self) -> Result<File, FleetError> {
        let path = self.inner.config.state_dir.join("serve.lock");
        let file = File::create(&path).map_err(files::failed("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(FleetError::Locked(self.inner.config.state_dir.clone())),
            Err(std::fs::TryLockError::Error(source)) => Err(files::failed("lock", &path)(source).into()),
        }
    }
}

fn authority_digest(dir: &Path) -> Result<Vec<u8>, FleetError> {
    let certificate = files::read(&dir.join("tls/ca.pem"), CERTIFICATE_BYTES)?;
    Ok(tokens::hash(&String::from_utf8_lossy(&certificate)).to_vec())
}

/// The key that the first server made.
fn nonce_key(database: &Database) -> Result<Vec<u8>, FleetError> {
    database.together(|| {
        if let Some(key) = database.setting(NONCE_KEY)? {
            return Ok(key);
        }
        let key = tokens::random::<32>().map_err(FleetError::Random)?;
        database.set(NONCE_KEY, &key)?;
        Ok(key.to_vec())
    })
}

#[cfg(test)]
mod tests;
