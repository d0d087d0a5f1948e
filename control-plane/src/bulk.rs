//! Lists of devices in a file: a name per line, or a name and the fingerprint of its key; all of a list counts, or none of it.
//!
//! Fields are parted by a comma or a semicolon and may stand in quotation marks; empty lines, `#` remarks and a heading
//! (`device` or `name`) are passed over.

use std::collections::HashMap;

use outpost_contract::{DeviceId, Fingerprint};

/// Lines of a list.
const MOST_LINES: usize = 100_000;

/// Mistakes that are told at once.
const MOST_MISTAKES: usize = 20;

/// A list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BulkError {
    /// It has more lines than one list may have.
    #[error("the list has more than {MOST_LINES} lines; split it")]
    TooLong,
    /// It names nobody.
    #[error("the list names no device")]
    Empty,
    /// Lines are wrong.
    #[error("nothing was done, because of these lines:\n{}", .0.join("\n"))]
    Mistakes(Vec<String>),
}

/// Reads a list of names; the first field of each line counts.
///
/// # Errors
/// Says which lines are wrong: no name, or a name that stands there twice.
pub fn parse_names(text: &str) -> Result<Vec<DeviceId>, BulkError> {
    let mut unique = Unique::default();
    read(text, |number, fields| {
        let device = device(fields)?;
        unique.check("name", device.as_str(), number)?;
        Ok(device)
    })
}

/// Reads a list of names and fingerprints: the first two fields of each line count.
///
/// # Errors
/// As [`parse_names`]; keys that stand there twice as well.
pub fn parse_keys(text: &str) -> Result<Vec<(DeviceId, Fingerprint)>, BulkError> {
    let (mut names, mut keys) = (Unique::default(), Unique::default());
    read(text, |number, fields| {
        let device = device(fields)?;
        let key = fields.get(1).ok_or("there is no key; expected `name,fingerprint`")?;
        let key: Fingerprint = key.parse().map_err(|error| format!("{error}"))?;
        names.check("name", device.as_str(), number)?;
        keys.check("key", &key.to_string(), number)?;
        Ok((device, key))
    })
}

fn device(fields: &[&str]) -> Result<DeviceId, String> {
    fields.first().copied().unwrap_or_default().parse().map_err(|error| format!("{error}"))
}

/// Where each value stood first.
#[derive(Default)]
struct Unique(HashMap<String, usize>);

impl Unique {
    fn check(&mut self, what: &str, value: &str, number: usize) -> Result<(), String> {
        match self.0.insert(value.to_owned(), number) {
            Some(first) => Err(format!("the {what} `{value}` stands in line {first} already")),
            None => Ok(()),
        }
    }
}

fn read<T>(text: &str, mut entry: impl FnMut(usize, &[&str]) -> Result<T, String>) -> Result<Vec<T>, BulkError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        if number >= MOST_LINES {
            return Err(BulkError::TooLong);
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = line.split([',', ';']).map(|field| field.trim().trim_matches('"').trim()).collect();
        if entries.is_empty() && mistakes.is_empty() && matches!(fields[0], "device" | "name") {
            continue;
        }
        match entry(number + 1, &fields) {
            Ok(entry) => entries.push(entry),
            Err(_) if mistakes.len() >= MOST_MISTAKES => {}
            Err(mistake) => mistakes.push(format!("  line {}: {mistake}", number + 1)),
        }
    }
    match (mistakes.is_empty(), entries.is_empty()) {
        (false, _) => Err(BulkError::Mistakes(mistakes)),
        (true, true) => Err(BulkError::Empty),
        (true, false) => Ok(entries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_is_read_as_spreadsheets_and_people_write_it() {
        let names =
            parse_names("\u{feff}device;place\r\ntill-1;Lyon\r\n\r\n# the back room\r\n \"till-2\" ; x\r\n").unwrap();
        assert_eq!(names.iter().map(DeviceId::as_str).collect::<Vec<_>>(), ["till-1", "till-2"]);
        let key = Fingerprint([7; 32]);
        let keys = parse_keys(&format!("till-1,{key}\ntill-2,{}\n", hex::encode([8; 32]))).unwrap();
        assert_eq!(keys, [("till-1".parse().unwrap(), key), ("till-2".parse().unwrap(), Fingerprint([8; 32]))]);
    }

    #[test]
    fn every_wrong_line_is_named_at_once() {
        let Err(BulkError::Mistakes(mistakes)) = parse_names("till-1\n../x\ntill-1\n") else { panic!("refused") };
        assert_eq!(mistakes.len(), 2);
        assert!(
            mistakes[0].starts_with("  line 2: ") && mistakes[1].contains("stands in line 1 already"),
            "{mistakes:?}"
        );
        let Err(BulkError::Mistakes(mistakes)) = parse_keys("till-1\ntill-2,abc\n") else { panic!("refused") };
        assert!(
            mistakes[0].contains("there is no key") && mistakes[1].contains("64 hexadecimal digits"),
            "{mistakes:?}"
        );
        assert_eq!(parse_names("# nobody\n"), Err(BulkError::Empty));
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_refused_without_panic(text in "(?s).{0,300}") {
            let _ = parse_names(&text);
            if let Ok(keys) = parse_keys(&text) {
                prop_assert!(!keys.is_empty());
            }
        }
    }
}
