//! Evidence is refused for each thing that differs, by its name; and taken where nothing does.

use std::path::{Path, PathBuf};

use outpost_trust::SigningKey;

use super::super::evidence::FileRow;
use super::super::evidence::tests::evidence;
use super::super::figures::tests::point;
use super::super::kept::all_evidence;
use super::super::variants::{make, offer, row};
use super::*;

/// A box, the demo model's offer, and evidence of another box just like it that chose Q8_0.
struct Scene {
    _folder: tempfile::TempDir,
    state: StateDir,
    offer: Offer,
    measurements: Measurements,
    key: SigningKey,
    evidence: Evidence,
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/outpost-demo-f16.gguf")
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::locate(Some(&folder.path().join("state"))).unwrap();
        state.prepare().unwrap();
        let measurements = Measurements {
            cpu: "Edge 4".to_owned(),
            cores: 4,
            memory_total_bytes: 4 << 30,
            memory_available_bytes: 3 << 30,
            memory_read_bytes_per_second: 10_000_000_000,
            ..Measurements::default()
        };
        let offer = offer(&demo(), &[], &[]).unwrap();
        let of = |name: &str| {
            let variant = offer.variants.iter().find(|variant| variant.name == name).unwrap();
            row(name, &make(variant, &demo(), folder.path(), &mut |_| ()).unwrap()).unwrap()
        };
        let mut made = evidence(&[point("F16", 0, 100_000, 40 << 20), point("Q8_0", 10, 200_000, 20 << 20)]);
        made.variants = vec![of("F16"), of("Q8_0")];
        made.origin = made.variants[0].clone();
        made.build = KERNEL_BUILD.to_owned();
        made.class = HardwareClass::of(&measurements);
        Self { _folder: folder, state, offer, measurements, key: SigningKey::generate().unwrap(), evidence: made }
    }

    fn reuse(&self, evidence: &Evidence) -> Reuse {
        let bytes = evidence.sign(&self.key).unwrap().to_bytes();
        reuse(&self.state, &bytes, self.key.verifying_key(), &self.offer, &self.measurements).unwrap()
    }

    /// The reasons for which changed evidence is refused.
    fn refused(&self, change: impl Fn(&mut Evidence)) -> Vec<String> {
        let mut changed = self.evidence.clone();
        change(&mut changed);
        match self.reuse(&changed) {
            Reuse::Refused(reasons) => reasons,
            Reuse::Taken { .. } => panic!("it was taken"),
        }
    }
}

#[test]
fn what_differs_is_refused_by_its_name_and_nothing_is_kept() {
    let scene = Scene::new();
    let other = FileRow { sha256: hex::encode([7; 32]).parse().unwrap(), ..scene.evidence.origin.clone() };
    let class = scene.refused(|made| made.class.cpu = "Edge 5".to_owned());
    assert_eq!(class, ["processor: measured on `Edge 5`, this box has `Edge 4`"]);
    assert!(
        scene.refused(|made| made.build = "b0".to_owned())[0].starts_with("build of the kernels: measured with `b0`")
    );
    assert!(
        scene.refused(|made| made.origin = other.clone())[0]
            .starts_with("file: measured was the one with SHA-256 0707")
    );
    let chosen = scene.refused(|made| made.variants[1].sha256 = other.sha256);
    assert!(chosen[0].starts_with("file of `Q8_0`: measured was the one with SHA-256 0707"), "{chosen:?}");
    assert_eq!(scene.refused(|made| made.choice = None), ["nothing kept every limit where it was measured"]);
    let both = scene.refused(|made| (made.class.cores, made.build) = (2, "b0".to_owned()));
    assert_eq!(both.len(), 2, "all that differs is told at once: {both:?}");
    assert_eq!(all_evidence(&scene.state), Vec::new());
}

#[test]
fn a_box_with_too_little_memory_now_refuses_whatever_the_evidence_says_of_memory() {
    let mut scene = Scene::new();
    scene.measurements.memory_available_bytes = 20 << 20;
    let said = scene.refused(|made| made.settings.iter_mut().for_each(|row| row.needs_bytes = 1));
    assert!(said[0].starts_with("the choice needs ") && said[0].contains("available here now"), "{said:?}");
}

#[test]
fn evidence_that_holds_is_taken_and_this_box_vouches_for_it() {
    let scene = Scene::new();
    let Reuse::Taken { evidence, file } = scene.reuse(&scene.evidence) else { panic!("it holds") };
    assert_eq!((*evidence).clone(), scene.evidence);
    assert!(file.is_file() && file.starts_with(scene.state.tune()));
    assert_eq!(all_evidence(&scene.state), std::slice::from_ref(&scene.evidence));
    let stranger = SigningKey::generate().unwrap();
    let bytes = scene.evidence.sign(&stranger).unwrap().to_bytes();
    let answer = reuse(&scene.state, &bytes, scene.key.verifying_key(), &scene.offer, &scene.measurements).unwrap();
    let Reuse::Refused(reasons) = answer else { panic!("nobody trusts that key") };
    assert_eq!(reasons, ["no valid signature by any of the 1 keys that may sign this"]);
}
