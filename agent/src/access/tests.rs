//! Devices and the servers of their providers, over real sockets: keys that come, change, fail to come and grow old.

mod device;
mod provider;

use std::time::Duration;

use outpost_disk::clock::RELEASE_FLOOR_S;
use outpost_disk::{Clock, Ledger};
use outpost_serve::identify::{JWKS_BYTES, ProviderKeys};
use tokio::net::TcpListener;

use super::key_set;
use crate::app::{Agent, Overrides};
use crate::config::{Config, KeySource};
use crate::state::StateDir;
use device::{Asking, Device, EAGER, call, config};
use provider::{Answer, Provider, Signer, set, until};

const HOUR: Duration = Duration::from_secs(3600);

fn refused(code: &str) -> (u16, String) {
    (401, code.to_owned())
}

#[tokio::test]
async fn a_token_by_a_new_key_is_refused_and_counts_once_the_provider_was_asked_in_the_background() {
    let (old, new, kept) = (Signer::new("old"), Signer::new("new"), tempfile::tempdir().unwrap());
    let provider = Provider::start(set(&[&old])).await;
    let device = Device::start(&config(&provider, kept.path()), kept.path(), EAGER).await;
    let now_s = device.clock.now_s();
    device.knows_keys(kept.path()).await;
    assert_eq!(device.call(&old.token(now_s)).await.0, 200);
    provider.answer(set(&[&new]));
    assert_eq!(device.call(&new.token(now_s)).await, refused("unknown_token_key"));
    assert_eq!(device.recorded_reason().as_deref(), Some("unknown_token_key"));
    device.accepts(&new.token(now_s)).await;
    assert_eq!(device.call(&old.token(now_s)).await.0, 200, "a key counts for a day after it left the set");
    device.stop().await;
}

#[tokio::test]
async fn a_set_is_read_again_at_its_refresh_though_nobody_asks() {
    let (old, new, kept) = (Signer::new("old"), Signer::new("new"), tempfile::tempdir().unwrap());
    let provider = Provider::start(set(&[&old])).await;
    let asking = Asking { refresh: Some(Duration::from_millis(5)), at_most_every: HOUR, ..EAGER };
    let device = Device::start(&config(&provider, kept.path()), kept.path(), asking).await;
    device.accepts(&old.token(device.clock.now_s())).await;
    provider.answer(set(&[&new]));
    device.accepts(&new.token(device.clock.now_s())).await;
    device.stop().await;
}

#[tokio::test]
async fn without_its_provider_a_restarted_device_goes_by_what_it_kept_until_that_is_too_old() {
    let (signer, kept) = (Signer::new("k"), tempfile::tempdir().unwrap());
    let provider = Provider::start(set(&[&signer])).await;
    let config = config(&provider, kept.path());
    let device = Device::start(&config, kept.path(), EAGER).await;
    device.accepts(&signer.token(device.clock.now_s())).await;
    device.stop().await;
    drop(provider);

    let device = Device::start(&config, kept.path(), EAGER).await;
    let week = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(device.call(&signer.token(device.clock.now_s())).await.0, 200, "from the first request on");
    device.clock.advance(week);
    assert_eq!(device.call(&signer.token(device.clock.now_s())).await.0, 200);
    assert_eq!(device.call(&Signer::new("new").token(device.clock.now_s())).await, refused("unknown_kid_offline"));
    device.stop().await;

    let device = Device::start_at(&config, kept.path(), EAGER, RELEASE_FLOOR_S + 7 * 24 * 3600 + 1).await;
    assert_eq!(device.call(&signer.token(device.clock.now_s())).await, refused("provider_keys_too_old"));
    assert_eq!(device.recorded_reason().as_deref(), Some("provider_keys_too_old"));
    device.stop().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_used_leaves_the_keys_that_are_known() {
    let (signer, kept) = (Signer::new("k"), tempfile::tempdir().unwrap());
    let provider = Provider::start(set(&[&signer])).await;
    // Where a redirect leads; nobody may come.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = |scheme: &str| {
        let place = format!("{scheme}://localhost:{}/keys", elsewhere.local_addr().unwrap().port());
        Answer::Raw(format!(
            "HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
    };
    let status =
        |status: &str| Answer::Raw(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    let device = Device::start(&config(&provider, kept.path()), kept.path(), EAGER).await;
    let token = signer.token(device.clock.now_s());
    device.accepts(&token).await;
    for answer in [
        to("http"),
        to("https"),
        status("500 Internal Server Error"),
        status("204 No Content"),
        Answer::Body(vec![b' '; JWKS_BYTES + 1]),
        Answer::Endless,
        Answer::Body(b"<html>log in</html>".to_vec()),
        Answer::Body(br#"{"keys":[]}"#.to_vec()),
        Answer::Body(br#"{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0"}]}"#.to_vec()),
        Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":".to_owned()),
        Answer::Raw("no HTTP at all\r\n\r\n".to_owned()),
    ] {
        provider.answer(answer.clone());
        // What nobody knows makes the device ask; from then on it fails, and asks again by itself.
        device.call(&Signer::new("stranger").token(device.clock.now_s())).await;
        provider.used().await;
        assert_eq!(device.call(&token).await.0, 200, "{answer:?}");
    }
    let visitor = tokio::time::timeout(Duration::ZERO, elsewhere.accept()).await;
    assert!(visitor.is_err(), "nobody followed the redirects");
    // And it recovers.
    let new = Signer::new("new");
    provider.answer(set(&[&new]));
    device.accepts(&new.token(device.clock.now_s())).await;
    device.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let (signer, kept) = (Signer::new("k"), tempfile::tempdir().unwrap());
    let provider = Provider::start(Answer::Stalled).await;
    let asking = Asking { patience: Duration::from_millis(200), ..EAGER };
    let device = Device::start(&config(&provider, kept.path()), kept.path(), asking).await;
    until(async || provider.asked() >= 2).await;
    assert_eq!(device.call(&signer.token(device.clock.now_s())).await, refused("unknown_kid_offline"));
    device.stop().await;
}

#[tokio::test]
async fn a_server_that_another_authority_vouches_for_is_not_asked() {
    let (signer, kept) = (Signer::new("k"), tempfile::tempdir().unwrap());
    let (provider, stranger) = (Provider::start(set(&[&signer])).await, Provider::start(set(&[])).await);
    let config = config(&provider, kept.path());
    outpost_disk::atomic::write(kept.path().join("authority.pem"), stranger.authority.as_bytes()).unwrap();
    let device = Device::start(&config, kept.path(), EAGER).await;
    provider.reached().await;
    assert_eq!(provider.asked(), 0);
    let token = signer.token(device.clock.now_s());
    assert_eq!(device.call(&token).await, refused("unknown_kid_offline"));
    // The right file counts without a restart.
    outpost_disk::atomic::write(kept.path().join("authority.pem"), provider.authority.as_bytes()).unwrap();
    device.accepts(&token).await;
    device.stop().await;
}

#[tokio::test]
async fn strangers_do_not_make_a_device_ask_more_often() {
    let (signer, kept) = (Signer::new("k"), tempfile::tempdir().unwrap());
    let provider = Provider::start(set(&[&signer])).await;
    let asking = Asking { at_most_every: HOUR, ..EAGER };
    let device = Device::start(&config(&provider, kept.path()), kept.path(), asking).await;
    device.accepts(&signer.token(device.clock.now_s())).await;
    for _ in 0..100 {
        let stranger = Signer::new("stranger").token(device.clock.now_s());
        assert_eq!(device.call(&stranger).await, refused("unknown_token_key"));
    }
    device.stop().await;
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn kept_keys_that_are_damaged_or_from_the_future_bring_nobody_in_and_stop_nobody() {
    let (signer, kept) = (Signer::new("k"), tempfile::tempdir().unwrap());
    let provider = Provider::start(set(&[&signer])).await;
    let config = config(&provider, kept.path());
    let source = Config::parse(&config).unwrap().api.oidc[0].key_source().unwrap();
    let KeySource::Address(address) = source else { panic!("an address") };
    let name = key_set::name(provider::ISSUER, &address);
    let year_s = 365 * 24 * 3600;
    let device = Device::start_at(&config, kept.path(), EAGER, RELEASE_FLOOR_S + year_s).await;
    device.accepts(&signer.token(device.clock.now_s())).await;
    device.stop().await;
    provider.answer(Answer::Stalled);

    // A clock that went back: the keys are as old as the start, and grow old from there.
    let device = Device::start(&config, kept.path(), EAGER).await;
    assert_eq!(device.call(&signer.token(device.clock.now_s())).await.0, 200);
    device.clock.advance(Duration::from_secs(7 * 24 * 3600 + 1));
    assert_eq!(device.call(&signer.token(device.clock.now_s())).await, refused("provider_keys_too_old"));
    device.stop().await;

    for file in std::fs::read_dir(kept.path()).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "ledger") {
            outpost_disk::atomic::write(file, b"damaged").unwrap();
        }
    }
    assert!(Ledger::<ProviderKeys>::open(kept.path(), &name).is_err());
    let device = Device::start(&config, kept.path(), EAGER).await;
    assert_eq!(device.call(&signer.token(device.clock.now_s())).await, refused("unknown_kid_offline"));
    device.stop().await;
    provider.answer(set(&[&signer]));
    let device = Device::start(&config, kept.path(), EAGER).await;
    device.accepts(&signer.token(device.clock.now_s())).await;
    device.stop().await;
}

#[tokio::test]
async fn an_agent_knows_its_provider_by_its_configuration_and_after_a_restart_without_it() {
    let (signer, directory) = (Signer::new("k"), tempfile::tempdir().unwrap());
    let state = StateDir::locate(Some(&directory.path().join("state"))).unwrap();
    let provider = Provider::start(set(&[&signer])).await;
    let config = Config::parse(&config(&provider, directory.path())).unwrap();
    let overrides = Overrides { offline: true, ..Overrides::default() };
    let token = signer.token(Clock::system().now_s());

    let agent = Agent::start(state.clone(), config.clone(), overrides.clone()).await.unwrap();
    let address = agent.address().unwrap();
    until(async || call(address, &token).await.0 == 200).await;
    agent.stop().await;
    drop(provider);

    let agent = Agent::start(state, config, overrides).await.unwrap();
    assert_eq!(call(agent.address().unwrap(), &token).await.0, 200);
    agent.stop().await;
}
