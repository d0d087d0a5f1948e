//! What a stick carries home from a box without a network, and what the next one answers.
//!
//! ```text
//! DIR/home/<device>/records-000000   packages of the audit log, as over a network
//! DIR/home/<device>/letters.json     what waits for the control plane: reported state, answers to commands, events
//! DIR/home/<device>/home.json        the table of contents, written last: without it, nothing is finished
//! DIR/answers/<device>.dsse          what was taken in, signed by the director
//! ```
//!
//! The letters carry no signature of their own: the SHA-256 of their file stands in a record of the audit log, which the
//! device's audit key signs and which comes on the same stick. So the log also says what left the box, and when.

use serde::{Deserialize, Serialize};

use crate::{BootId, DeviceId, TenantId, Up};

/// The directory of what devices send home.
pub const HOME_DIRECTORY: &str = "home";

/// The table of contents of one device.
pub const HOME_FILE: &str = "home.json";

/// The letters of one device.
pub const LETTERS_FILE: &str = "letters.json";

/// The directory of answers.
pub const ANSWERS_DIRECTORY: &str = "answers";

/// Largest table of contents.
pub const HOME_BYTES: usize = 16 * 1024;

/// Largest file of letters: every class of the outbox full, and each byte of it escaped.
pub const LETTERS_BYTES: usize = 16 * 1024 * 1024;

/// Largest answer.
pub const ANSWER_BYTES: usize = 512 * 1024;

/// Most packages that one export may hold: the records of years.
pub const MOST_PACKAGES: u32 = 100_000;

/// Most letters that an outbox holds: one reported state, 256 answers, 1,000 events.
pub const MOST_LETTERS: usize = 1 + 256 + 1000;

/// The act of the record in which a device says that it sent letters home.
pub const EXPORT_ACT: &str = "bundle.export";

/// The detail of that record that holds the SHA-256 of the letters.
pub const EXPORT_DETAIL: &str = "letters_sha256";

/// DSSE payload type of [`HomeAnswer`].
pub const ANSWER_TYPE: &str = "application/vnd.outpost.home-answer+json";

/// The file of a package.
#[must_use]
pub fn package_file(number: u32) -> String {
    format!("records-{number:06}")
}

/// The file of an answer.
#[must_use]
pub fn answer_file(device: &DeviceId) -> String {
    format!("{device}.dsse")
}

/// The table of contents of what one device sends home. Nothing in it is trusted: it says where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeIndex {
    /// Version of this form; 1.
    pub v: u32,
    /// Whose device it is.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// Name of its audit log.
    pub origin: String,
    /// The record that holds the SHA-256 of the letters.
    pub record: u64,
    /// How many packages there are. Where they end before `record`, the rest found no room: the letters wait for it.
    pub packages: u32,
}

/// What waited for the control plane when it was sent home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Letters {
    /// Version of this form; 1.
    pub v: u32,
    /// Whose device it is.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// When they were written, seconds since 1970-01-01 UTC by the device's clock.
    pub made_at_s: i64,
    /// In the order in which they would have been sent.
    pub letters: Vec<Letter>,
}

/// One message, as it would have been sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which one.
    #[serde(flatten)]
    pub id: LetterId,
    /// The message: JSON.
    pub document: String,
}

/// What a message is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LetterId {
    /// What kind of message.
    pub class: LetterClass,
    /// The start that `sequence` counts in.
    pub boot: BootId,
    /// Its number.
    pub sequence: u64,
}

/// What may be sent home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterClass {
    /// The reported state.
    Reported,
    /// An answer to a command.
    Response,
    /// Something that happened.
    Event,
}

impl LetterClass {
    /// Where it would have been sent.
    #[must_use]
    pub fn topic(self) -> Up {
        match self {
            Self::Reported => Up::Reported,
            Self::Response => Up::Response,
            Self::Event => Up::Event,
        }
    }
}

/// What was taken in of what a device sent home. Travels as a DSSE envelope of type [`ANSWER_TYPE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeAnswer {
    /// Version of this form; 1.
    pub v: u32,
    /// Whose device it is for.
    pub tenant: TenantId,
    /// The device it is for.
    pub device: DeviceId,
    /// When it was signed, seconds since 1970-01-01 UTC.
    pub issued_at_s: i64,
    /// Messages that are stored and need not be sent again.
    pub stored: Vec<LetterId>,
    /// The newest head of the audit log that was cosigned: the log's note with the lines of witness and mirror.
    pub cosigned: Option<String>,
}

/// What a device sent home cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHome {
    /// It is not of the form.
    #[error("`{0}` cannot be read: {1}; export it on the box again")]
    Unreadable(&'static str, String),
    /// The form's version is unknown here.
    #[error("`{0}` is of form {1}, which is unknown here (form 1 is read); update this program")]
    Version(&'static str, u32),
    /// It is another device's, or another fleet's.
    #[error("`{file}` is of `{device}` of `{tenant}`")]
    Others {
        /// Which file.
        file: &'static str,
        /// Whose it says it is.
        device: DeviceId,
        /// Of which fleet.
        tenant: TenantId,
    },
    /// More letters than there can be.
    #[error("`{LETTERS_FILE}` holds {0} letters; {MOST_LETTERS} are the most")]
    Letters(usize),
    /// More packages than there can be.
    #[error("`{HOME_FILE}` names {0} packages; {MOST_PACKAGES} are the most")]
    Packages(u32),
}

impl HomeIndex {
    /// Reads a table of contents of this device.
    ///
    /// # Errors
    /// If it is none, or somebody else's.
    pub fn parse(bytes: &[u8], tenant: &TenantId, device: &DeviceId) -> Result<Self, InvalidHome> {
        let index: Self = read(HOME_FILE, bytes)?;
        check_owner(HOME_FILE, (&index.tenant, &index.device), (tenant, device))?;
        if index.packages > MOST_PACKAGES {
            return Err(InvalidHome::Packages(index.packages));
        }
        Ok(index)
    }
}

impl Letters {
    /// Reads the letters of this device.
    ///
    /// # Errors
    /// If they are none, or somebody else's.
    pub fn parse(bytes: &[u8], tenant: &TenantId, device: &DeviceId) -> Result<Self, InvalidHome> {
        let letters: Self = read(LETTERS_FILE, bytes)?;
        check_owner(LETTERS_FILE, (&letters.tenant, &letters.device), (tenant, device))?;
        if letters.letters.len() > MOST_LETTERS {
            return Err(InvalidHome::Letters(letters.letters.len()));
        }
        Ok(letters)
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, InvalidHome> {
    /// What every form has.
    #[derive(Deserialize)]
    struct Form {
        v: u32,
    }
    let unreadable = |error: serde_json::Error| InvalidHome::Unreadable(file, error.to_string());
    let Form { v } = serde_json::from_slice(bytes).map_err(unreadable)?;
    if v != 1 {
        return Err(InvalidHome::Version(file, v));
    }
    serde_json::from_slice(bytes).map_err(unreadable)
}

fn check_owner(
    file: &'static str,
    (tenant, device): (&TenantId, &DeviceId),
    wanted: (&TenantId, &DeviceId),
) -> Result<(), InvalidHome> {
    if (tenant, device) == wanted {
        return Ok(());
    }
    Err(InvalidHome::Others { file, device: device.clone(), tenant: tenant.clone() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters() -> Letters {
        let id = LetterId { class: LetterClass::Event, boot: "b1".parse().unwrap(), sequence: 7 };
        Letters {
            v: 1,
            tenant: "acme".parse().unwrap(),
            device: "till-7".parse().unwrap(),
            made_at_s: 1,
            letters: vec![Letter { id, document: "{}".to_owned() }],
        }
    }

    fn read_letters(bytes: &[u8]) -> Result<Letters, InvalidHome> {
        Letters::parse(bytes, &"acme".parse().unwrap(), &"till-7".parse().unwrap())
    }

    #[test]
    fn letters_are_read_by_whose_they_are_and_by_their_form() {
        let text = serde_json::to_string(&letters()).unwrap();
        assert_eq!(read_letters(text.as_bytes()).unwrap(), letters());
        assert!(text.contains(r#""class":"event","boot":"b1","sequence":7"#), "{text}");
        let said = |text: &str| read_letters(text.as_bytes()).unwrap_err().to_string();
        assert!(said(&text.replace("till-7", "till-8")).contains("of `till-8` of `acme`"));
        assert!(said(&text.replace("acme", "other")).contains("of `other`"));
        assert!(said(&text.replace("\"v\":1", "\"v\":2")).contains("form 2"));
        assert!(said(&text.replace("event", "hello")).contains("unknown variant"));
        let letter = letters().letters.remove(0);
        let flood = Letters { letters: vec![letter; MOST_LETTERS + 1], ..letters() };
        assert!(said(&serde_json::to_string(&flood).unwrap()).contains("1257 are the most"));
    }

    #[test]
    fn a_table_of_contents_is_bounded() {
        let index = HomeIndex {
            v: 1,
            tenant: "acme".parse().unwrap(),
            device: "till-7".parse().unwrap(),
            origin: "audit.outpost/ab/1".to_owned(),
            record: 9,
            packages: MOST_PACKAGES + 1,
        };
        let bytes = serde_json::to_vec(&index).unwrap();
        let parsed = HomeIndex::parse(&bytes, &index.tenant, &index.device);
        assert_eq!(parsed, Err(InvalidHome::Packages(MOST_PACKAGES + 1)));
    }

    proptest! {
        #[test]
        fn edited_files_are_refused_or_mean_what_they_say(at: prop::sample::Index, byte: u8) {
            let mut bytes = serde_json::to_vec(&letters()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = read_letters(&bytes) {
                prop_assert_eq!(serde_json::from_slice::<Letters>(&bytes).unwrap(), read);
            }
        }
    }
}
