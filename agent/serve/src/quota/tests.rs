//! Reserve, settle, and what is left after a restart, with a real log.

use std::path::Path;

use outpost_audit::{BootInfo, CheckpointKey, Kind, LogIdentity};

use super::*;

const NOON_MS: i64 = (20_000 * 24 + 12) * 3_600_000;

fn now() -> Moment {
    Moment { wall_ms: NOON_MS, clock_is_trusted: true, boot_us: 1_000_000_000 }
}

fn open(directory: &Path) -> AuditLog {
    let key = CheckpointKey::read_or_create(directory.join("key")).unwrap();
    let identity = LogIdentity { origin: "audit.example/quota/1".to_owned(), key };
    let clock = outpost_disk::Clock::system();
    let info = BootInfo { agent: "0.1.0".to_owned(), device: "quota".to_owned(), clock };
    AuditLog::open(&directory.join("audit"), identity, info).unwrap().0
}

fn need(prompt_tokens: u32, max_tokens: u32) -> Need {
    Need { prompt_tokens, max_tokens, fewer_will_do: false }
}

fn append(log: &AuditLog, record: Record) {
    log.append(record).wait().unwrap();
}

#[test]
fn what_was_reserved_is_spent_until_it_is_settled() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let quotas = Quotas::load(&log, now()).unwrap();
    let limits = Limits { tokens_per_day: Some(1000), ..Limits::default() };
    let mut hold = quotas.take("a", &limits, now(), need(100, 600)).unwrap();
    assert_eq!(quotas.tokens_today("a", now()), 700);
    assert_eq!(hold.standing().tokens, Some((1000, 300, (12 * 3600 + 1) * 1000)));
    let refused = quotas.take("a", &limits, now(), need(100, 201)).map(|_| ()).unwrap_err();
    assert_eq!(refused, Exceeded::Tokens { limit: 1000, left: 300, retry_after_s: 12 * 3600 + 1 });
    assert!(quotas.take("b", &limits, now(), need(100, 900)).is_ok(), "others have their own");
    append(&log, hold.reserve(Record::new(Kind::InferStart)));
    let end = hold.settle(Record::new(Kind::InferEnd), 130);
    append(&log, end);
    drop(hold);
    assert_eq!(quotas.tokens_today("a", now()), 130);
    assert_eq!(Quotas::load(&log, now()).unwrap().tokens_today("a", now()), 130);
    assert!(quotas.lock().keys().eq(["a"]), "who used nothing is not remembered");
}

#[test]
fn an_answer_whose_length_was_left_open_gets_what_is_left_of_the_day() {
    let directory = tempfile::tempdir().unwrap();
    let quotas = Quotas::load(&open(directory.path()), now()).unwrap();
    let limits = Limits { tokens_per_day: Some(1000), ..Limits::default() };
    let hold = quotas.take("a", &limits, now(), Need { fewer_will_do: true, ..need(100, 4096) }).unwrap();
    assert_eq!(hold.max_tokens(), 900);
    assert!(quotas.take("a", &limits, now(), Need { fewer_will_do: true, ..need(0, 1) }).is_err());
}

#[test]
fn what_comes_to_nothing_before_its_record_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let quotas = Quotas::load(&log, now()).unwrap();
    let limits =
        Limits { tokens_per_day: Some(1000), requests_per_minute: Some(2), concurrent: Some(2), ..Limits::default() };
    for _ in 0..10 {
        drop(quotas.take("a", &limits, now(), need(100, 600)).unwrap());
    }
    assert_eq!(quotas.tokens_today("a", now()), 0);
    let mut hold = quotas.take("a", &limits, now(), need(100, 600)).unwrap();
    let _never_written = hold.reserve(Record::new(Kind::InferStart));
    hold.release();
    drop(hold);
    assert_eq!((quotas.tokens_today("a", now()), log.counters().unwrap().len()), (0, 0));
}

#[test]
fn requests_at_once_and_in_a_minute_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path());
    let quotas = Quotas::load(&log, now()).unwrap();
    let limits = Limits { requests_per_minute: Some(3), concurrent: Some(2), ..Limits::default() };
    let take = |now| quotas.take("a", &limits, now, need(1, 1));
    let holds = [take(now()).unwrap(), take(now()).unwrap()];
    assert_eq!(holds[1].standing().requests, Some((3, 1, 40_000)));
    assert_eq!(take(now()).map(|_| ()), Err(Exceeded::AtOnce { limit: 2, retry_after_s: 1 }));
    let [mut first, mut second] = holds;
    for hold in [&mut first, &mut second] {
        append(&log, hold.reserve(Record::new(Kind::InferStart)));
    }
    drop((first, second));
    append(&log, take(now()).unwrap().reserve(Record::new(Kind::InferStart)));
    assert_eq!(take(now()).map(|_| ()), Err(Exceeded::Requests { limit: 3, retry_after_s: 20 }));
    // Another process, the same machine: nothing is given back.
    let again = Quotas::load(&log, now()).unwrap();
    assert!(again.take("a", &limits, now(), need(1, 1)).is_err());
    // The machine was started anew: at most a minute to wait, and what is written then is believed again.
    let at = |boot_s: i64| Moment { boot_us: boot_s * 1_000_000, ..now() };
    let rebooted = Quotas::load(&log, at(5)).unwrap();
    assert_eq!(
        rebooted.take("a", &limits, at(5), need(1, 1)).map(|_| ()),
        Err(Exceeded::Requests { limit: 3, retry_after_s: 20 })
    );
    let mut hold = rebooted.take("a", &limits, at(25), need(1, 1)).unwrap();
    append(&log, hold.reserve(Record::new(Kind::InferStart)));
    drop(hold);
    let once_more = Quotas::load(&log, at(85)).unwrap();
    assert_eq!(once_more.take("a", &limits, at(85), need(1, 1)).unwrap().standing().requests, Some((3, 2, 20_000)));
}

#[test]
fn a_request_that_was_cut_off_keeps_what_it_had_reserved() {
    let directory = tempfile::tempdir().unwrap();
    {
        let log = open(directory.path());
        let quotas = Quotas::load(&log, now()).unwrap();
        let mut hold = quotas.take("a", &Limits::default(), now(), need(100, 600)).unwrap();
        append(&log, hold.reserve(Record::new(Kind::InferStart).request("r")));
        // As a kill leaves it: neither settled nor closed in order.
        std::mem::forget(hold);
    }
    let log = open(directory.path());
    assert_eq!(Quotas::load(&log, now()).unwrap().tokens_today("a", now()), 700);
}
