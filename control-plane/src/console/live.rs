//! Live updates: one stream of events that says what kind of thing changed; the page fetches what it shows of it again.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::future::ready;
use futures_util::stream::{once, unfold};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::viewer::{PageError, Viewer};
use crate::fleet::Fleet;
use crate::people::Act;

/// At most one event in this time, however much is reported.
const PAUSE: Duration = Duration::from_secs(1);

/// A stream ends by itself before its connection has to, and the browser begins the next one after a moment.
const LONGEST: Duration = Duration::from_secs(100);
const AGAIN: Duration = Duration::from_millis(500);

/// `changed` with `devices` (something was reported), `fleet` (somebody changed something) or both.
pub(super) async fn follow(
    viewer: Viewer,
    State(fleet): State<Fleet>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, PageError> {
    fleet.run_as(viewer.actor, Act::See, "live", |_| Ok(())).await?;
    let watched = (fleet.inner.news.subscribe(), fleet.inner.changed.subscribe());
    let end = Instant::now() + LONGEST;
    let changes = unfold(watched, move |(mut devices, mut fleet)| async move {
        let what = timeout_at(end, next_change(&mut devices, &mut fleet)).await.ok()??;
        Some((Ok(Event::default().event("changed").data(what)), (devices, fleet)))
    });
    // What a stream begins with is how long to wait before the next one.
    let begin = once(ready(Ok(Event::default().retry(AGAIN).comment("live"))));
    Ok(Sse::new(begin.chain(changes)).keep_alive(KeepAlive::default()))
}

/// Waits for a change, then lets more of them gather.
async fn next_change(devices: &mut watch::Receiver<u64>, fleet: &mut watch::Receiver<u64>) -> Option<&'static str> {
    // Waiting marks a change as seen: what woke us is remembered here.
    let (by_devices, by_fleet) = tokio::select! {
        change = devices.changed() => (change.is_ok(), false),
        change = fleet.changed() => (false, change.is_ok()),
    };
    if !by_devices && !by_fleet {
        return None;
    }
    tokio::time::sleep(PAUSE).await;
    let by_devices = by_devices | devices.has_changed().ok()?;
    let by_fleet = by_fleet | fleet.has_changed().ok()?;
    devices.mark_unchanged();
    fleet.mark_unchanged();
    Some(match (by_devices, by_fleet) {
        (true, true) => "devices fleet",
        (true, false) => "devices",
        _ => "fleet",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_reports_in_a_second_are_one_event() {
        let (devices, fleet) = (watch::Sender::new(0), watch::Sender::new(0));
        let (mut seen_devices, mut seen_fleet) = (devices.subscribe(), fleet.subscribe());
        for _ in 0..1000 {
            devices.send_modify(|count| *count += 1);
        }
        assert_eq!(next_change(&mut seen_devices, &mut seen_fleet).await, Some("devices"));
        assert!(!seen_devices.has_changed().unwrap());
        devices.send_modify(|count| *count += 1);
        fleet.send_modify(|count| *count += 1);
        assert_eq!(next_change(&mut seen_devices, &mut seen_fleet).await, Some("devices fleet"));
        drop((devices, fleet));
        assert_eq!(next_change(&mut seen_devices, &mut seen_fleet).await, None);
    }
}
