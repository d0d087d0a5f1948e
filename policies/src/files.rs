//! A bundle as its author writes it: files by name, and where in them something that was found stands.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lines::FileDiff;
use crate::{BUNDLE_BYTES, Bundle, BundleError, Finding, Policies, TriedCase, lines, lint};

/// Most files of a bundle, and bytes in the name of one.
const FILES: usize = 64;
const NAME_BYTES: usize = 128;

/// The files of a bundle, by their path within it. What is written in them may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct BundleFiles(BTreeMap<String, String>);

/// These cannot be the files of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// A name that is none.
    #[error(
        "`{0}` is no file of a bundle: write `NAME.cedar` or `NAME.toml`, at most {NAME_BYTES} of a-z, A-Z, 0-9, `-`, `_` and \
         `.`, in a folder or in none"
    )]
    Name(String),
    /// More than a bundle may have.
    #[error("the files are {found}; a bundle has at most {FILES} files with {BUNDLE_BYTES} bytes together")]
    TooMany {
        /// What came.
        found: String,
    },
}

/// Something that was found in the files of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The file.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The `@id` of the rule, where it is known.
    pub rule: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What would be right, where it does not say so itself.
    pub way_out: Option<String>,
    /// Whether the bundle cannot be released because of it; else it is a hint.
    pub is_error: bool,
}

/// What came of looking at the files of a bundle.
#[derive(Debug, Default)]
pub struct Checked {
    /// The bundle, if every file can be read.
    pub bundle: Option<Bundle>,
    /// What it decides by, if nothing is wrong with it.
    pub policies: Option<Policies>,
    /// What was found: errors first, then hints.
    pub found: Vec<Found>,
    /// How each case came out, if the rules could be asked.
    pub cases: Vec<TriedCase>,
}

impl TryFrom<BTreeMap<String, String>> for BundleFiles {
    type Error = FilesError;

    fn try_from(files: BTreeMap<String, String>) -> Result<Self, FilesError> {
        if let Some(name) = files.keys().find(|name| !is_file_name(name)) {
            return Err(FilesError::Name(name.chars().take(NAME_BYTES).collect::<String>().escape_debug().to_string()));
        }
        let bytes: usize = files.values().map(String::len).sum();
        if files.len() > FILES || bytes > BUNDLE_BYTES {
            return Err(FilesError::TooMany { found: format!("{} with {bytes} bytes", files.len()) });
        }
        // Browsers end lines as terminals of old did.
        Ok(Self(files.into_iter().map(|(name, text)| (name, text.replace("\r\n", "\n"))).collect()))
    }
}

impl From<BundleFiles> for BTreeMap<String, String> {
    fn from(files: BundleFiles) -> Self {
        files.0
    }
}

/// A relative path that means the same everywhere and leads nowhere else.
fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
    name.len() <= NAME_BYTES
        && name.split('/').count() <= 2
        && name.split('/').all(part)
        && (name.ends_with(".cedar") || name.ends_with(".toml"))
}

impl BundleFiles {
    /// The files that a bundle would be written as; rules as they are, of the rest only what counts.
    ///
    /// # Errors
    /// If a number in it has no word in TOML, or a file of rules has a name that no file here may have.
    pub fn of(bundle: &Bundle) -> Result<Self, String> {
        let files = bundle.to_files().map_err(|error| error.to_string())?;
        Self::try_from(files).map_err(|error| error.to_string())
    }

    /// The files by name.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The text of a file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// With this text in the place of what a file said; an empty one takes the file away.
    ///
    /// # Errors
    /// If the name is none, or it would be too much.
    pub fn with(&self, name: &str, text: &str) -> Result<Self, FilesError> {
        let mut files = self.0.clone();
        if text.trim().is_empty() {
            files.remove(name);
        } else {
            files.insert(name.to_owned(), text.to_owned());
        }
        Self::try_from(files)
    }

    /// Looks at everything: whether the files can be read, what the rules say, how the cases come out, and what is hardly
    /// meant. `version` is the bundle's if `bundle.toml` says none.
    #[must_use]
    pub fn check(&self, version: u64) -> Checked {
        let files = || self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let mut checked = Checked::default();
        checked.found.extend(files().filter_map(|file| self.unread(version, file)));
        if !checked.found.is_empty() {
            return checked;
        }
        let bundle = match Bundle::from_files(version, files()) {
            Ok(bundle) if bundle.to_bytes().len() <= BUNDLE_BYTES => bundle,
            Ok(bundle) => {
                let too_large = BundleError::TooLarge { bytes: bundle.to_bytes().len() };
                checked.found.push(Found::error("bundle.toml", None, too_large.to_string()));
                return checked;
            }
            Err(error) => {
                checked.found.push(Found::error("bundle.toml", None, error.to_string()));
                return checked;
            }
        };
        match Policies::try_cases(&bundle) {
            Err(findings) => checked.found.extend(findings.into_iter().map(|finding| self.locate(finding, true))),
            Ok(cases) => {
                checked.found.extend(self.failed(&cases));
                if cases.is_empty() {
                    let what = "there are no cases: a bundle proves what it means by its own";
                    checked.found.push(Found {
                        way_out: Some("add a file `cases.toml` with a `[[case]]`".to_owned()),
                        ..Found::error("cases.toml", None, what.to_owned())
                    });
                }
                checked.cases = cases;
            }
        }
        if checked.found.is_empty() {
            match Policies::activate(bundle.clone()) {
                Err(findings) => checked.found.extend(findings.into_iter().map(|finding| self.locate(finding, true))),
                Ok(policies) => {
                    let hints = lint(&bundle, &policies);
                    checked.found.extend(hints.into_iter().map(|hint| self.locate(hint, false)));
                    checked.policies = Some(policies);
                }
            }
        }
        checked.bundle = Some(bundle);
        checked
    }

    /// Why a file cannot be read, if it cannot.
    fn unread(&self, version: u64, (name, text): (&str, &str)) -> Option<Found> {
        let error = Bundle::from_files(version, [(name, text)]).err()?;
        let (line, what) = match &error {
            BundleError::Toml { source, .. } => {
                let line = source.span().map(|span| line_at(text, span.start));
                (line, source.message().trim_end().to_owned())
            }
            other => (None, other.to_string()),
        };
        let way_out = matches!(error, BundleError::Toml { .. }).then(|| form_of(name).to_owned());
        Some(Found { way_out, ..Found::error(name, line, what) })
    }

    /// The cases that came out otherwise than they say. They are counted over all files, in the order of names.
    fn failed(&self, cases: &[TriedCase]) -> Vec<Found> {
        let heads = self.0.iter().filter(|(name, _)| is_cases(name)).flat_map(|(name, text)| {
            let lines = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with("[[case]]"));
            lines.map(move |(line, _)| (name.clone(), line))
        });
        let heads: Vec<(String, usize)> = heads.collect();
        // A file may write its cases as one array: then only the file is known.
        let known = heads.len() == cases.len();
        let failed = cases.iter().enumerate().filter_map(|(at, case)| Some((at, case, case.problem.as_ref()?)));
        failed
            .map(|(at, case, problem)| {
                let (file, line) = match heads.get(at).filter(|_| known) {
                    Some((file, line)) => (file.clone(), Some(*line)),
                    None => ("cases.toml".to_owned(), None),
                };
                let what = format!("the case “{}” does not hold: {problem}", case.title);
                let way_out = "change the rule that decides, or what the case expects".to_owned();
                Found { way_out: Some(way_out), ..Found::error(&file, line, what) }
            })
            .collect()
    }

    /// A finding, with the file and line that it is about.
    fn locate(&self, finding: Finding, is_error: bool) -> Found {
        let Finding { place, rule, what } = finding;
        let first = |is: fn(&str) -> bool, otherwise: &str| {
            self.0.keys().find(|name| is(name)).map_or_else(|| otherwise.to_owned(), String::clone)
        };
        let file = match place.as_str() {
            "limits" | "models" | "content" => format!("{place}.toml"),
            "policies" => first(|name| name.ends_with(".cedar"), "rules.cedar"),
            "cases" => first(is_cases, "cases.toml"),
            _ => place,
        };
        let text = self.0.get(&file).map_or("", String::as_str);
        let said = said_line(&what);
        let line = said.or_else(|| line_of(text, &format!("@id(\"{}\")", rule.as_deref()?))).or_else(|| {
            // What is named in the words, as `operator`, is what the finding is about.
            what.split('`').skip(1).step_by(2).find_map(|named| line_of(text, named))
        });
        let way_out = (file.ends_with(".cedar") && is_error && said.is_some()).then(|| form_of(&file).to_owned());
        let what = match (said, what.split_once(": ")) {
            (Some(_), Some((head, rest))) if head.starts_with("line ") => rest.to_owned(),
            _ => what,
        };
        Found { file, line, rule, what, way_out, is_error }
    }

    /// What is written otherwise, file by file.
    #[must_use]
    pub fn diff(&self, newer: &Self) -> Vec<FileDiff> {
        lines::files(&self.0, &newer.0)
    }
}

/// Whether a file holds cases.
fn is_cases(name: &str) -> bool {
    name.ends_with(".toml") && !["bundle.toml", "limits.toml", "models.toml", "content.toml"].contains(&name)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn line_of(text: &str, wanted: &str) -> Option<usize> {
    (!wanted.is_empty()).then(|| text.find(wanted)).flatten().map(|at| line_at(text, at))
}

/// The line that a finding itself names: `line 3: …`, `the rule near line 3 …`.
fn said_line(what: &str) -> Option<usize> {
    let rest = what.strip_prefix("line ").or_else(|| what.strip_prefix("the rule near line "))?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// How such a file is written.
fn form_of(file: &str) -> &'static str {
    match file {
        "bundle.toml" => "`version`, `schema`, `required_approvals`, and the tables `[audit]`, `[fleet]`, `[transfer]`",
        "limits.toml" => "a table for each role, as `[operator]`, with fields as `max_tokens_per_request = 4096`",
        "models.toml" => {
            "a table for each model, as `[\"qwen3-0.6b\"]`, with `approved`, `approved_until`, `licence`, `class`, `family`"
        }
        "content.toml" => {
            "`[pattern.NAME]` with `matches`, and `[[role.NAME.input]]` or `output` with `class` and what is done"
        }
        _ if file.ends_with(".cedar") => {
            "a rule reads `@id(\"a-name\") @title(\"…\") @reason(\"…\") permit (principal in Role::\"operator\", action == \
             Action::\"infer\", resource);`"
        }
        _ => "`[[case]]` with `title`, `who`, `does`, `expect = \"allow\"` or `\"deny\"`, and what is given",
    }
}

impl Found {
    fn error(file: &str, line: Option<usize>, what: String) -> Self {
        Self { file: file.to_owned(), line, rule: None, what, way_out: None, is_error: true }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(rule) = &self.rule {
            write!(formatter, ": rule `{rule}`")?;
        }
        write!(formatter, ": {}", self.what)?;
        match &self.way_out {
            Some(way_out) => write!(formatter, " (way out: {way_out})"),
            None => Ok(()),
        }
    }
}
