//! Two servers on one PostgreSQL and one Mosquitto, with many devices: one server is killed again and again while desired states go
//! out and reports come in, and while rollouts go through their waves. Nothing that was acknowledged is lost, nothing is done twice.
//!
//! `OUTPOST_KILLS=20 cargo test -p outpost-control --test replicas` runs the long form; `OUTPOST_DEVICES` says how many devices.

mod house;
#[expect(unreachable_pub, dead_code, reason = "it is a module of another crate, which uses all of it")]
#[path = "../../../tests/src/postgres.rs"]
mod postgres;
mod rollouts;
mod swarm;
mod witness;

use std::io::Write as _;
use std::time::{Duration, Instant};

use house::House;
use swarm::{BOOT, Nature, Swarm};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn random_below(end: u64) -> u64 {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    u64::from_be_bytes(random) % end
}

fn some_time_below(milliseconds: u64) -> Duration {
    Duration::from_millis(random_below(milliseconds))
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
    let names: Vec<String> = (1..=devices).map(|number| format!("device-{number:03}")).collect();
    let swarm = Swarm::enrol(&house, &names, Nature::QUIET).await;
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
        tokio::time::sleep(some_time_below(3000)).await;
        house.kill(victim);
        let killed = Instant::now();
        house.end(assigning).await;
        let version = u64::try_from(round).unwrap() + 1;
        swarm.all_stored(version, &house).await;
        longest = longest.max(killed.elapsed());
        house.serve(victim);
    }

    // What devices were told to be stored is stored, and each state was signed once.
    let told = swarm.told();
    for (device, sequence) in told.iter().map(|(device, told)| (device, told.newest_stored())) {
        let sql = format!(
            "SELECT count(*) FROM reports JOIN boots USING (device, ordinal) \
             WHERE device = '{device}' AND boot = '{BOOT}' AND sequence <= {sequence}"
        );
        assert_eq!(house.sql(&sql), sequence.to_string(), "`{device}` was told that {sequence} reports are stored");
    }
    assert_eq!(house.sql("SELECT min(version) || ' ' || max(version) FROM desired"), format!("{kills} {kills}"));
    let refused: usize = told.values().map(|told| told.refused).sum();
    assert_eq!(refused, 0, "no device was sent an older state, or one with the same version and other content");
    // Every act is in the logs of the two, under its number, and none waits.
    house.wait_for("every act to be on record", |house| house.sql("SELECT count(*) FROM own_records") == "0").await;
    house.stop().await;
    let (records, acts) = house.records();
    assert_eq!(acts, house.acts(), "each act is on record");
    writeln!(
        std::io::stderr(),
        "{kills} kills, {devices} devices, {} reports acknowledged, 0 lost; {} acts in {records} records; \
         the longest from a kill until every report was acknowledged: {longest:.1?}",
        told.values().map(swarm::Told::newest_stored).sum::<u64>(),
        acts.len(),
    )
    .unwrap();
}
