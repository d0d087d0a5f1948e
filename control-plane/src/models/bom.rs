//! The bill of materials of models (ML-BOM): CycloneDX 1.6, of one device or of the fleet, the same bytes for the same facts.

use std::collections::BTreeMap;

use outpost_contract::{DeviceId, Origin, TargetKind, VariantFacts};
use serde_json::{Value, json};
use sha2::Digest as _;
use url::Url;

use crate::db::StoredTarget;
use crate::fleet::{Fleet, FleetError};
use crate::inventory::words::clean;

/// The media type of a bill of materials.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json; version=1.6";

/// Licences as SPDX spells them; cards and files spell them anyhow. Another one is told by its name.
const SPDX: [&str; 21] = [
    "AGPL-3.0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC-BY-4.0",
    "CC-BY-NC-4.0",
    "CC-BY-NC-ND-4.0",
    "CC-BY-NC-SA-4.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ECL-2.0",
    "EUPL-1.2",
    "GPL-2.0",
    "GPL-3.0",
    "ISC",
    "LGPL-3.0",
    "MIT",
    "MPL-2.0",
    "MS-PL",
    "Unlicense",
];

impl Fleet {
    /// The bill of materials of one device: its agent, and the model that it last said to serve.
    ///
    /// # Errors
    /// [`FleetError::UnknownDevice`].
    pub fn bom_of_device(&self, device: &DeviceId) -> Result<Value, FleetError> {
        let summary = self.device(device)?;
        let targets = self.inner.database.targets()?;
        let mut components = vec![agent(&summary.agent, None)];
        if let Some(installed) = summary.reported.as_ref().and_then(|reported| reported.model.as_ref()) {
            let listed = targets.iter().find(|target| target.name == installed.target);
            // What was released since under the same name is another file.
            let listed = listed.filter(|target| target.model_file() == Some(installed.sha256));
            components.push(match listed.and_then(|target| Some((target, facts(target)?))) {
                Some((target, facts)) => model(target, facts, None),
                None => unlisted(
                    installed.target.as_str(),
                    installed.model.as_str(),
                    Some(&installed.sha256.to_hex()),
                    None,
                ),
            });
        }
        let subject = json!({"type": "device", "bom-ref": format!("device:{device}"), "name": device.as_str()});
        Ok(document(subject, components))
    }

    /// The bill of materials of the fleet: every model and agent that some device last said to run, with how many do.
    ///
    /// # Errors
    /// If the database fails.
    pub fn bom_of_fleet(&self) -> Result<Value, FleetError> {
        let targets = self.inner.database.targets()?;
        let (mut agents, mut models) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, (String, u64)>::new());
        for one in self.inner.database.served_counts()? {
            *agents.entry(one.agent).or_default() += one.devices;
            if let Some(target) = one.target {
                models.entry(target).or_insert_with(|| (one.model.unwrap_or_default(), 0)).1 += one.devices;
            }
        }
        let mut components: Vec<Value> = agents.iter().map(|(version, count)| agent(version, Some(*count))).collect();
        for (name, (of, count)) in &models {
            let listed = targets.iter().find(|target| target.name.as_str() == name);
            components.push(match listed.and_then(|target| Some((target, facts(target)?))) {
                Some((target, facts)) => model(target, facts, Some(*count)),
                None => unlisted(name, of, None, Some(*count)),
            });
        }
        let tenant = self.config().tenant.as_str();
        let subject = json!({"type": "platform", "bom-ref": format!("fleet:{tenant}"), "name": tenant});
        Ok(document(subject, components))
    }
}

fn facts(target: &StoredTarget) -> Option<&VariantFacts> {
    match &target.kind {
        TargetKind::Variant(facts) => Some(facts),
        _ => None,
    }
}

/// The whole, with a serial number that is made of its content.
fn document(subject: Value, components: Vec<Value>) -> Value {
    let own = subject["bom-ref"].clone();
    let refs: Vec<Value> = components.iter().map(|component| component["bom-ref"].clone()).collect();
    let mut dependencies = vec![json!({"ref": own, "dependsOn": refs})];
    dependencies.extend(refs.iter().map(|of| json!({"ref": of})));
    let tool = json!({"type": "application", "name": "outpost-control", "version": env!("CARGO_PKG_VERSION")});
    let mut bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"tools": {"components": [tool]}, "component": subject},
        "components": components,
        "dependencies": dependencies,
    });
    let digest = sha2::Sha256::digest(bom.to_string().as_bytes());
    bom["serialNumber"] = format!("urn:uuid:{}", uuid(&digest)).into();
    bom
}

/// A UUID of version 8 (RFC 9562): made of a digest.
fn uuid(digest: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

fn agent(version: &str, devices: Option<u64>) -> Value {
    let version = clean(version, 100);
    let mut component = json!({
        "type": "application", "bom-ref": format!("agent:{version}"), "name": "outpost", "version": version,
    });
    count(&mut component, devices);
    component
}

fn model(target: &StoredTarget, facts: &VariantFacts, devices: Option<u64>) -> Value {
    let of = &facts.model;
    let property = |name: &str, value: String| json!({"name": format!("outpost:{name}"), "value": value});
    let mut properties = vec![
        property("bits-per-weight-milli", facts.quality_milli.to_string()),
        property("context-tokens", of.context_tokens.to_string()),
        property("file-bytes", facts.file_bytes.to_string()),
        property("parameters", of.parameters.to_string()),
        property("quantisation", facts.quantisation.clone()),
        property("release", facts.release.to_string()),
        property("target", target.name.to_string()),
    ];
    let mut component = json!({
        "type": "machine-learning-model",
        "bom-ref": format!("model:{}", target.name),
        "name": of.model.as_str(),
        "version": facts.quantisation,
        "modelCard": {
            "modelParameters": {
                "task": if of.architecture == "bert" { "feature-extraction" } else { "text-generation" },
                "architectureFamily": of.architecture,
                "modelArchitecture": of.architecture,
                "inputs": [{"format": "text"}],
                "outputs": [{"format": if of.architecture == "bert" { "vector" } else { "text" }}],
            },
        },
    });
    if let Some(file) = target.model_file() {
        component["hashes"] = json!([{"alg": "SHA-256", "content": file.to_hex()}]);
    }
    if !of.licence.is_empty() {
        component["licenses"] = json!([{"license": licence(&of.licence)}]);
    }
    if let Some(origin) = &facts.origin {
        properties.push(property("fetched-by", origin.fetched_by.clone()));
        properties.push(property("fetched-s", origin.fetched_s.to_string()));
        properties.push(property("revision", origin.revision.clone()));
        if let Some(url) = address(origin) {
            let hashes = json!([{"alg": "SHA-256", "content": origin.sha256.to_hex()}]);
            component["externalReferences"] = json!([{"type": "distribution", "url": url, "hashes": hashes}]);
        }
        let ancestors = origin.base_models.iter().map(|base| json!({"type": "machine-learning-model", "name": base}));
        let ancestors: Vec<Value> = ancestors.collect();
        if !ancestors.is_empty() {
            component["pedigree"] = json!({"ancestors": ancestors});
        }
        if !origin.tags.is_empty() {
            component["tags"] = json!(origin.tags);
        }
    }
    component["properties"] = properties.into();
    count(&mut component, devices);
    component
}

/// A model that a device names and the catalogue does not hold any more.
fn unlisted(target: &str, model: &str, sha256: Option<&str>, devices: Option<u64>) -> Value {
    let (target, model) = (clean(target, 200), clean(model, 200));
    let mut component = json!({
        "type": "machine-learning-model",
        "bom-ref": format!("model:{target}"),
        "name": if model.is_empty() { &target } else { &model },
        "properties": [{"name": "outpost:in-catalogue", "value": "false"}, {"name": "outpost:target", "value": target}],
    });
    if let Some(sha256) = sha256 {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    count(&mut component, devices);
    component
}

fn count(component: &mut Value, devices: Option<u64>) {
    let Some(devices) = devices else { return };
    let property = json!({"name": "outpost:devices", "value": devices.to_string()});
    match component["properties"].as_array_mut() {
        Some(properties) => properties.push(property),
        None => component["properties"] = json!([property]),
    }
}

fn licence(text: &str) -> Value {
    match SPDX.into_iter().find(|known| known.eq_ignore_ascii_case(text.trim())) {
        Some(id) => json!({"id": id}),
        None => json!({"name": text}),
    }
}

/// Where exactly that file is.
fn address(origin: &Origin) -> Option<String> {
    let mut url: Url = origin.source.parse().ok()?;
    url.path_segments_mut().ok()?.pop_if_empty().extend(["resolve", &origin.revision]).extend(origin.path.split('/'));
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use outpost_contract::{ModelFacts, Sha256};

    use super::super::tests::House;
    use super::*;

    #[test]
    fn the_same_facts_make_the_same_bytes_and_other_facts_another_serial() {
        let house = House::new(crate::config::ModelRules::default());
        let fleet = &house.fleet;
        let bom = fleet.bom_of_fleet().unwrap();
        assert_eq!(bom, fleet.bom_of_fleet().unwrap());
        let serial = bom["serialNumber"].as_str().unwrap();
        assert!(serial.starts_with("urn:uuid:") && serial.len() == 45 && &serial[23..24] == "8", "{serial}");
        let device = fleet.bom_of_device(&"box-00001".parse().unwrap()).unwrap();
        assert_ne!(device["serialNumber"], bom["serialNumber"]);
        assert_eq!(device["metadata"]["component"]["name"], "box-00001");
        assert!(fleet.bom_of_device(&"nobody".parse().unwrap()).is_err());
        // Every reference is one component, and every component is depended on.
        for bom in [&bom, &device] {
            let components = bom["components"].as_array().unwrap();
            let mut refs: Vec<&str> = components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
            let depends: Vec<&str> = bom["dependencies"][0]["dependsOn"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one.as_str().unwrap())
                .collect();
            assert_eq!(depends, refs);
            refs.sort_unstable();
            refs.dedup();
            assert_eq!(refs.len(), components.len());
        }
        assert!(bom["components"].as_array().unwrap().iter().any(|one| one["type"] == "machine-learning-model"));
    }

    fn alpha(house: &House) -> (StoredTarget, VariantFacts) {
        let mut targets = house.fleet.inner.database.targets().unwrap().into_iter();
        let target = targets.find(|one| one.name.as_str() == "alpha.Q4_0").unwrap();
        let origin = Origin {
            source: "https://hub.example.org/tiny/model".into(),
            revision: "0".repeat(40),
            path: "q4/tiny Q4.gguf".into(),
            sha256: Sha256([2; 32]),
            fetched_s: 7,
            fetched_by: "ada".into(),
            base_models: vec!["tiny/base".into()],
            tags: vec!["gguf".into()],
        };
        let facts = VariantFacts { origin: Some(Box::new(origin)), ..facts(&target).unwrap().clone() };
        (target, facts)
    }

    /// `tests/peers/run FOLDER bom` validates the sample against the official schema; this test holds what is written to it.
    /// With `REWRITE` set it writes the sample anew.
    #[test]
    fn what_is_written_is_the_sample_that_the_official_schema_validates() {
        let house = House::new(crate::config::ModelRules::default());
        let (target, facts) = alpha(&house);
        let odd =
            VariantFacts { model: ModelFacts { licence: "llama3.2".into(), ..facts.model.clone() }, ..facts.clone() };
        let other = StoredTarget { name: "alpha.Q8_0".parse().unwrap(), ..target.clone() };
        let components = vec![
            agent("0.1.0", Some(3)),
            model(&target, &facts, Some(2)),
            model(&other, &odd, None),
            unlisted("gone.Q4_0", "gone", Some(&"03".repeat(32)), Some(1)),
        ];
        let subject = json!({"type": "platform", "bom-ref": "fleet:default", "name": "default"});
        let mut bom = document(subject, components);
        // The release of this program is no matter of the sample.
        bom["metadata"]["tools"]["components"][0]["version"] = "0".into();
        bom["serialNumber"] = "urn:uuid:00000000-0000-8000-8000-000000000000".into();
        let text = serde_json::to_string_pretty(&bom).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/bom.cdx.json");
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text, "run this test with REWRITE=1");
    }

    #[test]
    fn a_variant_says_licence_hash_provenance_and_what_it_was_made_from() {
        let house = House::new(crate::config::ModelRules::default());
        let (target, facts) = alpha(&house);
        let component = model(&target, &facts, Some(3));
        assert_eq!(component["licenses"][0]["license"]["id"], "Apache-2.0");
        assert_eq!(component["hashes"][0]["content"], "02".repeat(32));
        let url = format!("https://hub.example.org/tiny/model/resolve/{}/q4/tiny%20Q4.gguf", "0".repeat(40));
        assert_eq!(component["externalReferences"][0]["url"], url);
        assert_eq!(component["pedigree"]["ancestors"][0]["name"], "tiny/base");
        assert_eq!(component["properties"].as_array().unwrap().last().unwrap()["value"], "3");
        assert_eq!(licence("llama3.2"), json!({"name": "llama3.2"}));
        assert_eq!(licence("openrail"), json!({"name": "openrail"}));
    }
}
