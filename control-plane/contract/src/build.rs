//! Builds of the agent: how a version is written, what the first bytes of a program say, what a device tells of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidName;
use crate::{Sha256, Triple};

/// Bytes of a program that say what machine it is for.
pub const HEADER_BYTES: usize = 20;

/// A version of the agent: `0.3.0`, `1.0.0-rc.1`.
///
/// ```
/// # use outpost_contract::BuildVersion;
/// assert!("0.3.0-rc.1".parse::<BuildVersion>().is_ok());
/// assert!("v3".parse::<BuildVersion>().is_err() && "0.3".parse::<BuildVersion>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildVersion(String);

impl BuildVersion {
    /// The version as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BuildVersion {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        let (release, before) =
            value.split_once('-').map_or((value, None), |(release, before)| (release, Some(before)));
        let is_number = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let well_formed = value.len() <= 40
            && release.split('.').count() == 3
            && release.split('.').all(is_number)
            && before.is_none_or(|before| before.split('.').all(is_word));
        if well_formed {
            return Ok(Self(value.to_owned()));
        }
        Err(InvalidName {
            kind: "version of a build",
            value: value.chars().take(80).collect(),
            rule: "three numbers with points between, as in `0.3.0` or `0.3.0-rc.1`, 40 characters at the most",
        })
    }
}

impl TryFrom<String> for BuildVersion {
    type Error = InvalidName;

    fn try_from(value: String) -> Result<Self, InvalidName> {
        value.parse()
    }
}

impl From<BuildVersion> for String {
    fn from(version: BuildVersion) -> Self {
        version.0
    }
}

impl fmt::Display for BuildVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The machine that a program is for, as its ELF header names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    is_64_bit: bool,
    number: u16,
}

/// A file is no program for the machines of a triple.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongProgram {
    /// It has no such header.
    #[error("it is no program for Linux (an ELF file that can be run was expected)")]
    NoProgram,
    /// The triple's processors are not known here.
    #[error("no build for `{0}` is known here; builds are for x86_64, aarch64 or armv7 under Linux")]
    UnknownTriple(Triple),
    /// It is for other processors.
    #[error("wrong architecture: it is a build for {is}, not for {wanted}")]
    OtherMachine {
        /// What the header says.
        is: String,
        /// What the triple asks for.
        wanted: String,
    },
}

impl Machine {
    const X86_64: Self = Self { is_64_bit: true, number: 62 };
    const AARCH64: Self = Self { is_64_bit: true, number: 183 };
    const ARM: Self = Self { is_64_bit: false, number: 40 };

    /// Reads the first [`HEADER_BYTES`] of a program; `None` for anything but a little-endian ELF file that can be run.
    #[must_use]
    pub fn of_program(bytes: &[u8]) -> Option<Self> {
        // e_ident: magic, class, order of bytes; then e_type and e_machine, of two bytes each.
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let is_64_bit = match header[4] {
            1 => false,
            2 => true,
            _ => return None,
        };
        let kind = u16::from_le_bytes([header[16], header[17]]);
        let can_be_run = matches!(kind, 2 | 3);
        let is_program = header.starts_with(b"\x7fELF") && header[5] == 1 && can_be_run;
        is_program.then_some(Self { is_64_bit, number: u16::from_le_bytes([header[18], header[19]]) })
    }

    /// The machines of a triple; `None` if they are not known here.
    #[must_use]
    pub fn of_triple(triple: &Triple) -> Option<Self> {
        let (processor, system) = triple.as_str().split_once('-')?;
        let is_linux = system.split('-').any(|word| word == "linux");
        let machine = match processor {
            "x86_64" => Self::X86_64,
            "aarch64" => Self::AARCH64,
            "armv7" => Self::ARM,
            _ => return None,
        };
        is_linux.then_some(machine)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::X86_64 => formatter.write_str("x86_64"),
            Self::AARCH64 => formatter.write_str("aarch64"),
            Self::ARM => formatter.write_str("arm"),
            Self { is_64_bit, number } => {
                write!(formatter, "ELF machine {number}, {} bits", if is_64_bit { 64 } else { 32 })
            }
        }
    }
}

/// Checks that a program which begins so is one for the machines of a triple.
///
/// # Errors
/// What else it is.
pub fn check_program(first_bytes: &[u8], triple: &Triple) -> Result<(), WrongProgram> {
    let wanted = Machine::of_triple(triple).ok_or_else(|| WrongProgram::UnknownTriple(triple.clone()))?;
    match Machine::of_program(first_bytes) {
        None => Err(WrongProgram::NoProgram),
        Some(machine) if machine == wanted => Ok(()),
        Some(machine) => Err(WrongProgram::OtherMachine { is: machine.to_string(), wanted: wanted.to_string() }),
    }
}

/// Which program a device runs, and what became of the last one that it was told to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReport {
    /// The version of the program that runs.
    pub version: BuildVersion,
    /// What it was built for: of its builds, the device takes the one for this triple.
    pub target: Triple,
    /// SHA-256 of the program's file, if it lies in a slot; the packaged one is the package's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Where it came from.
    pub source: BuildSource,
    /// It runs on trial: it has not shown yet that it does well.
    #[serde(default)]
    pub trial: bool,
    /// The last build that was tried and given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<RolledBack>,
}

/// Where the program that runs came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildSource {
    /// It was installed with the operating system's means.
    Packaged,
    /// It was fetched, and lies in one of the two slots.
    Slot,
}

/// A build that was tried and given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// Its version.
    pub version: BuildVersion,
    /// SHA-256 of its file: the same file is not tried again.
    pub sha256: Sha256,
    /// Why, for people.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(class: u8, kind: u8, machine: u8) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
        bytes.resize(16, 0);
        bytes.extend([kind, 0, machine, 0]);
        bytes
    }

    fn triple(text: &str) -> Triple {
        text.parse().unwrap()
    }

    #[test]
    fn a_program_is_held_to_its_triple() {
        let (pc, board) = (triple("x86_64-unknown-linux-musl"), triple("aarch64-unknown-linux-gnu"));
        assert_eq!(check_program(&header(2, 3, 62), &pc), Ok(()));
        assert_eq!(check_program(&header(2, 2, 183), &board), Ok(()));
        assert_eq!(check_program(&header(1, 2, 40), &triple("armv7-unknown-linux-gnueabihf")), Ok(()));
        let wrong = check_program(&header(2, 3, 183), &pc).unwrap_err().to_string();
        assert_eq!(wrong, "wrong architecture: it is a build for aarch64, not for x86_64");
        let wrong = check_program(&header(2, 3, 243), &pc).unwrap_err().to_string();
        assert_eq!(wrong, "wrong architecture: it is a build for ELF machine 243, 64 bits, not for x86_64");
        for (bytes, what) in [
            (header(2, 1, 62), "an object file"),
            (header(3, 3, 62), "an unknown class"),
            (header(2, 3, 62)[..19].to_vec(), "cut short"),
            (b"#!/bin/sh\nexit 0\n#############".to_vec(), "a script"),
            (Vec::new(), "nothing"),
        ] {
            assert_eq!(check_program(&bytes, &pc), Err(WrongProgram::NoProgram), "{what}");
        }
        for unknown in ["riscv64gc-unknown-linux-gnu", "x86_64-apple-darwin", "x86_64"] {
            let refused = check_program(&header(2, 3, 62), &triple(unknown)).unwrap_err();
            assert_eq!(refused, WrongProgram::UnknownTriple(triple(unknown)));
        }
    }

    #[test]
    fn a_version_has_three_numbers() {
        for good in ["0.1.0", "10.20.30", "0.3.0-rc.1", "1.0.0-a-b.2"] {
            assert_eq!(good.parse::<BuildVersion>().unwrap().to_string(), good);
        }
        for bad in
            ["", "1", "1.2", "1.2.3.4", "v1.2.3", "1.2.x", "1.2.3-", "1.2.3-a..b", "1.2.3+b", "../1.2.3", "1.2. 3"]
        {
            assert!(bad.parse::<BuildVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_device_tells_of_its_program_survives_the_wire_and_says_no_more_than_there_is() {
        let packaged = BuildReport {
            version: "0.2.0".parse().unwrap(),
            target: triple("x86_64-unknown-linux-gnu"),
            sha256: None,
            source: BuildSource::Packaged,
            trial: false,
            rolled_back: None,
        };
        let text = serde_json::to_string(&packaged).unwrap();
        assert_eq!(
            text,
            r#"{"version":"0.2.0","target":"x86_64-unknown-linux-gnu","source":"packaged","trial":false}"#
        );
        let rolled_back = RolledBack {
            version: "0.3.0".parse().unwrap(),
            sha256: Sha256([7; 32]),
            reason: "it ended twice before it did well".into(),
        };
        let told = BuildReport {
            sha256: Some(Sha256([1; 32])),
            source: BuildSource::Slot,
            trial: true,
            rolled_back: Some(rolled_back),
            ..packaged
        };
        assert_eq!(serde_json::from_str::<BuildReport>(&serde_json::to_string(&told).unwrap()).unwrap(), told);
        let newer = text.replace("false}", r#"false,"what_comes_later":1}"#);
        assert!(serde_json::from_str::<BuildReport>(&newer).is_ok(), "a newer agent may say more");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_program_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(machine) = Machine::of_program(&bytes) {
                prop_assert!(bytes.starts_with(b"\x7fELF") && !machine.to_string().is_empty());
            }
        }

        #[test]
        fn any_text_is_a_version_or_refused(text in "[0-9]{1,10}\\.[0-9]{1,10}\\.[0-9]{1,10}[-a-z.]{0,8}|\\PC{0,50}") {
            if let Ok(version) = text.parse::<BuildVersion>() {
                prop_assert_eq!(version.as_str(), &text);
                let name = format!("agent-{version}.x86_64-unknown-linux-gnu");
                prop_assert!(name.parse::<crate::TargetName>().is_ok(), "{}", name);
            }
        }
    }
}
