//! The order of turns on a clock that the tests turn.

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1024;
const CHUNK: u64 = 256 * KIB;

fn ticket(device: &str, site: Option<&str>, bytes: u64, priority: Priority) -> Ticket<()> {
    Ticket { device: device.parse().unwrap(), site: site.map(str::to_owned), bytes, priority, payload: () }
}

/// Who asks: a device, its site, the size of its chunks; each asks again as soon as it was served.
type Greedy = (&'static str, Option<&'static str>, u64);

/// Bytes that each was granted within the time.
fn run(rates: Rates, greedy: &[Greedy], seconds: u64) -> Vec<u64> {
    let mut line = Line::new(rates);
    let mut now = Duration::ZERO;
    let mut granted = vec![0; greedy.len()];
    for (device, site, bytes) in greedy {
        line.put(ticket(device, *site, *bytes, Priority::Model), now);
    }
    while now < Duration::from_secs(seconds) {
        match line.next(now) {
            Next::Grant(ticket) => {
                let index = greedy.iter().position(|(device, ..)| *device == ticket.device.as_str()).unwrap();
                granted[index] += ticket.bytes;
                line.put(ticket, now);
            }
            Next::In(wait) => now += wait,
            Next::Idle => panic!("somebody always waits"),
        }
    }
    granted
}

fn jain(granted: &[u64]) -> f64 {
    let sum: f64 = granted.iter().map(|bytes| *bytes as f64).sum();
    let squares: f64 = granted.iter().map(|bytes| (*bytes as f64).powi(2)).sum();
    sum * sum / (granted.len() as f64 * squares)
}

#[test]
fn two_devices_share_a_slow_line_by_bytes_however_they_are_cut() {
    let rates = Rates { fleet: 512 * KIB, ..Rates::default() };
    for second in [CHUNK, 10 * KIB] {
        let granted = run(rates, &[("a", None, CHUNK), ("b", None, second)], 30);
        assert!(jain(&granted) >= 0.99, "{granted:?}");
        let total: u64 = granted.iter().sum();
        assert!((29 * 512 * KIB..=32 * 512 * KIB).contains(&total), "{granted:?}");
    }
}

#[test]
fn a_site_and_a_device_have_their_own_limits_and_hold_nobody_else_up() {
    let rates = Rates { fleet: 0, site: 512 * KIB, device: 384 * KIB };
    let greedy = [("a", Some("store-1"), CHUNK), ("b", Some("store-1"), CHUNK), ("c", Some("store-2"), CHUNK)];
    let granted = run(rates, &greedy, 30);
    assert!(jain(&granted[..2]) >= 0.99, "{granted:?}");
    let store = granted[0] + granted[1];
    assert!((29 * 512 * KIB..=32 * 512 * KIB).contains(&store), "{granted:?}");
    assert!((29 * 384 * KIB..=32 * 384 * KIB).contains(&granted[2]), "{granted:?}");
}

#[test]
fn small_blobs_go_first_and_starve_no_model() {
    let mut line = Line::new(Rates::default());
    for _ in 0..20 {
        line.put(ticket("a", None, CHUNK, Priority::Small), Duration::ZERO);
    }
    line.put(ticket("b", None, CHUNK, Priority::Model), Duration::ZERO);
    let order: Vec<Priority> = std::iter::from_fn(|| match line.next(Duration::ZERO) {
        Next::Grant(ticket) => Some(ticket.priority),
        _ => None,
    })
    .collect();
    assert_eq!(order.len(), 21);
    assert_eq!(order.iter().position(|priority| *priority == Priority::Model), Some(4));
}

#[test]
fn who_comes_later_gets_no_arrears() {
    let mut line = Line::new(Rates::default());
    let now = Duration::ZERO;
    for _ in 0..10 {
        line.put(ticket("a", None, CHUNK, Priority::Model), now);
        assert!(matches!(line.next(now), Next::Grant(_)));
    }
    for device in ["a", "b", "a", "b", "a", "b"] {
        line.put(ticket(device, None, CHUNK, Priority::Model), now);
    }
    let order: String = std::iter::from_fn(|| match line.next(now) {
        Next::Grant(ticket) => Some(ticket.device.to_string()),
        _ => None,
    })
    .collect();
    assert!(["bababa", "bbabaa", "ababab"].contains(&order.as_str()), "{order}");
}

#[test]
fn the_wait_that_is_told_is_a_round() {
    let mut line = Line::new(Rates { fleet: 128 * KIB, ..Rates::default() });
    let mut now = Duration::ZERO;
    line.put(ticket("a", None, CHUNK, Priority::Model), now);
    assert!(matches!(line.next(now), Next::Grant(_)), "the bucket is full at first");
    line.put(ticket("a", None, CHUNK, Priority::Model), now);
    line.put(ticket("b", None, CHUNK, Priority::Model), now);
    let told = line.wait(&"b".parse().unwrap(), None, Priority::Model, now);
    assert_eq!(told.as_secs(), 4);
    assert_eq!(line.wait(&"b".parse().unwrap(), None, Priority::Small, now), Duration::ZERO);
    let mut last = Duration::ZERO;
    loop {
        match line.next(now) {
            Next::Grant(_) => last = now,
            Next::In(wait) => now += wait,
            Next::Idle => break,
        }
    }
    assert!(last.abs_diff(told) < Duration::from_millis(10), "{last:?} {told:?}");
}

proptest! {
    #[test]
    fn whatever_waits_is_granted_once_and_the_rate_holds(
        tickets in prop::collection::vec((0..6_u8, 1..=CHUNK, any::<bool>()), 1..80),
        fleet in 1_u64..4 * 1024 * 1024,
    ) {
        let mut line = Line::new(Rates { fleet, site: fleet / 2 + 1, device: 0 });
        for (device, bytes, is_small) in &tickets {
            let priority = if *is_small { Priority::Small } else { Priority::Model };
            let site = (*device < 3).then_some("store");
            line.put(ticket(&format!("d{device}"), site, *bytes, priority), Duration::ZERO);
        }
        let (mut now, mut granted, mut bytes, mut steps) = (Duration::ZERO, 0, 0, 0);
        loop {
            steps += 1;
            prop_assert!(steps < 10_000, "it gets nowhere");
            match line.next(now) {
                Next::Grant(ticket) => {
                    granted += 1;
                    bytes += ticket.bytes;
                    let most = fleet.max(CHUNK) as f64 + fleet as f64 * now.as_secs_f64() + 1.0;
                    prop_assert!(bytes as f64 <= most, "{} > {}", bytes, most);
                }
                Next::In(wait) => now += wait,
                Next::Idle => break,
            }
        }
        prop_assert_eq!(granted, tickets.len());
    }
}
