//! The catalogue as somebody chooses from it: each variant with its facts, and how fast the fleet measured it.

use std::collections::BTreeMap;

use outpost_contract::{ModelId, Origin, TargetKind, TargetName};
use serde::{Deserialize, Serialize};

use super::{Filter, ModelError, parameter_class};
use crate::db::{MeasuredSpeed, StoredWithdrawal};
use crate::fleet::{Fleet, FleetError};

/// Kinds of machines that one variant's speeds are told for, the most frequent.
const MOST_MACHINES: usize = 20;

/// Variants that can be put side by side.
pub const MOST_COMPARED: usize = 3;

/// A variant of a model, as somebody chooses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// Its name in the catalogue.
    pub target: TargetName,
    /// The model.
    pub model: ModelId,
    /// The framework's class of its parameter count.
    pub class: String,
    /// GGUF `general.architecture`.
    pub family: String,
    /// Its licence; empty if none is known.
    pub licence: String,
    /// As in `Q4_0`.
    pub quantisation: String,
    /// Number of weights.
    pub parameters: u64,
    /// Bits per weight, thousandths: the more, the closer to the original.
    pub bits_per_weight_milli: u32,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the weights in memory.
    pub weight_bytes: u64,
    /// Longest context, tokens.
    pub context_tokens: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Its release.
    pub release: u64,
    /// Questions whose answers every device checks before it serves.
    pub golden_prompts: u32,
    /// Median speed over the devices that serve it, thousandths of a token per second; none if none has said.
    pub speed_milli: Option<u64>,
    /// Devices that said so.
    pub devices: u64,
    /// The same by kind of machine, the most frequent first.
    pub speeds: Vec<SpeedOn>,
    /// Why it may not be assigned, if it was withdrawn.
    pub withdrawn: Option<String>,
    /// Where it came from.
    pub origin: Option<Origin>,
}

/// How fast a kind of machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeedOn {
    /// The processor, as the devices name it.
    pub cpu: String,
    /// Its cores.
    pub cores: u64,
    /// How many said so.
    pub devices: u64,
    /// Median, thousandths of a token per second.
    pub median_milli: u64,
}

/// Variants side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The variants, in the order that was asked for.
    pub entries: Vec<CatalogueEntry>,
    /// Each fact of all of them, in order.
    pub facts: Vec<ComparedFact>,
}

/// One fact of each variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedFact {
    /// What it is.
    pub name: String,
    /// What each variant says.
    pub values: Vec<String>,
    /// Whether they say different things.
    pub differs: bool,
}

impl Fleet {
    /// The variants that a filter means, the smallest models first, within a model the smallest file first.
    ///
    /// # Errors
    /// If the database fails.
    pub fn entries(&self, filter: &Filter) -> Result<Vec<CatalogueEntry>, FleetError> {
        let withdrawals = self.inner.database.withdrawals()?;
        let mut speeds = by_target(self.inner.database.measured_speeds()?);
        let mut entries = Vec::new();
        for target in self.inner.database.targets()? {
            let TargetKind::Variant(facts) = &target.kind else { continue };
            let measured = speeds.remove(target.name.as_str()).unwrap_or_default();
            let all: Vec<u64> = measured.values().flatten().copied().collect();
            let file = target.model_file().map(|file| file.to_hex()).unwrap_or_default();
            let is_withdrawn = |one: &&StoredWithdrawal| {
                (one.target.is_empty() && one.model == facts.model.model.as_str()) || one.files.contains(&file)
            };
            let entry = CatalogueEntry {
                model: facts.model.model.clone(),
                class: parameter_class(facts.model.parameters).to_owned(),
                family: facts.model.architecture.clone(),
                licence: facts.model.licence.clone(),
                quantisation: facts.quantisation.clone(),
                parameters: facts.model.parameters,
                bits_per_weight_milli: facts.quality_milli,
                file_bytes: facts.file_bytes,
                weight_bytes: facts.weight_bytes,
                context_tokens: facts.model.context_tokens,
                layers: facts.model.layers,
                release: facts.release,
                golden_prompts: u32::try_from(facts.golden.as_slice().len()).unwrap_or(u32::MAX),
                devices: all.len() as u64,
                speed_milli: median(all),
                speeds: on_machines(measured),
                withdrawn: withdrawals.iter().find(is_withdrawn).map(|one| one.reason.clone()),
                origin: facts.origin.as_deref().cloned(),
                target: target.name,
            };
            if filter.means(&entry) {
                entries.push(entry);
            }
        }
        entries.sort_by(|one, other| {
            let key = |entry: &CatalogueEntry| (entry.parameters, entry.file_bytes, entry.target.clone());
            key(one).cmp(&key(other))
        });
        Ok(entries)
    }

    /// Two or three variants side by side.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] if a name is none, or there are too few or too many.
    pub fn compare(&self, names: &[String]) -> Result<Comparison, FleetError> {
        if !(2..=MOST_COMPARED).contains(&names.len()) {
            return Err(ModelError::Invalid("two or three variants can be put side by side".to_owned()).into());
        }
        let all = self.entries(&Filter::default())?;
        let find = |name: &String| {
            let found = all.iter().find(|entry| entry.target.as_str() == name).cloned();
            found.ok_or_else(|| {
                let shown = crate::inventory::words::clean(name, 60);
                FleetError::from(ModelError::Invalid(format!(
                    "there is no variant `{shown}`; `outpost-control catalogue ls` lists them"
                )))
            })
        };
        let entries = names.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        Ok(Comparison { facts: compared(&entries), entries })
    }
}

fn compared(entries: &[CatalogueEntry]) -> Vec<ComparedFact> {
    type Told = fn(&CatalogueEntry) -> String;
    let size = crate::inventory::words::size;
    let facts: [(&str, Told); 13] = [
        ("model", |one| one.model.to_string()),
        ("class", |one| one.class.clone()),
        ("parameters", |one| one.parameters.to_string()),
        ("family", |one| one.family.clone()),
        ("licence", |one| if one.licence.is_empty() { "unknown".to_owned() } else { one.licence.clone() }),
        ("quantisation", |one| one.quantisation.clone()),
        ("bits per weight", |one| milli(one.bits_per_weight_milli.into())),
        ("context, tokens", |one| one.context_tokens.to_string()),
        ("layers", |one| one.layers.to_string()),
        ("golden prompts", |one| one.golden_prompts.to_string()),
        ("tokens/s, median", |one| one.speed_milli.map_or_else(|| "not measured".to_owned(), milli)),
        ("measured on", |one| format!("{} devices", one.devices)),
        ("withdrawn", |one| one.withdrawn.clone().unwrap_or_else(|| "no".to_owned())),
    ];
    let fact = |name: &str, values: Vec<String>| {
        let differs = values.windows(2).any(|pair| pair[0] != pair[1]);
        ComparedFact { name: name.to_owned(), values, differs }
    };
    let mut told: Vec<ComparedFact> =
        facts.iter().map(|(name, told)| fact(name, entries.iter().map(told).collect())).collect();
    told.insert(6, fact("file", entries.iter().map(|one| size(one.file_bytes)).collect()));
    told.insert(7, fact("weights in memory", entries.iter().map(|one| size(one.weight_bytes)).collect()));
    told
}

/// Thousandths as a decimal.
fn milli(value: u64) -> String {
    format!("{}.{:03}", value / 1000, value % 1000)
}

type ByMachine = BTreeMap<(String, u64), Vec<u64>>;

fn by_target(speeds: Vec<MeasuredSpeed>) -> BTreeMap<String, ByMachine> {
    let mut by_target: BTreeMap<String, ByMachine> = BTreeMap::new();
    for one in speeds {
        // What a device calls its processor reaches pages and terminals.
        let cpu = crate::inventory::words::clean(&one.cpu, 60);
        by_target.entry(one.target).or_default().entry((cpu, one.cores)).or_default().push(one.speed_milli);
    }
    by_target
}

fn on_machines(measured: ByMachine) -> Vec<SpeedOn> {
    let mut speeds: Vec<SpeedOn> = measured
        .into_iter()
        .filter_map(|((cpu, cores), speeds)| {
            Some(SpeedOn { cpu, cores, devices: speeds.len() as u64, median_milli: median(speeds)? })
        })
        .collect();
    speeds.sort_by(|one, other| other.devices.cmp(&one.devices).then_with(|| one.cpu.cmp(&other.cpu)));
    speeds.truncate(MOST_MACHINES);
    speeds
}

/// The lower of the two in the middle.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::tests::House;
    use super::*;

    #[test]
    fn medians_are_of_those_who_measured_by_machine() {
        let said =
            |cpu: &str, speed_milli| MeasuredSpeed { target: "t".into(), cpu: cpu.into(), cores: 4, speed_milli };
        let speeds = by_target(vec![said("a", 9), said("b", 1), said("a", 3), said("a", 5), said("b\u{1b}[2J", 7)]);
        let told = on_machines(speeds["t"].clone());
        assert_eq!((told[0].cpu.as_str(), told[0].devices, told[0].median_milli), ("a", 3, 5));
        assert!(told.iter().all(|one| !one.cpu.chars().any(char::is_control)));
        assert_eq!((median(vec![]), median(vec![4, 2])), (None, Some(2)));
    }

    #[test]
    fn the_catalogue_is_filtered_compared_and_says_what_was_withdrawn() {
        let house = House::new(crate::config::ModelRules::default());
        let names = |filter: &str| -> Vec<String> {
            let entries = house.fleet.entries(&filter.parse().unwrap()).unwrap();
            entries.into_iter().map(|entry| entry.target.to_string()).collect()
        };
        assert_eq!(names("model=alpha and bits<5"), ["alpha.Q4_0"]);
        assert_eq!(names("licence!=apache-2.0"), ["beta.Q4_0"]);
        let pair = ["alpha.Q8_0".to_owned(), "alpha.Q4_0".to_owned()];
        let comparison = house.fleet.compare(&pair).unwrap();
        let differing: Vec<&str> =
            comparison.facts.iter().filter(|fact| fact.differs).map(|fact| fact.name.as_str()).collect();
        assert_eq!(differing, ["quantisation", "bits per weight"]);
        assert!(house.fleet.compare(&pair[..1]).is_err());
        assert!(house.fleet.compare(&[pair[0].clone(), "nothing".to_owned()]).is_err());
        let request = super::super::WithdrawalRequest {
            reason: "it leaks".into(),
            deadline_s: 0,
            target: "alpha.Q8_0".parse().ok(),
        };
        house.fleet.withdraw_model(&"alpha".parse().unwrap(), &request, "ada").unwrap();
        let withdrawn =
            |name: &str| house.fleet.entries(&format!("target={name}").parse().unwrap()).unwrap()[0].withdrawn.clone();
        assert_eq!((withdrawn("alpha.Q8_0").as_deref(), withdrawn("alpha.Q4_0")), (Some("it leaks"), None));
    }
}
