//! Rollouts while one of two servers is killed at random moments, more often than not the one that drives them: of every two that run
//! at a time, one completes, and one fails at the gate of its second wave and gives everybody back what they had.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::house::{House, PATIENCE, text};
use crate::swarm::{BOOT, Nature, Swarm};
use crate::witness::{self, Write};
use crate::{number, random_below, some_time_below};

/// Kills while the same two rollouts run.
const KILLS_AT_ONCE: usize = 2;

/// About how long the two of them take if nothing happens, milliseconds.
const UNDISTURBED_MS: u64 = 6_000;

/// Above so many tokens of context, some kiosks are slow: what the rollout that fails asks for.
const TOO_MUCH: u32 = 2_000;

/// A rollout, and what must come of it.
struct Course {
    name: String,
    /// What the names of its devices begin with.
    kind: &'static str,
    context: u32,
    /// What it must end with, as the machine writes it.
    end: Value,
}

impl Course {
    /// For all tills, which do well.
    fn well(round: u32) -> Self {
        Self { name: format!("well-{round}"), kind: "till", context: 512 + round, end: json!("completed") }
    }

    /// For all kiosks, of whose second wave some are slow: it stops when all have spoken, or at the first of them.
    fn badly(round: u32) -> Self {
        let stop = if round.is_multiple_of(2) { "gate_failed" } else { "errors" };
        let end = json!({"rolled_back": {stop: 1}});
        Self { name: format!("badly-{round}"), kind: "kiosk", context: TOO_MUCH + round, end }
    }

    fn fails(&self) -> bool {
        self.end != "completed"
    }

    fn start(&self, house: &House) {
        let Self { name, kind, context, end } = self;
        let errors = if end["rolled_back"]["gate_failed"].is_null() { 0 } else { 100 };
        let request = format!(
            "name = \"{name}\"\nfor = \"name={kind}-*\"\nmodel = \"demo\"\nminimum_context_tokens = {context}\n\
             success_percent = 100\nerror_percent = {errors}\nsoak_s = 1\ndeadline_s = 3600\n\
             [[waves]]\ncount = 2\n[[waves]]\npercent = 40\n\
             [gates]\nself_test = true\nspeed_percent_of_before = 90\nerrors_per_mille = 50\ngolden_failures = 0\n"
        );
        let file = house.path("rollout.toml");
        std::fs::write(&file, request).unwrap();
        house.ask(0, &["rollout", "start", "-f", &text(&file)]);
    }
}

/// In every second wave there is one of these.
fn is_slow(device: &str, context: u32) -> bool {
    let number = device.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
    context >= TOO_MUCH && number.is_some_and(|number| number % 5 == 4)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rollouts_go_on_as_if_nothing_had_happened_when_one_of_two_servers_is_killed() {
    let (kills, devices) = (number("OUTPOST_KILLS", 2), number("OUTPOST_DEVICES", 40).max(20));
    let names = |kind: &str| (1..=devices / 2).map(|number| format!("{kind}-{number:04}")).collect::<Vec<_>>();
    let names = [names("till"), names("kiosk")].concat();
    let mut house = House::build();
    witness::watch(&house);
    house.serve(0);
    house.serve(1);
    let nature = Nature { beat: Some(Duration::from_secs(2)), is_slow };
    let swarm = Swarm::enrol(&house, &names, nature).await;
    // What each device has: not everywhere the same.
    let mut has = BTreeMap::new();
    for (share, context) in [128, 192, 256].into_iter().enumerate() {
        let mine: Vec<&str> = names.iter().skip(share).step_by(3).map(String::as_str).collect();
        let words = ["device", "assign", "--model", "demo", "--minimum-context", &context.to_string()];
        house.ask(share % 2, &[words.as_slice(), &mine].concat());
        has.extend(mine.into_iter().map(|device| (device.to_owned(), context)));
    }
    swarm.all_stored(1, &house).await;
    house.wait_for("every device to run what it was assigned", |house| all_run(house, names.len())).await;

    let mut campaign =
        Campaign { house, swarm, has, killed: 0, going_back: 0, recoveries: 0, longest: Duration::ZERO, rollouts: 0 };
    for round in 1.. {
        campaign.round(round, kills).await;
        if campaign.killed >= kills {
            break;
        }
    }
    campaign.end().await;
}

/// Every device has reported the newest state that was signed for it.
fn all_run(house: &House, devices: usize) -> bool {
    let sql = "SELECT count(*) FROM desired d JOIN facts f USING (device) WHERE f.applied_version = d.version";
    house.sql(sql) == devices.to_string()
}

fn are_over(house: &House) -> bool {
    house.sql("SELECT count(*) FROM rollouts WHERE is_active = 1") == "0"
}

struct Campaign {
    house: House,
    swarm: Swarm,
    /// The context that each device is assigned.
    has: BTreeMap<String, u32>,
    killed: usize,
    /// Kills while a rollout gave devices back what they had.
    going_back: usize,
    /// Kills of a server that led something, after which the other, or its own next start, did.
    recoveries: usize,
    longest: Duration,
    rollouts: usize,
}

impl Campaign {
    /// Two rollouts, and a few kills while they run.
    async fn round(&mut self, round: u32, kills: usize) {
        let courses = [Course::well(round), Course::badly(round)];
        courses.iter().for_each(|course| course.start(&self.house));
        for _ in 0..KILLS_AT_ONCE.min(kills - self.killed) {
            tokio::time::sleep(some_time_below(UNDISTURBED_MS)).await;
            if are_over(&self.house) {
                break;
            }
            self.kill_one().await;
        }
        self.house.wait_for("the rollouts to end", are_over).await;
        self.house.wait_for("every device to run its last state", |house| all_run(house, self.has.len())).await;
        let writes = witness::writes(&self.house);
        for course in &courses {
            self.hold(course, &writes);
        }
        self.hold_devices(&writes);
        self.hold_reports();
        self.rollouts += courses.len();
    }

    /// The server that drives, or any, and waits until both leases are held by servers that run.
    async fn kill_one(&mut self) {
        let running = self.house.running();
        let holders = witness::holders(&self.house);
        let driver = holders.get("rollouts").and_then(|name| running.get(name)).copied();
        let victim = match driver {
            Some(driver) if random_below(4) > 0 => driver,
            _ => usize::from(random_below(2) == 0),
        };
        let led = holders.values().any(|name| running.get(name) == Some(&victim));
        let going_back = self.house.sql("SELECT count(*) FROM rollouts WHERE state = 'rolling_back'") != "0";
        self.house.kill(victim);
        let killed = Instant::now();
        self.killed += 1;
        self.going_back += usize::from(going_back);
        tokio::time::sleep(some_time_below(1500)).await;
        self.house.serve(victim);
        let is_led = |house: &House| {
            let running = house.running();
            let mut holders = witness::holders(house);
            if are_over(house) {
                // Nobody drives what is over.
                holders.remove("rollouts");
            }
            holders.values().all(|name| running.contains_key(name))
        };
        self.house.wait_for("somebody to lead", is_led).await;
        if led {
            self.recoveries += 1;
            self.longest = self.longest.max(killed.elapsed());
        }
    }

    /// What one rollout did, by what was written.
    fn hold(&mut self, course: &Course, writes: &[Write]) {
        let name = course.name.as_str();
        let of_this = || writes.iter().filter(|write| write.text("name") == name);
        let mut told = BTreeMap::new();
        for write in of_this().filter(|write| write.what == "rollout_notices") {
            let twice = told.insert(write.new["notice"].to_string(), write.turn);
            assert!(twice.is_none(), "`{name}` told twice: {}", write.new["notice"]);
        }
        let when =
            |notice: Value| *told.get(&notice.to_string()).unwrap_or_else(|| panic!("`{name}`: no {notice}: {told:?}"));
        when(json!("started"));
        when(json!({"ended": course.end}));
        let of_kind = |kind: &str| told.keys().filter(|notice| notice.contains(kind)).count();
        assert_eq!((of_kind("\"started\""), of_kind("\"ended\"")), (1, 1), "{told:?}");
        assert_eq!(of_kind("\"rolling_back\""), usize::from(course.fails()), "{told:?}");
        let back = course.fails().then(|| when(json!({"rolling_back": course.end})));

        // A gate passes once every device of its wave does well.
        let (mut waves, mut status): (BTreeMap<&str, u64>, BTreeMap<&str, &str>) = Default::default();
        let mut passed = BTreeSet::new();
        for write in of_this() {
            match write.what.as_str() {
                "rollout_devices" => {
                    waves.insert(write.text("device"), write.number("wave"));
                    status.insert(write.text("device"), write.text("status"));
                }
                "rollout_notices" => {
                    let Some(wave) = write.new["notice"]["gate_passed"].as_u64() else { continue };
                    let mut of_wave = waves.iter().filter(|(_, of)| **of == wave).map(|(device, _)| status[device]);
                    assert!(of_wave.all(|status| status == "succeeded"), "`{name}`: gate {wave}: {status:?}");
                    passed.insert(wave);
                }
                _ => {}
            }
        }
        assert_eq!(passed.len(), if course.fails() { 1 } else { 3 }, "`{name}`: {passed:?}");

        // Each device was moved once, and given back what it had once; those of a wave after the gate before it passed.
        let mut moved: BTreeMap<&str, Vec<(usize, u64)>> = waves.keys().map(|device| (*device, Vec::new())).collect();
        let signed = |write: &&Write| write.what == "desired" && write.new["signed"]["rollout"] == name;
        for write in writes.iter().filter(signed) {
            let context = write.new["signed"]["model"]["minimum_context_tokens"].as_u64().unwrap();
            moved.get_mut(write.text("device")).expect("it is a member").push((write.turn, context));
        }
        assert_eq!(moved.len(), self.has.len() / 2);
        for (device, orders) in moved {
            let (wave, had) = (waves[device], self.has.get_mut(device).unwrap());
            let contexts: Vec<u64> = orders.iter().map(|(_, context)| *context).collect();
            let there = u64::from(course.context);
            let wanted = match (course.fails(), wave) {
                (false, _) => vec![there],
                (true, 0 | 1) => vec![there, u64::from(*had)],
                (true, _) => vec![],
            };
            assert_eq!(contexts, wanted, "`{name}`: {device} of wave {wave}");
            if let (Some((turn, _)), true) = (orders.first(), wave > 0) {
                let gate = when(json!({"gate_passed": wave - 1}));
                assert!(*turn >= gate, "`{name}`: {device} of wave {wave} was moved before the gate passed");
            }
            if let (Some(back), Some((last, _))) = (back, orders.last()) {
                assert!(orders[0].0 < back && *last >= back, "`{name}`: {device} was moved after the stop");
            }
            let status = status[device];
            match (course.fails(), wave) {
                (false, _) => {
                    assert_eq!(status, "succeeded", "{device}");
                    *had = course.context;
                }
                (true, 0 | 1) => assert_eq!(status, "rolled_back", "{device}"),
                (true, _) => assert_eq!(status, "untouched", "{device}"),
            }
        }
    }

    /// What the devices were sent is what was signed, newer each time; and each has what it is to have.
    fn hold_devices(&self, writes: &[Write]) {
        let signed = witness::signed_once(writes);
        for (device, told) in self.swarm.told() {
            assert_eq!(told.refused, 0, "{device} was sent something older, or something else of the same version");
            let versions: BTreeMap<u64, &str> =
                signed[&device].iter().map(|write| (write.number("version"), write.text("sha256"))).collect();
            assert!(told.accepted.is_sorted_by(|one, next| one.version < next.version), "{device}: {told:?}");
            for one in &told.accepted {
                assert_eq!(versions.get(&one.version), Some(&one.payload.to_string().as_str()), "{device}");
            }
            let last = told.accepted.last().unwrap();
            assert_eq!((Some(&last.version), last.context), (versions.keys().last(), self.has[&device]), "{device}");
        }
    }

    /// What devices were told to be stored is stored. Only so many of each are kept, the newest, and more than that are not made
    /// between two looks.
    fn hold_reports(&self) {
        let sql = format!(
            "SELECT device || ' ' || sequence FROM reports JOIN boots USING (device, ordinal) WHERE boot = '{BOOT}'"
        );
        let told = self.swarm.told();
        let mut kept: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for row in self.house.sql(&sql).lines() {
            let (device, sequence) = row.split_once(' ').unwrap();
            kept.entry(device.to_owned()).or_default().insert(sequence.parse().unwrap());
        }
        for (device, told) in told {
            let kept = &kept[&device];
            let from = if kept.len() < 100 { 0 } else { *kept.first().unwrap() };
            let lost: Vec<&u64> = told.stored.range(from..).filter(|sequence| !kept.contains(sequence)).collect();
            assert!(lost.is_empty(), "{device} was told that {lost:?} are stored");
        }
    }

    /// What the servers' own logs say of whom they told what: never an older state after a newer one, and only what was signed. A
    /// kill may cut off the last line of a log.
    fn hold_logs(&self, writes: &[Write]) -> usize {
        let signed = witness::signed_once(writes);
        let (mut told, mut terms) = (Vec::new(), BTreeSet::new());
        for server in 0..2 {
            for file in std::fs::read_dir(self.house.state(server).join("logs")).unwrap() {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                    match line["message"].as_str() {
                        Some("desired state published") => told.push(line),
                        Some("this server leads") => {
                            assert!(terms.insert(line["term"].to_string()), "two led at a time: {line}");
                        }
                        _ => {}
                    }
                }
            }
        }
        told.sort_by_key(|line| line["timestamp"].as_str().unwrap().to_owned());
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &told {
            let (device, version) = (line["device"].as_str().unwrap(), line["version"].as_u64().unwrap());
            let before = newest.insert(device, version).unwrap_or(0);
            assert!(version >= before, "{device} was sent {version} after {before}");
            assert!(signed[device].iter().any(|write| write.number("version") == version), "{device}: {version}");
        }
        told.len()
    }

    /// Everything once more, over all rounds.
    async fn end(mut self) {
        let writes = witness::writes(&self.house);
        let changes = witness::one_leads_at_a_time(&writes);
        let published = self.hold_logs(&writes);
        let none_waits = |house: &House| house.sql("SELECT count(*) FROM own_records") == "0";
        self.house.wait_for("every act to be on record", none_waits).await;
        self.house.stop().await;
        let (records, acts) = self.house.records();
        assert_eq!(acts, self.house.acts(), "each act is on record");
        assert!(self.longest < PATIENCE);
        let stored: usize = self.swarm.told().values().map(|told| told.stored.len()).sum();
        writeln!(
            std::io::stderr().lock(),
            "{} kills in {} rollouts on {} devices, {} of them while devices were given back what they had: {} recoveries, the \
             longest {:.1?}; leases changed hands {changes} times; {published} states published, each signed once; {stored} reports acknowledged, 0 lost; \
             {} acts in {records} records",
            self.killed,
            self.rollouts,
            self.has.len(),
            self.going_back,
            self.recoveries,
            self.longest,
            acts.len(),
        )
        .unwrap();
    }
}
