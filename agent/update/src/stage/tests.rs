//! Builds that are taken in, refused or cut off: what lies on the disk after each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;
use crate::format::FORMAT;
use crate::mark::Mark;
use crate::program::{End, build, offer, program, says};
use crate::standing::Source;

/// A state directory beside a packaged program of version 0.1.0.
struct Device(tempfile::TempDir);

impl Device {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// As the packaged program sees it.
    fn packaged(&self) -> Builds {
        let builds = Builds::with(self.0.path(), None, "0.1.0".to_owned());
        Builds { patience: Duration::from_millis(500), ..builds }
    }

    /// As the program in a slot sees it.
    fn slot(&self, staged: &Staged, on_trial: bool) -> Builds {
        let Build { version, target, sha256, .. } = staged.build.clone();
        let mark = Mark {
            process: std::process::id(),
            slot: staged.slot,
            version,
            target,
            sha256,
            on_trial,
            program: "/usr/bin/outpost".into(),
            packaged: "0.1.0".to_owned(),
            notes: Vec::new(),
        };
        Builds { launched: Some(mark), ..self.packaged() }
    }

    fn stage(&self, bytes: &[u8]) -> Result<Staged, Refused> {
        self.packaged().stage(&offer(bytes), Before::default(), bytes)
    }

    /// A start of the build on trial is counted, as the launcher does.
    fn started(&self) {
        let (mut ledger, mut record) = Record::open(&self.packaged().directory()).unwrap();
        record.trial.as_mut().unwrap().attempts += 1;
        ledger.commit(&record).unwrap();
    }

    /// Programs and what is left of them.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.packaged().directory()).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with(".ledger")).collect();
        names.sort();
        names
    }

    fn record(&self) -> Record {
        self.packaged().record().unwrap()
    }
}

#[test]
fn a_build_that_proves_itself_is_tried_next_and_confirmed_by_itself() {
    let device = Device::new();
    let first = device.stage(&build("0.2.0")).unwrap();
    assert_eq!((first.slot, first.build.version.as_str(), first.build.target.as_str()), (Slot::A, "0.2.0", OWN_TARGET));
    assert_eq!(device.files(), ["a"]);
    crate::whole::is_whole(&device.packaged().directory().join("a"), &first.build).unwrap();
    let standing = device.packaged().standing().unwrap();
    assert_eq!((standing.running.source, standing.trial.unwrap().attempts), (Source::Packaged, 0));
    assert_eq!(device.packaged().confirm().unwrap(), None, "the packaged program is not on trial");

    device.started();
    let own = device.slot(&first, true);
    assert!(own.standing().unwrap().running.on_trial);
    assert_eq!(own.trial().unwrap().unwrap().1, Duration::from_secs(60));
    assert_eq!(own.confirm().unwrap(), Some(first.build.clone()));
    let standing = device.slot(&first, false).standing().unwrap();
    assert_eq!((standing.confirmed, standing.trial), (Some(first.build.clone()), None));

    // The next one does not touch it, and the one after that takes the place of what failed.
    assert_eq!(device.stage(&build("0.3.0")).unwrap().slot, Slot::B);
    assert_eq!(device.files(), ["a", "b"]);
    assert_eq!(device.record().confirmed, Some(Slot::A));
    assert_eq!(device.stage(&build("0.4.0")).unwrap_err().code(), "busy");
    assert!(device.packaged().withdraw().unwrap());
    assert_eq!(device.stage(&build("0.2.0")).unwrap_err().code(), "already_here");
    assert_eq!(device.stage(&build("0.4.0")).unwrap().slot, Slot::B);
}

#[test]
fn what_is_not_as_was_said_or_not_for_this_box_is_refused_and_leaves_nothing() {
    let good = build("0.2.0");
    let plain = |bytes: Vec<u8>| (offer(&bytes), bytes);
    let said = |version: Option<&str>, target: Option<&str>| {
        let (version, target) = (version.map(str::to_owned), target.map(str::to_owned));
        (Candidate { version, target, ..offer(&good) }, good.clone())
    };
    let with_machine = |machine: u8| {
        let mut bytes = good.clone();
        bytes[18] = machine;
        plain(bytes)
    };
    let cases = [
        ("damaged", (offer(&good), good[..good.len() - 1].to_vec())),
        ("damaged", (offer(&good), [good.clone(), b"more".to_vec()].concat())),
        ("damaged", (offer(&good), good.iter().map(|byte| byte ^ u8::from(*byte == b'0')).collect())),
        ("wrong_architecture", said(None, Some("riscv64gc-unknown-linux-gnu"))),
        ("wrong_architecture", with_machine(8)),
        ("wrong_version", said(Some("0.9.0"), None)),
        ("no_version", said(Some("newest"), None)),
        ("no_version", plain(build("newest"))),
        ("not_newer", said(Some("0.1.0"), None)),
        ("not_newer", plain(build("0.0.9"))),
        ("no_program", plain(b"#!/bin/sh\necho '{}'\n".to_vec())),
        ("no_program", plain(Vec::new())),
        ("lacks_kernel", plain(program("", End::Illegal))),
        ("lacks_kernel", plain(program(&says("0.2.0", FORMAT, None), End::Illegal))),
        (
            "self_check_failed",
            plain(program(&says("0.2.0", FORMAT, Some("the Q4_0 kernel gives other products")), End::Exit(4))),
        ),
        ("self_check_failed", plain(program(&says("0.2.0", FORMAT, None), End::Exit(1)))),
        ("self_check_failed", plain(program("no JSON", End::Exit(0)))),
        ("self_check_failed", plain(program(&says("0.2.0", FORMAT, None), End::Hang))),
        // It is whole for whoever made it: only its header says that there is more.
        ("self_check_failed", plain(good[..100].to_vec())),
        ("older_state_format", plain(program(&says("0.2.0", 0, None), End::Exit(0)))),
    ];
    let device = Device::new();
    for (code, (candidate, bytes)) in cases {
        let refused = device.packaged().stage(&candidate, Before::default(), bytes.as_slice()).unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert_eq!((device.files(), device.record()), (Vec::new(), Record::default()), "{refused}");
    }
    let large = Candidate { bytes: BUILD_BYTES + 1, ..offer(&good) };
    assert_eq!(device.packaged().stage(&large, Before::default(), good.as_slice()).unwrap_err().code(), "too_large");
    device.stage(&good).unwrap();
}

#[test]
fn without_room_for_a_second_slot_it_says_how_much_is_needed_and_keeps_what_runs() {
    let device = Device::new();
    let first = device.stage(&build("0.2.0")).unwrap();
    device.started();
    device.slot(&first, true).confirm().unwrap();
    let kept_bytes = u64::MAX / 2;
    let full = Builds { kept_bytes, ..device.slot(&first, false) };
    let next = build("0.3.0");
    let refused = full.stage(&offer(&next), Before::default(), next.as_slice()).unwrap_err();
    let needed = kept_bytes + next.len() as u64;
    assert_eq!(refused.code(), "no_room");
    assert!(
        refused.to_string().contains(&format!("no room for the second slot: {needed} bytes are needed")),
        "{refused}"
    );
    assert_eq!((device.files(), device.record().confirmed), (vec!["a".to_owned()], Some(Slot::A)));
}

#[test]
fn an_update_that_is_cut_off_anywhere_leaves_what_runs_and_the_next_one_works() {
    struct Cut<'a>(&'a [u8]);
    impl Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "the power goes");
            let read = self.0.len().min(buffer.len()).min(50);
            buffer[..read].copy_from_slice(&self.0[..read]);
            self.0 = &self.0[read..];
            Ok(read)
        }
    }
    let device = Device::new();
    let bytes = build("0.2.0");
    for length in [0, 1, 50, 120, bytes.len()] {
        let builds = device.packaged();
        let cut = || builds.stage(&offer(&bytes), Before::default(), Cut(&bytes[..length]));
        assert!(catch_unwind(AssertUnwindSafe(cut)).is_err());
        assert_eq!(device.files(), [".a.tmp"]);
        assert_eq!(device.record(), Record::default(), "nothing is chosen");
        device.packaged().sweep().unwrap();
        assert!(device.files().is_empty());
    }
    // It lies in its slot, and nobody was told.
    atomic::write(device.packaged().directory().join("a"), &bytes[..7]).unwrap();
    assert_eq!(device.stage(&bytes).unwrap().slot, Slot::A);
    crate::whole::is_whole(&device.packaged().directory().join("a"), device.record().a.as_ref().unwrap()).unwrap();
}

#[test]
fn a_build_that_was_rolled_back_is_not_taken_again_but_by_hand() {
    let device = Device::new();
    let bytes = build("0.2.0");
    let staged = device.stage(&bytes).unwrap();
    device.started();
    let own = device.slot(&staged, true);
    own.failed("it has no\nmodel", false).unwrap();
    assert_eq!(device.record().trial.unwrap().last_words.unwrap(), "it has no model");
    own.stopped().unwrap();
    assert_eq!(device.record().trial.unwrap().attempts, 0, "somebody stopped it in good order");

    let (mut ledger, mut record) = Record::open(&device.packaged().directory()).unwrap();
    record.undo(Slot::A, "it ended twice".to_owned(), true);
    ledger.commit(&record).unwrap();
    let untold = device.packaged().untold().unwrap();
    assert_eq!((untold.len(), untold[0].version.as_str()), (1, "0.2.0"));
    device.packaged().told(&untold).unwrap();
    assert!(device.packaged().untold().unwrap().is_empty());
    assert_eq!(device.packaged().standing().unwrap().rolled_back.unwrap().reason, "it ended twice");

    let sha256 = offer(&bytes).sha256;
    assert_eq!(device.packaged().barred(sha256).unwrap().unwrap().reason, "it ended twice");
    let refused = device.stage(&bytes).unwrap_err();
    assert_eq!((refused.code(), refused.is_worth_another_try()), ("rolled_back", false));
    device.packaged().forgive(sha256).unwrap();
    device.stage(&bytes).unwrap();
}

#[test]
fn a_build_that_lacked_only_the_link_is_to_blame_unless_nobody_had_it() {
    let bytes = build("0.2.0");
    let sha256 = offer(&bytes).sha256;
    // Trials of so many seconds, with or without the link: is it barred, and is that open still?
    for (trial_seconds, has_link, expected) in
        [(60, false, (true, true)), (60, true, (true, false)), (0, false, (false, false)), (0, true, (false, false))]
    {
        let device = Device::new();
        let staged = device.stage(&bytes).unwrap();
        device.started();
        device.slot(&staged, true).failed("the control plane is not within reach", true).unwrap();
        let (mut ledger, mut record) = Record::open(&device.packaged().directory()).unwrap();
        record.undo(Slot::A, "it ended twice".to_owned(), true);
        ledger.commit(&record).unwrap();

        let packaged = device.packaged().trying_for(trial_seconds);
        packaged.reconsider(sha256, has_link).unwrap();
        let back = packaged.standing().unwrap().rolled_back.unwrap();
        assert_eq!((back.barred, back.lacked_link), expected, "{trial_seconds} s, link: {has_link}");
        assert_eq!(device.stage(&bytes).is_ok(), !back.barred);
    }
}

#[test]
fn a_build_on_trial_does_not_raise_the_format_of_the_state() {
    let device = Device::new();
    let staged = device.stage(&build("0.2.0")).unwrap();
    device.started();
    device.slot(&staged, true).raise_format().unwrap();
    assert!(!device.0.path().join("format").exists());
}
