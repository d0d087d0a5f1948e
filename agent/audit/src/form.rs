//! A record as one line in the form that another system reads. Each line carries the leaf whole, byte for byte, so that
//! it can be taken out again and checked.

mod cef;
mod csv;
mod ocsf;
mod syslog;

use crate::Leaf;

/// A form of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The leaves as they are, one a line.
    Jsonl,
    /// A table (RFC 4180) that no spreadsheet mistakes for formulas.
    Csv,
    /// Events of the Open Cybersecurity Schema Framework, one JSON object a line.
    Ocsf,
    /// ArcSight's Common Event Format, version 0.
    Cef,
    /// Syslog messages (RFC 5424), one a line.
    Syslog,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 5] = [Self::Jsonl, Self::Csv, Self::Ocsf, Self::Cef, Self::Syslog];

    /// Its name on a command line and in a manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
            Self::Syslog => "syslog",
        }
    }

    /// The form with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// The file of records in an export.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Jsonl => "records.jsonl",
            Self::Csv => "records.csv",
            Self::Ocsf => "records.ocsf.jsonl",
            Self::Cef => "records.cef",
            Self::Syslog => "records.syslog",
        }
    }

    /// What stands before the first record.
    pub(crate) fn heading(self) -> &'static [u8] {
        if self == Self::Csv { csv::HEADING } else { b"" }
    }
}

/// The line of the record at `index`, its newline included. The same leaf always gives the same line.
pub(crate) fn line(form: Form, index: u64, bytes: &[u8], leaf: &Leaf) -> Vec<u8> {
    let raw = String::from_utf8_lossy(bytes);
    let mut line = match form {
        Form::Jsonl => bytes.to_vec(),
        Form::Csv => csv::line(index, &raw, leaf).into_bytes(),
        Form::Ocsf => ocsf::line(index, &raw, leaf),
        Form::Cef => cef::line(index, &raw, leaf).into_bytes(),
        Form::Syslog => syslog::line(&raw, leaf).into_bytes(),
    };
    line.push(b'\n');
    line
}

/// The leaf in a line (without its newline); the rest of the line is a view of it.
pub(crate) fn leaf_of(form: Form, line: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(line).ok();
    let leaf = match form {
        Form::Jsonl => return Ok(line.to_vec()),
        Form::Csv => text.and_then(csv::leaf_of),
        Form::Ocsf => text.and_then(ocsf::leaf_of),
        Form::Cef => text.and_then(cef::leaf_of),
        Form::Syslog => text.and_then(syslog::leaf_of),
    };
    leaf.map(String::into_bytes).ok_or_else(|| format!("the line has no leaf in it, or is not {}", form.name()))
}

/// How a record ended, as far as it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Success,
    Failure,
}

impl Ending {
    fn of(leaf: &Leaf) -> Self {
        let failed = leaf.integer("res.status").is_some_and(|status| status >= 400)
            || leaf.text("res.err").is_some()
            || leaf.text("dec.effect") == Some("deny")
            || leaf.kind().is_some_and(|kind| {
                kind.rsplit('.').next().is_some_and(|end| matches!(end, "fail" | "denied" | "reject" | "aborted"))
            });
        if failed { Self::Failure } else { Self::Success }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

#[cfg(test)]
mod tests;
