//! Where the power comes from: a laptop that runs on its battery is slower than it was when it was measured.

use outpost_contract::PowerFacts;

use crate::heat;
use crate::tree::Tree;

const SUPPLIES: &str = "sys/class/power_supply";

/// What the supplies of this machine say. A board or a server that has none listed says nothing.
pub(crate) fn read(tree: &Tree) -> PowerFacts {
    let names = tree.names(SUPPLIES);
    let word = |name: &str, what: &str| tree.name(&format!("{SUPPLIES}/{name}/{what}"));
    // Those of mice and keyboards are listed too.
    let own: Vec<_> = names.iter().filter(|name| word(name, "scope").as_deref() != Some("Device")).collect();
    let is = |name: &str, kind: &str| word(name, "type").as_deref() == Some(kind);
    let batteries: Vec<_> = own.iter().filter(|name| is(name, "Battery")).collect();
    let is_online = |name: &&String| {
        let is_mains = ["Mains", "USB", "Wireless"].iter().any(|kind| is(name, kind));
        is_mains && tree.number::<u8>(&format!("{SUPPLIES}/{name}/online")).is_some_and(|online| online > 0)
    };
    let is_discharging = batteries.iter().any(|name| word(name, "status").as_deref() == Some("Discharging"));
    let percent =
        |name: &&&String| tree.number::<u8>(&format!("{SUPPLIES}/{name}/capacity")).filter(|part| *part <= 100);
    let source = match (own.iter().any(is_online), is_discharging) {
        (true, _) => Some("mains"),
        (false, true) => Some("battery"),
        (false, false) => None,
    };
    PowerFacts {
        source: source.map(str::to_owned),
        battery_percent: batteries.iter().filter_map(percent).min(),
        is_under_voltage: heat::is_under_voltage(tree),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Fixture, battery_laptop, server};

    #[test]
    fn a_laptop_without_its_supply_runs_on_its_battery_and_a_mouse_has_none_of_its_own() {
        let laptop = battery_laptop();
        let facts = read(&laptop.tree());
        assert_eq!((facts.source.as_deref(), facts.battery_percent), (Some("battery"), Some(64)));
        let plugged = laptop.file("sys/class/power_supply/AC/online", "1\n");
        assert_eq!(read(&plugged.tree()).source.as_deref(), Some("mains"));
        assert_eq!(read(&server().tree()), PowerFacts::default(), "nothing is listed, so nothing is said");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_in_any_of_the_files_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), number in any::<i64>()) {
            let (text, number) = (String::from_utf8_lossy(&bytes).into_owned(), number.to_string());
            let fixture = Fixture::default()
                .files("sys/class/power_supply/a", &[("type", "Battery"), ("status", &text), ("capacity", &number)])
                .files("sys/class/power_supply/b", &[("type", "Mains"), ("online", &number), ("scope", &text)]);
            prop_assert!(read(&fixture.tree()).battery_percent.is_none_or(|part| part <= 100));
        }
    }
}
