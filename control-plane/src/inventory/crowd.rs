//! A crowd of devices that are not there, for tests and measurements: what they say goes through the ingest code.

use std::ops::Range;

use bytes::Bytes;
use outpost_contract::{
    Activity, Blake3, BlobRef, DeviceId, GoldenPrompts, Installed, KernelSpeed, LinkHealth, Measurements, ModelFacts,
    Reason, ReasonCode, Reported, Sha256, TargetKind, VariantFacts,
};

use crate::db::sql::params;
use crate::db::{Assignment, Signed, StoredTarget};
use crate::fleet::{Fleet, FleetError};

/// Devices that are written in one transaction.
const BATCH: usize = 500;

const DAY_S: i64 = 24 * 60 * 60;

const AGENTS: &[&str] = &["0.1.0", "0.2.0", "0.2.9", "0.3.0"];
const MODELS: &[&str] = &["qwen3-0.6b", "llama-3.2-1b", "phi-4-mini"];

impl Fleet {
    /// Makes `count` devices (`box-00000` and so on, at sites of 25) that have all said hello and reported: most in step, some
    /// offline, refusing, waiting, behind or never seen. What they should run bears no signature.
    ///
    /// # Errors
    /// If the database fails.
    pub fn add_crowd(&self, count: usize) -> Result<(), FleetError> {
        for start in (0..count).step_by(BATCH) {
            let numbers = start..count.min(start + BATCH);
            let database = &self.inner.database;
            database.together(|| numbers.clone().try_for_each(|number| self.enter(number)))?;
            crate::ingest::take_in(self, numbers.flat_map(|number| self.sayings(number)).collect())?;
        }
        Ok(())
    }

    /// Lets some of the crowd report anew, the `sequence`th time.
    ///
    /// # Errors
    /// If the database fails.
    pub fn crowd_reports(&self, numbers: Range<usize>, sequence: u64) -> Result<(), FleetError> {
        let report = |number: usize| {
            let topic = format!("op/1/{}/d/{}/up/reported", self.inner.config.tenant, name(number));
            let report = Reported { sequence, ..report(number, self.now_s()) };
            (topic, Bytes::from(serde_json::to_vec(&report).unwrap_or_default()))
        };
        crate::ingest::take_in(self, numbers.filter(|number| number % 40 != 39).map(report).collect())
    }

    /// A catalogue with one model in two variants, whose files nobody has.
    ///
    /// # Errors
    /// If the database fails.
    pub fn add_crowd_models(&self) -> Result<(), FleetError> {
        let variant = |quantisation: &str, weight_bytes: u64, quality_milli| {
            let model = ModelFacts {
                model: MODELS[0].parse().unwrap_or_else(|_| unreachable!("a name of a model")),
                architecture: "qwen3".into(),
                licence: "apache-2.0".into(),
                parameters: 600_000_000,
                context_tokens: 32_768,
                layers: 28,
                embedding_length: 1024,
                vocabulary: 151_936,
                kv_elements_per_layer: 2048,
                feed_forward_length: 3072,
                query_elements: 2048,
            };
            let facts = VariantFacts {
                release: 1,
                model,
                quantisation: quantisation.into(),
                file_bytes: weight_bytes,
                weight_bytes,
                quality_milli,
                golden: GoldenPrompts::default(),
                origin: None,
                footprint: None,
            };
            let target = format!("{}.{quantisation}.manifest.json", MODELS[0]);
            StoredTarget {
                name: target.parse().unwrap_or_else(|_| unreachable!("a target")),
                kind: TargetKind::Variant(facts),
                sha256: Sha256([1; 32]),
                bytes: Vec::new(),
            }
        };
        let targets = [variant("F16", 1_200 << 20, 16_000), variant("Q4_0", 340 << 20, 4_500)];
        let reference = BlobRef { bytes: 1, blake3: Blake3([2; 32]), chunks: Vec::new() };
        match self.inner.database.publish(&targets, &reference, None, self.now_s())? {
            true => Ok(()),
            false => Err(FleetError::Overtaken),
        }
    }

    fn enter(&self, number: usize) -> Result<(), FleetError> {
        let (database, now_s, device) = (&self.inner.database, self.now_s(), name(number));
        let age_s = i64::try_from(number % 300).unwrap_or(0) * DAY_S;
        database.write(|connection| {
            let key = number.to_be_bytes().repeat(4);
            let sql = "INSERT INTO devices (device, enrolled_s, key_sha256, audit_key, agent) VALUES (?1, ?2, ?3, '', '0.1.0')";
            connection.prepare_cached(sql)?.execute(params![device.as_str(), now_s - age_s, key])?;
            let sql = "INSERT INTO device_keys (device, serial, key_sha256, issued_s, not_after_s, seen_s)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?4)";
            let issued_s = now_s - age_s;
            let serial = format!("crowd-{number}");
            let values = params![device.as_str(), serial, key, issued_s, issued_s + 365 * DAY_S];
            connection.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })?;
        database.set_site(&device, Some(&format!("store-{}", number / 25)))?;
        let role = if number.is_multiple_of(5) { "kiosk" } else { "till" };
        database.set_labels(&device, &[("role".to_owned(), role.to_owned())].into(), &[])?;
        if number % 50 != 49 {
            let model = MODELS[number % MODELS.len()].parse().ok();
            database.assign(&device, &Assignment { model, minimum_context_tokens: 2048 })?;
            let end_s = now_s + i64::from(self.inner.config.desired_days) * DAY_S;
            let envelope = b"not signed".to_vec();
            database.keep_signed(&[Signed { device, version: 1, not_after_s: end_s, envelope }])?;
        }
        Ok(())
    }

    /// What a device says: hello, its report, and of some that they have gone.
    fn sayings(&self, number: usize) -> Vec<(String, Bytes)> {
        if number % 40 == 39 {
            return Vec::new();
        }
        let device = name(number);
        let topic = |leaf: &str| format!("op/1/{}/d/{device}/up/{leaf}", self.inner.config.tenant);
        let hello = serde_json::json!({"v": 1, "device": device, "boot": "b1", "connection": 1, "agent": "0.2.0",
            "desired_version": 1});
        let report = serde_json::to_vec(&report(number, self.now_s())).unwrap_or_default();
        let mut sayings = vec![(topic("hello"), hello.to_string().into()), (topic("reported"), Bytes::from(report))];
        if number % 8 == 7 {
            let gone = serde_json::json!({"v": 1, "online": false, "boot": "b1", "connection": 1});
            sayings.push((topic("presence"), gone.to_string().into()));
        }
        sayings
    }
}

fn name(number: usize) -> DeviceId {
    format!("box-{number:05}").parse().expect("a name of a device")
}

fn report(number: usize, now_s: i64) -> Reported {
    let model = MODELS[number % MODELS.len()];
    let is_refused = number % 20 == 3;
    let is_waiting = number % 20 == 4;
    let is_pending = number % 20 == 5;
    let is_in_step = !is_refused && !is_waiting && !is_pending;
    let reason = |code, detail: String| Reason { code, subject: model.to_owned(), detail };
    let gibibytes = [2, 4, 8, 16][number / 3 % 4];
    let speed = 1_000 + (number as u64 * 7919) % 60_000;
    Reported {
        v: 1,
        device: name(number),
        boot: "b1".parse().unwrap_or_else(|_| unreachable!("a name of a start")),
        sequence: 1,
        agent: AGENTS[number / 7 % AGENTS.len()].to_owned(),
        desired_version: 1,
        applied_version: u64::from(is_in_step),
        model: is_in_step.then(|| Installed {
            model: model.parse().unwrap_or_else(|_| unreachable!("a name of a model")),
            target: format!("{model}.Q4_0.manifest.json").parse().unwrap_or_else(|_| unreachable!("a target")),
            sha256: Sha256([7; 32]),
            context_tokens: 4096,
            self_test_tokens_per_second_milli: speed,
        }),
        policy_version: 1,
        reasons: if is_refused {
            vec![reason(ReasonCode::DoesNotFit, format!("{model}: needs 2.6 GiB, {gibibytes}.0 GiB available"))]
        } else if is_waiting {
            vec![reason(ReasonCode::WindowClosed, "models are fetched from 22:00 to 05:00".to_owned())]
        } else {
            Vec::new()
        },
        measurements: (number % 30 != 11).then(|| Measurements {
            measured_at_s: now_s - 60,
            cpu: "Synthetic Processor 4 GHz".to_owned(),
            cores: 4,
            features: ["avx2", "fma", "f16c"].map(str::to_owned).to_vec(),
            memory_total_bytes: gibibytes << 30,
            memory_available_bytes: (gibibytes << 30) / 4 * 3,
            memory_cgroup_headroom_bytes: None,
            disk_free_bytes: 20 << 30,
            memory_read_bytes_per_second: 12_000_000_000,
            kernels: ["F16", "Q8_0", "Q4_0"]
                .map(|format| KernelSpeed {
                    format: format.to_owned(),
                    threads: 4,
                    decode_bytes_per_second: speed * 250_000,
                    prefill_macs_per_second: 100_000_000_000,
                    cached_bytes_per_second: None,
                })
                .to_vec(),
            passes: Vec::new(),
            corrections: Vec::new(),
            machine: None,
        }),
        plan: (0..3)
            .map(|line| format!("variant {line} of {model}: needs {line}.5 GiB and is explained here"))
            .collect(),
        activity: Activity::default(),
        transfer: None,
        link: LinkHealth::default(),
        build: None,
    }
}
