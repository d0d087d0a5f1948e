//! What a device says of itself to its neighbours: its site, and where it can be dialled.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use outpost_contract::Neighbour;

/// An address of the documentation's network: a datagram socket "connected" to it sends nothing, and tells which of this
/// machine's addresses the way out begins with.
const AWAY: &str = "192.0.2.1:9";

/// Said with each hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The site.
    pub site: String,
    /// Where neighbours are served; an unspecified address (`0.0.0.0`) stands for the one that this machine has now.
    pub serves: Option<SocketAddr>,
}

impl Announcement {
    /// As it stands at this moment: addresses change when a box is moved.
    pub(crate) fn now(&self) -> Neighbour {
        let serves = self.serves.and_then(|address| match address.ip().is_unspecified() {
            true => own_address().map(|ip| SocketAddr::new(ip, address.port())),
            false => Some(address),
        });
        Neighbour { site: self.site.clone(), serves: serves.map(|address| address.to_string()) }
    }
}

fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(AWAY).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_given_is_said_and_an_unspecified_one_never_is() {
        let said = |serves: &str| Announcement { site: "s".into(), serves: Some(serves.parse().unwrap()) }.now().serves;
        assert_eq!(said("10.0.0.5:8791").as_deref(), Some("10.0.0.5:8791"));
        assert!(
            said("0.0.0.0:8791").is_none_or(|address| !address.starts_with("0.0.0.0") && address.ends_with(":8791"))
        );
    }
}
