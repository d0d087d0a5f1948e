//! Who stands on which site and serves its neighbours: what devices said since this server started, in memory only.
//!
//! These are hints. Whoever follows one checks the certificate it finds there and the hash of every chunk.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use outpost_contract::limits::{PEERS, REVOKED, SITE_BYTES};
use outpost_contract::{DeviceId, Neighbour};

use crate::db::sql::OptionalExtension as _;
use crate::db::{Database, DbError};

/// Devices that are remembered; more are served without hints.
const DEVICES: usize = 100_000;

/// What one device said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    site: String,
    serves: Option<SocketAddr>,
}

/// What devices said.
#[derive(Debug, Default)]
pub(crate) struct Neighbours(Mutex<HashMap<DeviceId, Place>>);

impl Neighbours {
    /// Remembers what a device says of itself; what makes no sense, or nothing, makes it forgotten.
    pub(crate) fn note(&self, device: &DeviceId, said: Option<&Neighbour>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.and_then(place) {
            Some(place) if places.contains_key(device) || places.len() < DEVICES => {
                places.insert(device.clone(), place);
            }
            _ => {
                places.remove(device);
            }
        }
    }

    /// Where online devices of the same site serve; `None` if the device named no site. Which of many are named changes with
    /// the one who asks, so that not all ask the same.
    pub(crate) fn of(
        &self,
        device: &DeviceId,
        mut is_online: impl FnMut(&DeviceId) -> Result<bool, DbError>,
    ) -> Result<Option<Vec<String>>, DbError> {
        let mut found: Vec<(DeviceId, SocketAddr)> = {
            let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(own) = places.get(device) else { return Ok(None) };
            let same = places.iter().filter(|(name, place)| *name != device && place.site == own.site);
            same.filter_map(|(name, place)| Some((name.clone(), place.serves?))).collect()
        };
        let salt = |name: &DeviceId| *blake3::hash(format!("{device} {name}").as_bytes()).as_bytes();
        found.sort_by_cached_key(|(name, _)| salt(name));
        let mut peers = Vec::new();
        for (name, address) in found {
            if peers.len() == PEERS {
                break;
            }
            if is_online(&name)? {
                peers.push(address.to_string());
            }
        }
        Ok(Some(peers))
    }
}

/// What a device said, if it makes sense.
fn place(said: &Neighbour) -> Option<Place> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let site = &said.site;
    let is_name = (1..=SITE_BYTES).contains(&site.len()) && site.bytes().all(known);
    let serves = said.serves.as_ref().and_then(|address| address.parse::<SocketAddr>().ok());
    let serves = serves.filter(|address| address.port() != 0 && !address.ip().is_unspecified());
    is_name.then(|| Place { site: site.clone(), serves })
}

impl Database {
    /// True if the device is admitted and connected.
    pub(crate) fn is_online(&self, device: &DeviceId) -> Result<bool, DbError> {
        self.read(|connection| {
            let sql = "SELECT c.online FROM contacts c JOIN devices d USING (device)
                WHERE c.device = ?1 AND d.revoked_s IS NULL";
            let mut statement = connection.prepare_cached(sql)?;
            Ok(statement.query_row([device.as_str()], |row| row.get(0)).optional()?.unwrap_or(false))
        })
    }

    /// The devices that were revoked last, the newest first, at most [`REVOKED`].
    pub(crate) fn newly_revoked(&self) -> Result<Vec<DeviceId>, DbError> {
        self.read(|connection| {
            let sql = "SELECT device FROM devices WHERE revoked_s IS NOT NULL ORDER BY revoked_s DESC LIMIT ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let most = i64::try_from(REVOKED).unwrap_or(i64::MAX);
            let names = statement.query_map([most], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(site: &str, serves: Option<&str>) -> Neighbour {
        Neighbour { site: site.to_owned(), serves: serves.map(str::to_owned) }
    }

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    #[test]
    fn online_devices_of_the_same_site_are_named_and_no_more_than_the_limit() {
        let neighbours = Neighbours::default();
        for number in 1..=20 {
            let address = format!("10.0.0.{number}:8791");
            neighbours.note(&device(&format!("till-{number}")), Some(&said("store-12", Some(&address))));
        }
        neighbours.note(&device("other"), Some(&said("store-13", Some("10.0.1.1:8791"))));
        neighbours.note(&device("silent"), Some(&said("store-12", None)));
        let all = neighbours.of(&device("silent"), |_| Ok(true)).unwrap().unwrap();
        assert_eq!(all.len(), PEERS);
        assert!(!all.contains(&"10.0.1.1:8791".to_owned()));
        let one = neighbours.of(&device("silent"), |name| Ok(name.as_str() == "till-3")).unwrap().unwrap();
        assert_eq!(one, ["10.0.0.3:8791"]);
        assert_eq!(neighbours.of(&device("till-3"), |name| Ok(name.as_str() == "till-3")).unwrap(), Some(vec![]));
        assert_eq!(neighbours.of(&device("stranger"), |_| Ok(true)).unwrap(), None);
        neighbours.note(&device("silent"), None);
        assert_eq!(neighbours.of(&device("silent"), |_| Ok(true)).unwrap(), None);
    }

    #[test]
    fn an_address_that_cannot_be_dialled_is_not_passed_on() {
        for bad in ["0.0.0.0:8791", "10.0.0.1:0", "host:1", ""] {
            assert_eq!(place(&said("s", Some(bad))).unwrap().serves, None, "{bad}");
        }
        assert_eq!(place(&said("", Some("10.0.0.1:1"))), None);
    }

    proptest! {
        #[test]
        fn whatever_a_device_says_is_a_place_or_nothing(site in ".{0,80}", serves in ".{0,40}") {
            if let Some(place) = place(&said(&site, Some(&serves))) {
                prop_assert!(!place.site.is_empty() && place.site.len() <= SITE_BYTES);
            }
        }
    }
}
