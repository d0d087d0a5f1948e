//! A program becomes a target, or is refused before anything of it is kept.

use outpost_trust::catalogue::Proposal;

use super::*;
use crate::catalogue::ReleaseRequest;
use crate::clock::Clock;
use crate::config::Config;
use crate::keys::OfflineKeys;
use crate::small::small_variant;

const PC: &str = "x86_64-unknown-linux-gnu";
const BOARD: &str = "aarch64-unknown-linux-gnu";

struct Place {
    fleet: Fleet,
    keys: OfflineKeys,
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::init(Config::new(dir.path().join("state")), Clock::fixed(1_800_000_000)).unwrap().fleet;
        let keys = fleet.create_offline_keys(&dir.path().join("keys")).unwrap();
        Self { fleet, keys, dir }
    }

    /// A program, as its first bytes say, and words behind them.
    #[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
    fn build(&self, machine: u8, words: &str, target: &str) -> Build {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([3, 0, machine, 0]);
        bytes.extend(words.bytes());
        let path = self.dir.path().join(format!("program-{machine}-{target}"));
        std::fs::write(&path, bytes).unwrap();
        Build { path, version: "0.3.0".parse().unwrap(), target: target.parse().unwrap(), state_format: 1 }
    }

    fn release(&self, build: Build) -> Result<(), FleetError> {
        self.fleet.release(&self.keys, ReleaseRequest { builds: vec![build], ..ReleaseRequest::default() }).map(|_| ())
    }
}

#[test]
fn a_version_is_published_for_each_kind_of_machine_and_counts_its_releases() {
    let place = Place::new();
    place.release(place.build(62, "first", PC)).unwrap();
    place.release(place.build(183, "for boards", BOARD)).unwrap();
    let listed = place.fleet.builds().unwrap();
    let names: Vec<_> = listed.iter().map(|build| build.name.as_str()).collect();
    assert_eq!(names, [format!("agent-0.3.0.{BOARD}"), format!("agent-0.3.0.{PC}")]);
    assert_eq!((listed[1].bytes, listed[1].wanted_by), (25, 0));
    let release = |place: &Place| place.fleet.targets().unwrap().iter().map(|target| target.facts.release()).max();
    assert_eq!(release(&place), Some(1));
    place.release(place.build(62, "first", PC)).unwrap();
    assert_eq!(release(&place), Some(1), "the same once more");
    place.release(place.build(62, "other bytes", PC)).unwrap();
    assert_eq!(release(&place), Some(2));
    assert_ne!(place.fleet.builds().unwrap()[1].sha256, listed[1].sha256);
}

#[test]
fn what_is_no_program_for_the_machines_that_are_named_is_refused_and_nothing_is_kept() {
    let place = Place::new();
    let blobs = || std::fs::read_dir(place.dir.path().join("state/blobs")).map_or(0, Iterator::count);
    let before = blobs();
    let mut gone = place.build(62, "", PC);
    gone.path.set_file_name("nowhere");
    for (build, why) in [
        (place.build(183, "", PC), "wrong architecture: it is a build for aarch64, not for x86_64"),
        (gone, "No such file"),
        (place.build(62, "", "riscv64gc-unknown-linux-gnu"), "builds are for x86_64, aarch64 or armv7"),
    ] {
        let refusal = place.release(build).unwrap_err().to_string();
        assert!(refusal.contains(why), "{refusal}");
    }
    assert_eq!((blobs(), place.fleet.builds().unwrap()), (before, Vec::new()));
}

#[test]
fn a_build_does_not_take_the_name_of_something_else_nor_something_else_its_name() {
    let place = Place::new();
    place.release(place.build(62, "first", PC)).unwrap();
    let build = place.build(62, "a model", PC);
    let facts = small_variant("m", std::fs::metadata(&build.path).unwrap().len());
    let target = Some(format!("agent-0.3.0.{PC}").parse().unwrap());
    let variant = crate::catalogue::Variant { path: build.path, target, facts, cuts: Vec::new() };
    let request = ReleaseRequest { variants: vec![variant], ..ReleaseRequest::default() };
    let refusal = place.fleet.release(&place.keys, request).unwrap_err().to_string();
    assert!(refusal.contains("is the name of another kind of target"), "{refusal}");
}

#[test]
fn holders_elsewhere_read_which_program_they_sign() {
    let place = Place::new();
    place.release(place.build(183, "for boards", BOARD)).unwrap();
    let request = ReleaseRequest { builds: vec![place.build(62, "first", PC)], ..ReleaseRequest::default() };
    let mut proposal = place.fleet.prepare(request).unwrap();
    let words = proposal.words(&[place.keys.targets.verifying_key()]).join("\n");
    assert!(words.contains(&format!("+ agent-0.3.0.{PC}: the agent's program, 0.3.0 for {PC}, release 1")), "{words}");
    assert!(proposal.sign(&place.keys.targets).unwrap());
    let carried = Proposal::parse(&proposal.to_bytes().unwrap()).unwrap();
    place.fleet.publish(carried).unwrap();
    assert_eq!(place.fleet.builds().unwrap().len(), 2);
}
