//! Two servers on one PostgreSQL and one Mosquitto, with a hundred devices: one server is killed again and again while desired states
//! go out and reports come in. Nothing that was acknowledged is lost, nothing is done twice.
//!
//! `OUTPOST_KILLS=20 cargo test -p outpost-control --test replicas` runs the long form; `OUTPOST_DEVICES` says how many devices.

mod house;
#[expect(unreachable_pub, dead_code, reason = "it is a module of another crate, which uses all of it")]
#[path = "../../../tests/src/postgres.rs"]
mod postgres;
mod swarm;

use std::io::Write as _;
use std::time::{Duration, Instant};

use house::House;
use swarm::Swarm;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_done_twice_when_one_of_two_servers_is_killed() {
    let (kills, devices) = (number("OUTPOST_KILLS", 4), number("OUTPOST_DEVICES", 100));
    let mut house = House::build();
    house.serve(0);
    house.serve(1);
    house
        .wait_for("one server to lead", |house| house.sql("SELECT count(*) FROM leases WHERE name = 'leader'") == "1")
        .await;
    let swarm = Swarm::enrol(&house, devices).await;
    house
        .wait_for("every device to be online", |house| {
            house.sql("SELECT count(*) FROM contacts WHERE online = 1") == devices.to_string()
        })
        .await;

    let mut longest = Duration::ZERO;
    for round in 0..kills {
        let (victim, other) = (round % 2, (round + 1) % 2);
        // By either server's command line, while both serve: states are signed once.
        let words = ["device", "assign", "--all", "--minimum-context", &(1000 + round).to_string()];
        let assigning = house.begin(other, &words);
        let mut moment = [0; 2];
        getrandom::fill(&mut moment).unwrap();
        tokio::time::sleep(Duration::from_millis(u64::from(u16::from_be_bytes(moment)) % 3000)).await;
        house.kill(victim);
        let killed = Instant::now();
        house.end(assigning).await;
        let version = u64::try_from(round).unwrap() + 1;
        swarm.all_stored(version, &house).await;
        longest = longest.max(killed.elapsed());
        house.serve(victim);
    }

    // What devices were told to be stored is stored, and each state was signed once.
    let acknowledged = swarm.acknowledged();
    for (device, (boot, sequence)) in &acknowledged {
        let sql = format!(
            "SELECT count(*) FROM reports JOIN boots USING (device, ordinal) \
             WHERE device = '{device}' AND boot = '{boot}' AND sequence <= {sequence}"
        );
        assert_eq!(house.sql(&sql), sequence.to_string(), "`{device}` was told that {sequence} reports are stored");
    }
    assert_eq!(acknowledged.len(), devices);
    assert_eq!(house.sql("SELECT min(version) || ' ' || max(version) FROM desired"), format!("{kills} {kills}"));
    assert_eq!(swarm.refused(), 0, "no device was sent an older state, or one with the same version and other content");
    // Every act is in the logs of the two, under its number, and none waits.
    house.wait_for("every act to be on record", |house| house.sql("SELECT count(*) FROM own_records") == "0").await;
    house.stop().await;
    let (records, acts) = house.records();
    assert_eq!(acts, house.acts(), "each act is on record");
    writeln!(
        std::io::stderr(),
        "{kills} kills, {devices} devices, {} reports acknowledged, 0 lost; {} acts in {records} records; \
         the longest from a kill until every report was acknowledged: {longest:.1?}",
        acknowledged.values().map(|(_, sequence)| sequence).sum::<u64>(),
        acts.len(),
    )
    .unwrap();
}
