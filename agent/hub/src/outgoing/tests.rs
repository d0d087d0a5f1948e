//! The tricks by which an address leads where it should not.

use std::sync::Mutex;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use proptest::prelude::*;
use reqwest::Method;

use super::*;

fn reach(allow: &[&str], http: bool) -> Reach {
    Reach { section: Some("webhooks"), allow: allow.iter().map(|network| network.parse().unwrap()).collect(), http }
}

#[test]
fn addresses_that_are_not_public_are_refused_in_every_spelling() {
    let reach = reach(&[], true);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "10.0.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "[::ffff:a9fe:a9fe]",
        "2852039166",
        "168.63.129.16",
        "192.0.0.192",
        "198.19.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "１２７.0.0.1",
        "127。0。0。1",
    ] {
        let refused = reach.check(&format!("http://{host}/hook"));
        assert!(matches!(refused, Err(OutgoingError::NotPublic { .. })), "{host}: {refused:?}");
    }
    for host in ["example.org", "1.1.1.1", "[2606:4700::1111]", "[64:ff9b::101:101]", "172.32.0.1", "hook.example:8443"]
    {
        assert!(reach.check(&format!("https://{host}/hook")).is_ok(), "{host}");
    }
}

#[test]
fn what_is_inside_of_a_network_is_known_by_every_spelling() {
    let reach = Reach::public();
    for inside in [
        "http://127.0.0.1",
        "http://10.1.2.3",
        "http://192.168.0.1",
        "http://169.254.169.254",
        "http://[::1]",
        "http://[::ffff:10.0.0.1]",
        "http://[fd00::1]",
        "http://[fe80::1]",
        "http://0.0.0.0",
        "http://2130706433",
        "http://100.64.0.1",
        "http://localhost",
        "http://a.localhost",
        "http://0x7f.1",
    ] {
        let refused = reach.admit(&inside.parse().unwrap()).unwrap_err().to_string();
        assert!(refused.ends_with("not a public address"), "no setting allows it: {refused}");
    }
    for outside in ["https://8.8.8.8", "https://[2606:4700::1]", "https://hub.example.org"] {
        assert_eq!(reach.admit(&outside.parse().unwrap()), Ok(()), "{outside}");
    }
}

#[test]
fn an_address_says_nothing_beside_where() {
    let reach = reach(&[], false);
    for url in [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/_x",
        "https://user@example.org/",
        "https://user:secret@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org#@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://exam ple.org/",
        "https://example.org/\r\nHost: x",
        "https://",
        "//example.org/",
        "example.org",
        "",
    ] {
        assert!(matches!(reach.check(url), Err(OutgoingError::Address { .. })), "{url:?}: {:?}", reach.check(url));
    }
    assert!(reach.check(&format!("https://example.org/{}", "a".repeat(2048))).is_err());
}

#[test]
fn a_network_that_is_named_is_allowed_and_no_more() {
    let reach = reach(&["10.20.0.0/16", "fd12::/32"], false);
    for (host, may) in [
        ("10.20.255.1", true),
        ("10.21.0.1", false),
        ("[::ffff:10.20.0.1]", true),
        ("[fd12::9]", true),
        ("[fd13::9]", false),
        ("127.0.0.1", false),
    ] {
        assert_eq!(reach.check(&format!("https://{host}/")).is_ok(), may, "{host}");
    }
    for wrong in ["10.20.0.0", "10.20.3.4/16", "10.0.0.0/33", "::/129", "ten/8", "/8"] {
        assert!(wrong.parse::<Network>().is_err(), "{wrong}");
    }
    assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("1.2.3.4".parse().unwrap()));
    assert!("::/0".parse::<Network>().unwrap().contains("fe80::1".parse().unwrap()));
}

proptest! {
    #[test]
    fn whatever_is_typed_is_read_or_refused(text in ".{0,200}", port in any::<u16>(), v4 in any::<u32>(), v6 in any::<u128>()) {
        let reach = reach(&[], true);
        let _ = reach.check(&text);
        let _ = reach.check(&format!("https://{text}:{port}/"));
        let _ = text.parse::<Network>();
        // An address and its mapped form are one place.
        let (v4, v6) = (std::net::Ipv4Addr::from_bits(v4), std::net::Ipv6Addr::from_bits(v6));
        prop_assert_eq!(reach.may_reach(v4.into()), reach.may_reach(v4.to_ipv6_mapped().into()));
        prop_assert_eq!(reach.may_reach(v4.into()), reach.check(&format!("https://{v4}/")).is_ok());
        prop_assert_eq!(reach.may_reach(v6.into()), reach.check(&format!("https://[{v6}]/")).is_ok());
    }
}

/// Listens on loopback: `/hook` says yes, `/away` sends on to the metadata of a cloud.
async fn receiver() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/hook", get(|| async { "yes" }).post(|| async { "yes" }))
        .route("/away", post(|| async { Redirect::temporary("http://169.254.169.254/latest/meta-data/") }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn send(outgoing: &Outgoing, url: &str) -> Result<u16, String> {
    let request = outgoing.request(Method::POST, url).map_err(|error| error.to_string())?;
    request.send().await.map(|answer| answer.status().as_u16()).map_err(|error| cause(&error))
}

#[tokio::test]
async fn a_name_is_where_its_addresses_are_and_is_looked_at_each_time() {
    let port = receiver().await.port();
    // The name changes its mind: public first, then this machine.
    let answers = Arc::new(Mutex::new(vec![vec!["127.0.0.1"], vec!["1.1.1.1", "127.0.0.1"], vec![]]));
    let asked = Arc::clone(&answers);
    let lookup = move |_: &str| -> io::Result<Vec<IpAddr>> {
        let answer = asked.lock().unwrap().pop().unwrap_or_default();
        Ok(answer.into_iter().map(|address| address.parse().unwrap()).collect())
    };
    let guarded = Outgoing::with_lookup(&reach(&[], true), Arc::new(lookup)).unwrap();
    let url = format!("http://rebind.example:{port}/hook");
    assert_eq!(send(&guarded, &url).await.unwrap_err(), "the name `rebind.example` has no address");
    assert!(send(&guarded, &url).await.unwrap_err().contains("at 127.0.0.1"));
    assert!(send(&guarded, &url).await.unwrap_err().contains("at 127.0.0.1"));
    assert!(answers.lock().unwrap().is_empty(), "each request asked anew");
}

#[tokio::test]
async fn a_name_of_this_machine_is_refused_unless_its_network_is_named() {
    let port = receiver().await.port();
    let url = format!("http://localhost:{port}/hook");
    let refused = send(&Outgoing::new(&reach(&[], true)).unwrap(), &url).await.unwrap_err();
    assert!(refused.contains("`localhost` is at") && refused.contains("[webhooks] allow"), "{refused}");
    let allowed = Outgoing::new(&reach(&["127.0.0.0/8", "::1/128"], true)).unwrap();
    assert_eq!(send(&allowed, &url).await, Ok(200));
    let secure_only = Outgoing::new(&reach(&["127.0.0.0/8", "::1/128"], false)).unwrap();
    assert!(send(&secure_only, &url).await.unwrap_err().contains("https"));
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let port = receiver().await.port();
    let allowed = Outgoing::new(&reach(&["127.0.0.0/8"], true)).unwrap();
    assert_eq!(send(&allowed, &format!("http://127.0.0.1:{port}/away")).await, Ok(307));
}
