//! Exporting, with each system call failing once: the export is there whole and verifies, or it is not there; and the log is
//! as before.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use outpost_audit::export::{self, Form, Format, export};
use outpost_audit::verify::{self, verify_any};
use outpost_audit::{Kind, Record};

use crate::faults::{Campaign, Fault};
use crate::recorder::{Acknowledged, assert_nothing_is_lost, identity, open, program_under_strace};

/// Names the folder of the log, for the process that exports.
const FOLDER: &str = "OUTPOST_TEST_EXPORT_FOLDER";

/// Names the format.
const FORMAT: &str = "OUTPOST_TEST_EXPORT_FORMAT";

/// More than one tile, so that there are several of everything.
const RECORDS: u64 = 300;

/// The process that exports; in an ordinary run of the tests it has nothing to do.
#[test]
fn exporter() {
    let (Some(folder), Ok(format)) = (std::env::var_os(FOLDER), std::env::var(FORMAT)) else { return };
    let folder = Path::new(&folder);
    let format = Format::ALL.into_iter().find(|known| known.name() == format).expect("a format");
    let Ok(identity) = identity(folder) else { return };
    let key = matches!(format, Format::Records(_)).then_some(&identity.key);
    let options = export::Options { key, ..export::Options::default() };
    let socket = UnixDatagram::unbound().unwrap();
    if let Ok(exported) = export(&folder.join("audit"), format, &folder.join("exported"), &options) {
        socket.send_to(exported.to.to_string().as_bytes(), folder.join("acknowledged")).unwrap();
    }
}

#[test]
fn an_export_as_tiles_is_whole_or_absent_whichever_system_call_fails() {
    campaign(Format::Tiles);
}

#[test]
fn an_export_as_lines_is_whole_or_absent_whichever_system_call_fails() {
    campaign(Format::Records(Form::Jsonl));
}

fn campaign(format: Format) {
    let template = tempfile::tempdir().unwrap();
    let recorded = record(template.path());
    let program = |folder: &Path, options: &[&str]| {
        let mut command = program_under_strace("exporting::exporter", options);
        command.env(FOLDER, folder).env(FORMAT, format.name());
        command
    };
    Campaign {
        name: &format!("export as {format}"),
        prepare: &|folder| copy(template.path(), folder),
        program: &program,
        judge: &|folder, lines, fault| judge(folder, lines, fault, &recorded),
        short: 12,
    }
    .run();
}

/// A closed log.
fn record(folder: &Path) -> Acknowledged {
    let log = open(folder).unwrap();
    let append = |named| log.append(Record::new(Kind::AdminAct).act("storage").detail("named", named));
    let answers: Vec<_> = (0..RECORDS).map(|named| (append(named), named)).collect();
    let recorded = answers.into_iter().map(|(answer, named)| (answer.wait().unwrap(), named)).collect();
    log.shutdown("exported next").unwrap();
    recorded
}

fn judge(folder: &Path, lines: &[String], fault: &Fault, recorded: &Acknowledged) {
    let (target, log) = (folder.join("exported"), folder.join("audit"));
    let before = verify_any(&log, &verify::Options::default()).unwrap();
    if target.exists() {
        let report =
            verify_any(&target, &verify::Options::default()).unwrap_or_else(|error| panic!("{fault}: {error}"));
        assert_eq!(report.problems, [], "{fault}");
        assert_eq!((report.records, report.root_hex), (before.records, before.root_hex), "{fault}");
    } else {
        assert!(lines.is_empty(), "{fault}: {lines:?} was acknowledged and is not there");
    }
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty() || fault.kills(), "{fault}: {left:?} was left");
    assert_nothing_is_lost(folder, recorded, &fault.to_string());
}

/// A folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(path, target).unwrap();
        }
    }
}
