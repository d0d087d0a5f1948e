//! Temperature, and whether the processor is held back: by heat, by a weak power supply, by its firmware.

use outpost_contract::HeatFacts;

use crate::tree::Tree;

const ZONES: &str = "sys/class/thermal";
const SENSORS: &str = "sys/class/hwmon";
const CPUS: &str = "sys/devices/system/cpu";

/// Parts of the names of sensors that are the processor's.
const PROCESSORS: &[&str] = &["cpu", "x86_pkg", "soc", "coretemp", "k10temp", "zenpower", "package", "tctl"];

/// No sensor that works says less or more; broken ones do.
const BELIEVABLE: std::ops::RangeInclusive<i32> = -40_000..=150_000;

/// Bits of a Raspberry Pi's firmware: what is so now, and what has been so since it was started.
const FIRMWARE: &[(u32, &str)] = &[
    (0, "the voltage is too low now"),
    (1, "the firmware caps the clock now"),
    (2, "the firmware throttles the processor now"),
    (3, "the soft limit of temperature is reached now"),
    (16, "the voltage has been too low since the start"),
    (17, "the firmware has capped the clock since the start"),
    (18, "the firmware has throttled the processor since the start"),
    (19, "the soft limit of temperature has been reached since the start"),
];

/// The bits that hold the processor back at this moment.
const HELD_BACK: u32 = 0b1110;

/// One sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sensor {
    name: String,
    milli_celsius: i32,
    limit: Option<i32>,
}

/// How hot it is now, and what that does.
pub(crate) fn read(tree: &Tree) -> HeatFacts {
    let sensors: Vec<_> = zones(tree).into_iter().chain(chips(tree)).collect();
    let is_processor = |sensor: &&Sensor| {
        let name = sensor.name.to_lowercase();
        PROCESSORS.iter().any(|part| name.contains(part))
    };
    let of_processor = sensors.iter().filter(is_processor).max_by_key(|sensor| sensor.milli_celsius);
    let hottest = of_processor.or_else(|| sensors.iter().max_by_key(|sensor| sensor.milli_celsius));
    let (firmware, cooling) = (firmware_bits(tree), cooling(tree));
    let told = [firmware.map(|bits| bits & HELD_BACK != 0), cooling];
    let mut notes: Vec<_> = FIRMWARE
        .iter()
        .filter(|(bit, _)| firmware.is_some_and(|bits| bits & (1 << bit) != 0))
        .map(|(_, note)| (*note).to_owned())
        .collect();
    if cooling == Some(true) {
        notes.push("the kernel lowers the clock to cool the processor now".to_owned());
    }
    HeatFacts {
        sensor: hottest.map(|sensor| sensor.name.clone()),
        milli_celsius: hottest.map(|sensor| sensor.milli_celsius),
        limit_milli_celsius: hottest.and_then(|sensor| sensor.limit),
        is_throttled: told.into_iter().flatten().reduce(|one, other| one || other),
        notes,
    }
}

/// Zones of the kernel's thermal control, with the lowest point at which it acts.
fn zones(tree: &Tree) -> Vec<Sensor> {
    let read = |number: u32| {
        let zone = format!("{ZONES}/thermal_zone{number}");
        let milli_celsius = believable(&tree.text(&format!("{zone}/temp"))?)?;
        let points = tree.numbers_between(&zone, "trip_point_", "_temp").into_iter().filter_map(|point| {
            let kind = tree.name(&format!("{zone}/trip_point_{point}_type"))?;
            let limit = believable(&tree.text(&format!("{zone}/trip_point_{point}_temp"))?)?;
            (matches!(&*kind, "passive" | "hot" | "critical") && limit > 0).then_some(limit)
        });
        let limit = points.min();
        Some(Sensor { name: tree.name(&format!("{zone}/type"))?, milli_celsius, limit })
    };
    tree.numbers(ZONES, "thermal_zone").into_iter().filter_map(read).collect()
}

/// Sensors of chips, which many servers have instead of zones.
fn chips(tree: &Tree) -> Vec<Sensor> {
    let mut all = Vec::new();
    for number in tree.numbers(SENSORS, "hwmon") {
        let chip = format!("{SENSORS}/hwmon{number}");
        let Some(name) = tree.name(&format!("{chip}/name")) else { continue };
        for input in tree.numbers_between(&chip, "temp", "_input") {
            let read = |what: &str| believable(&tree.text(&format!("{chip}/temp{input}_{what}"))?);
            let Some(milli_celsius) = read("input") else { continue };
            let limit = [read("max"), read("crit")].into_iter().flatten().filter(|limit| *limit > 0).min();
            all.push(Sensor { name: name.clone(), milli_celsius, limit });
        }
    }
    all
}

fn believable(text: &str) -> Option<i32> {
    text.trim().parse().ok().filter(|milli| BELIEVABLE.contains(milli))
}

/// What the firmware of a Raspberry Pi says; boards and kernels place it differently.
fn firmware_bits(tree: &Tree) -> Option<u32> {
    let platform = "sys/devices/platform";
    let socs = tree.names(platform).into_iter().filter(|name| name.starts_with("soc"));
    let mut folders = socs.flat_map(|soc| {
        let soc = format!("{platform}/{soc}");
        let inner = tree.names(&soc).into_iter().filter(|name| name.contains("firmware"));
        let mut folders: Vec<_> = inner.map(|inner| format!("{soc}/{inner}")).collect();
        folders.push(soc);
        folders
    });
    folders.find_map(|folder| parse_bits(&tree.text(&format!("{folder}/get_throttled"))?))
}

/// Hexadecimal, with or without `0x`.
fn parse_bits(text: &str) -> Option<u32> {
    let text = text.trim();
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// Whether the voltage is too low now, as the firmware or its sensor says.
pub(crate) fn is_under_voltage(tree: &Tree) -> Option<bool> {
    let by_sensor = || {
        let is_pi = |number: &u32| tree.name(&format!("{SENSORS}/hwmon{number}/name")).as_deref() == Some("rpi_volt");
        let number = tree.numbers(SENSORS, "hwmon").into_iter().find(is_pi)?;
        tree.number::<u8>(&format!("{SENSORS}/hwmon{number}/in0_lcrit_alarm")).map(|alarm| alarm != 0)
    };
    firmware_bits(tree).map(|bits| bits & 1 != 0).or_else(by_sensor)
}

/// Whether the kernel cools by lowering clocks; `None` if no cooling device is the processor's.
fn cooling(tree: &Tree) -> Option<bool> {
    let is_cooling = |number: u32| {
        let device = format!("{ZONES}/cooling_device{number}");
        let kind = tree.name(&format!("{device}/type"))?.to_lowercase();
        let is_processor = kind == "processor" || kind.contains("cpufreq") || kind.contains("cpu-clock");
        let state: i64 = tree.number(&format!("{device}/cur_state")).filter(|_| is_processor)?;
        Some(state > 0)
    };
    let all = tree.numbers(ZONES, "cooling_device").into_iter().filter_map(is_cooling);
    all.reduce(|one, other| one || other)
}

/// How often the processor itself has slowed down for heat since the start; `None` where it does not count.
pub(crate) fn times_throttled(tree: &Tree) -> Option<u64> {
    let times = |cpu: u32| {
        let of = |name: &str| tree.number::<u64>(&format!("{CPUS}/cpu{cpu}/thermal_throttle/{name}_throttle_count"));
        [of("core"), of("package")].into_iter().flatten().reduce(u64::saturating_add)
    };
    tree.numbers(CPUS, "cpu").into_iter().filter_map(times).reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Fixture, battery_laptop, jetson, nested_container, raspberry_pi_5, server};

    fn seen(fixture: &Fixture) -> (Option<String>, Option<i32>, Option<i32>, Option<bool>) {
        let facts = read(&fixture.tree());
        (facts.sensor, facts.milli_celsius, facts.limit_milli_celsius, facts.is_throttled)
    }

    #[test]
    fn the_processors_own_sensor_counts_before_a_hotter_one() {
        assert_eq!(seen(&server()), (Some("k10temp".to_owned()), Some(61_500), Some(95_000), None));
        assert_eq!(seen(&battery_laptop()), (Some("k10temp".to_owned()), Some(88_000), None, Some(true)));
        assert_eq!(seen(&jetson()), (Some("cpu-thermal".to_owned()), Some(49_000), Some(99_000), Some(false)));
        assert_eq!(seen(&nested_container()), (None, None, None, None));
    }

    #[test]
    fn a_board_tells_what_holds_it_back_and_what_has() {
        let board = raspberry_pi_5();
        assert_eq!(seen(&board), (Some("cpu-thermal".to_owned()), Some(55_300), Some(110_000), Some(false)));
        assert_eq!((read(&board.tree()).notes, is_under_voltage(&board.tree())), (Vec::new(), Some(false)));
        let weak = board.file("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "50005\n");
        let facts = read(&weak.tree());
        assert_eq!((facts.is_throttled, facts.notes.len()), (Some(true), 4));
        assert_eq!((&*facts.notes[0], is_under_voltage(&weak.tree())), ("the voltage is too low now", Some(true)));
        let by_sensor =
            Fixture::default().files("sys/class/hwmon/hwmon2", &[("name", "rpi_volt\n"), ("in0_lcrit_alarm", "1\n")]);
        assert_eq!(is_under_voltage(&by_sensor.tree()), Some(true));
    }

    #[test]
    fn a_broken_sensor_is_not_believed_and_slow_downs_are_counted() {
        let broken = Fixture::default()
            .files("sys/class/thermal/thermal_zone0", &[("type", "cpu-thermal"), ("temp", "-274000")])
            .files("sys/class/thermal/thermal_zone1", &[("type", "cpu-thermal"), ("temp", "x")]);
        assert_eq!(seen(&broken), (None, None, None, None));
        let counts = [("core_throttle_count", "3"), ("package_throttle_count", "4")];
        let counted = broken.files("sys/devices/system/cpu/cpu0/thermal_throttle", &counts);
        assert_eq!(times_throttled(&counted.tree()), Some(7));
        assert_eq!(times_throttled(&Fixture::default().tree()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_in_any_of_the_files_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), number in any::<i64>()) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            parse_bits(&text);
            believable(&text);
            parse_bits(&number.to_string());
            let number = number.to_string();
            let fixture = Fixture::default()
                .files("sys/class/thermal/thermal_zone0", &[("type", &text), ("temp", &number), ("trip_point_0_type", "hot"), ("trip_point_0_temp", &text)])
                .files("sys/class/thermal/cooling_device0", &[("type", "Processor"), ("cur_state", &number)])
                .files("sys/class/hwmon/hwmon0", &[("name", &text), ("temp1_input", &number), ("temp1_crit", &number)])
                .file("sys/devices/platform/soc/soc:firmware/get_throttled", &text)
                .file("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", &number);
            read(&fixture.tree());
            times_throttled(&fixture.tree());
            is_under_voltage(&fixture.tree());
        }
    }
}
