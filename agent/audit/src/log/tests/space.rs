//! Room that runs out and comes back.

use outpost_disk::space::Room;

use super::*;
use crate::space::{RESERVE_BYTES, SpacePace, WHOLE_BYTES};
use crate::vault::{Content, Level};
use crate::{SpaceLevel, SpaceOptions};

/// A thousandth of the whole.
const THOUSANDTH: u64 = WHOLE_BYTES / 1000 + 1;

/// Measured with each record, as soon as there is one.
fn pace() -> Pace {
    let space = SpacePace { records: 1, interval: std::time::Duration::from_secs(3600) };
    Pace { space, ..Pace::default() }
}

/// A log on a disk of which a test says what it has.
struct Disk {
    device: Device,
    log: AuditLog,
}

impl Disk {
    fn new() -> Self {
        let device = Device::new();
        let log = device.open_with(&LogOptions::default(), pace());
        Self { device, log }
    }

    fn has(&self, free_bytes: u64) {
        *self.log.0.shared.room.lock().unwrap() = Some(Room { total_bytes: 1 << 40, free_bytes });
    }

    /// Something that anybody may record, to have the room measured.
    fn measure(&self) -> Result<u64, AuditError> {
        self.log.append(Record::new(Kind::AdminAct).act("drain")).wait()
    }

    fn has_reserve(&self) -> bool {
        schema::reserve_path(&self.device.path()).exists()
    }

    /// `audit.capacity` records: the level that each names.
    fn levels(&self) -> Vec<String> {
        let capacity = self.device.leaves().into_iter().filter(|leaf| leaf.kind() == Some("audit.capacity"));
        capacity.filter_map(|leaf| leaf.text("detail.level").map(str::to_owned)).collect()
    }
}

#[test]
fn a_log_sets_its_reserve_aside_and_says_nothing_while_there_is_room() {
    let disk = Disk::new();
    disk.measure().unwrap();
    let metadata = std::fs::metadata(schema::reserve_path(&disk.device.path())).unwrap();
    assert_eq!(metadata.len(), RESERVE_BYTES);
    let space = disk.log.space();
    assert!(space.has_reserve && space.free_bytes > 0, "{space:?}");
    assert_eq!(disk.device.kinds(), ["boot", "admin.act"]);
}

#[test]
fn each_change_of_level_is_one_record_and_none_flaps() {
    let disk = Disk::new();
    for (thousandths, level) in [
        (400, "enough"),
        (240, "low"),
        (260, "low"),
        (90, "scarce"),
        (110, "scarce"),
        (40, "critical"),
        (55, "critical"),
        (130, "low"),
        (290, "low"),
        (310, "enough"),
    ] {
        disk.has(thousandths * THOUSANDTH);
        disk.measure().unwrap();
        assert_eq!(disk.log.space().level.name(), level, "{thousandths}");
    }
    assert_eq!(disk.levels(), ["low", "scarce", "critical", "low", "enough"]);
    let size = disk.log.size();
    disk.log.shutdown("asked").unwrap();
    disk.device.assert_verifies(size + 1);
}

#[test]
fn strict_refuses_new_requests_at_the_door_and_in_the_queue_and_writes_everything_else() {
    let disk = Disk::new();
    disk.log.append(start("a")).wait().unwrap();
    disk.has(40 * THOUSANDTH);
    // The writer measures before it writes: even what came in while room seemed enough is refused.
    let late = disk.log.append(start("b")).wait().unwrap_err();
    assert!(late.is_full() && matches!(late, AuditError::NoRoom { level: SpaceLevel::Critical, .. }), "{late}");
    let early = disk.log.append(start("c")).wait().unwrap_err();
    assert!(early.to_string().contains("records no infer.start any more"), "{early}");
    assert!(matches!(disk.log.admits(Kind::InferStart), Err(AuditError::NoRoom { .. })));
    assert!(disk.log.admits(Kind::AdminAct).is_ok());
    for record in [end("a"), Record::new(Kind::AuditRead), Record::new(Kind::SyncStart)] {
        disk.log.append(record).wait().unwrap();
    }
    disk.has(400 * THOUSANDTH);
    disk.measure().unwrap();
    disk.log.append(start("d")).wait().unwrap();
    let kinds = disk.device.kinds();
    assert_eq!(kinds[..3], ["boot", "infer.start", "audit.capacity"]);
    assert_eq!(kinds.iter().filter(|kind| *kind == "infer.start").count(), 2);
    disk.device.assert_verifies_so_far();
}

#[test]
fn with_nothing_left_the_reserve_is_freed_for_the_last_records_and_made_again() {
    let disk = Disk::new();
    disk.log.append(start("a")).wait().unwrap();
    assert!(disk.has_reserve());
    disk.has(0);
    let error = disk.measure().unwrap_err();
    assert!(matches!(error, AuditError::NoRoom { level: SpaceLevel::Exhausted, free_bytes: 0, .. }), "{error}");
    assert_eq!((disk.levels(), disk.has_reserve()), (vec!["exhausted".to_owned()], false));
    // What began is brought to its end, and what makes room is written.
    disk.log.append(end("a")).wait().unwrap();
    disk.log.append(Record::new(Kind::AuditPrune)).wait().unwrap();
    // The reserve's own bytes are free now, and do not count as room.
    disk.has(RESERVE_BYTES);
    disk.log.append(Record::new(Kind::AuditPrune)).wait().unwrap();
    assert_eq!(disk.log.space().level, SpaceLevel::Exhausted);
    disk.has(RESERVE_BYTES + 400 * THOUSANDTH);
    disk.log.append(Record::new(Kind::AuditPrune)).wait().unwrap();
    assert!(disk.has_reserve());
    disk.log.append(start("b")).wait().unwrap();
    assert_eq!(disk.levels(), ["exhausted", "enough"]);
    disk.device.assert_verifies_so_far();
}

#[test]
fn a_database_that_cannot_grow_though_little_is_left_counts_as_exhausted() {
    let disk = Disk::new();
    disk.has(40 * THOUSANDTH);
    disk.measure().unwrap();
    inject(&disk.log, Fault::Full);
    let large = || (0..8).fold(end("a"), |record, key| record.detail(&format!("k{key}"), "x".repeat(1000)));
    let error = (0..).find_map(|_| disk.log.append(large()).wait().err()).unwrap();
    assert!(matches!(error, AuditError::Full { .. }), "{error}");
    assert_eq!((disk.log.space().level, disk.has_reserve()), (SpaceLevel::Exhausted, false));
}

#[test]
fn availability_counts_requests_instead_of_recording_them_and_the_count_is_a_leaf_once_there_is_room() {
    let disk = Disk::new();
    disk.log.append(start("before")).wait().unwrap();
    let chosen = disk.log.choose_capacity_mode(CapacityMode::Availability, "bundle-7").unwrap().wait().unwrap();
    assert_eq!(disk.log.choose_capacity_mode(CapacityMode::Availability, "bundle-7").map(|_| ()), None);
    let choice = disk.device.leaves().swap_remove(usize::try_from(chosen).unwrap());
    assert_eq!((choice.kind(), choice.text("detail.because")), (Some("audit.capacity"), Some("bundle-7")));
    disk.has(40 * THOUSANDTH);
    disk.measure().unwrap();
    let size = disk.log.size();
    for request in ["a", "b", "c"] {
        assert_eq!(disk.log.append(start(request)).wait().unwrap(), size, "no leaf, and durable all the same");
    }
    disk.log.append(end("a")).wait().unwrap();
    assert_eq!(disk.log.size(), size);
    // What has a leaf ends with one.
    assert_eq!(disk.log.append(end("before")).wait().unwrap(), size);
    // Nothing of the count is lost with the process.
    let Disk { device, log } = disk;
    drop(log);
    let log = device.open_with(&LogOptions::default(), pace());
    log.append(Record::new(Kind::AdminAct)).wait().unwrap();
    let leaves = device.leaves();
    let summary = leaves.iter().find(|leaf| leaf.kind() == Some("summary")).unwrap();
    let unrecorded = |kind: &str| match summary.at("unrecorded").unwrap() {
        crate::canonical::Value::Object(counts) => counts.get(kind).and_then(crate::canonical::Value::integer),
        _ => None,
    };
    assert_eq!((unrecorded("infer.start"), unrecorded("infer.end")), (Some(3), Some(1)));
    assert_eq!(leaves.iter().filter(|leaf| leaf.kind() == Some("infer.start")).count(), 1);
    assert_eq!(log.space().mode, CapacityMode::Strict, "a choice is of one run");
    device.assert_verifies_so_far();
}

#[test]
fn where_room_is_scarce_content_stays_behind_and_the_record_says_so() {
    let device = Device::new();
    let options = LogOptions { vault: Some(device.directory.path().join("roots")), ..LogOptions::default() };
    let disk = Disk { log: device.open_with(&options, pace()), device };
    let with_content = || end("a").seal(Level::Request, "p:9c", Content::of_input("what was asked"));
    disk.log.append(with_content()).wait().unwrap();
    disk.has(90 * THOUSANDTH);
    disk.measure().unwrap();
    let index = disk.log.append(with_content()).wait().unwrap();
    let leaves = disk.device.leaves();
    assert!(leaves[1].text("io.in.ct").is_some());
    let scarce = &leaves[usize::try_from(index).unwrap()];
    assert_eq!((scarce.text("io.in.ct"), scarce.text("detail.content_dropped")), (None, Some("scarce")));
}

#[test]
fn a_quota_is_kept_by_what_the_database_really_holds() {
    let device = Device::new();
    let quota_bytes = Some(2 << 20);
    let options = LogOptions { space: SpaceOptions { quota_bytes, reserve_bytes: 0 }, vault: None, ended: None };
    let log = device.open_with(&options, pace());
    let large = |number: u64| {
        (0..8).fold(start(&number.to_string()), |record, key| record.detail(&format!("k{key}"), "x".repeat(1000)))
    };
    let error = (0..1_000).find_map(|number| log.append(large(number)).wait().err()).unwrap();
    assert!(matches!(error, AuditError::NoRoom { level: SpaceLevel::Critical, .. }), "{error}");
    let held = std::fs::metadata(schema::database_path(&device.path())).unwrap().len()
        + std::fs::metadata(reader::journal_path(&schema::database_path(&device.path()))).unwrap().len();
    assert!(held > 1 << 20 && held < 2 << 20, "{held} bytes of {quota_bytes:?}");
    assert!(!schema::reserve_path(&device.path()).exists());
    let ordinary = (0..1_000).find_map(|_| log.append(large(0).detail("more", "x".repeat(900))).wait().err()).unwrap();
    assert!(matches!(ordinary, AuditError::NoRoom { .. }), "{ordinary}");
    log.shutdown("asked").unwrap();
    device.assert_verifies_so_far();
}

#[test]
fn a_log_on_a_disk_too_full_to_open_it_gets_the_reserve_to_open_in() {
    let disk = Disk::new();
    let path = disk.device.path();
    make_room_to_open(&path, Room { total_bytes: 1 << 30, free_bytes: 1 << 20 }).unwrap();
    assert!(disk.has_reserve());
    make_room_to_open(&path, Room { total_bytes: 1 << 30, free_bytes: (1 << 20) - 1 }).unwrap();
    assert!(!disk.has_reserve());
}

#[test]
fn of_a_small_disk_the_reserve_takes_an_eighth() {
    let disk = Disk::new();
    disk.log.shutdown("asked").unwrap();
    let reserve = || std::fs::metadata(schema::reserve_path(&disk.device.path())).map(|metadata| metadata.len()).ok();
    assert_eq!(reserve(), Some(RESERVE_BYTES));
    std::fs::remove_file(schema::reserve_path(&disk.device.path())).unwrap();
    let connection = Connection::open(schema::database_path(&disk.device.path())).unwrap();
    let mut gauge = Gauge::new(&disk.device.path(), SpaceOptions::default(), SpacePace::default());
    gauge.measure(&connection, Ok(Room { total_bytes: 8 << 20, free_bytes: 7 << 20 }));
    assert_eq!((gauge.level(), reserve()), (SpaceLevel::Enough, Some(1 << 20)));
    let space = gauge.space(CapacityMode::Strict);
    assert!(space.has_reserve && space.whole_bytes == 8 << 20, "{space:?}");
}
