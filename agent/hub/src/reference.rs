//! `hf:OWNER/REPO@REVISION`, and paths inside of a repository: what is written here can stand in an address or a directory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::HubError;

/// Longest path of a file, bytes.
const PATH_BYTES: usize = 512;

/// Deepest path of a file.
const PATH_PARTS: usize = 8;

/// A repository of models, and which state of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubReference {
    pub(super) owner: String,
    pub(super) repository: String,
    /// A branch, a tag or a commit.
    pub(super) revision: String,
}

impl HubReference {
    /// A name for the directory that its files are kept in.
    #[must_use]
    pub fn directory_name(&self) -> String {
        format!("{}--{}", self.owner, self.repository)
    }
}

impl FromStr for HubReference {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let refused = || HubError::Reference(text.chars().take(120).collect());
        let rest = text.strip_prefix("hf:").ok_or_else(refused)?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let (owner, repository) = path.split_once('/').ok_or_else(refused)?;
        // Revisions may hold a `/`, as in `refs/pr/3`.
        let is_revision = revision.len() <= 200 && revision.split('/').all(is_name);
        if !is_name(owner) || !is_name(repository) || !is_revision {
            return Err(refused());
        }
        let [owner, repository, revision] = [owner, repository, revision].map(str::to_owned);
        Ok(Self { owner, repository, revision })
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hf:{}/{}@{}", self.owner, self.repository, self.revision)
    }
}

/// Letters, digits, `.`, `_` and `-`, beginning with neither `.` nor `-`.
fn is_name(text: &str) -> bool {
    let shaped = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=96).contains(&text.len()) && text.bytes().all(shaped) && !text.starts_with(['.', '-']) && !text.contains("..")
}

/// The path of a file inside a repository: relative, and it stays inside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RepositoryPath(String);

impl RepositoryPath {
    /// Reads a path; `None` if it is none that could be kept.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_part = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && !part.ends_with(['.', ' '])
                && !part.chars().any(|c| {
                    c.is_control() || matches!(c, '\\' | ':' | '\u{200e}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
                })
        };
        let is_path = text.len() <= PATH_BYTES && text.split('/').count() <= PATH_PARTS && text.split('/').all(is_part);
        is_path.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn to_path(&self) -> PathBuf {
        self.0.split('/').collect()
    }

    /// Whether a pattern means it: `*` is anything, `?` one character; a pattern without `/` looks at the last part alone.
    pub(super) fn fits(&self, pattern: &str) -> bool {
        let text = if pattern.contains('/') { self.as_str() } else { self.0.rsplit('/').next().unwrap_or_default() };
        let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        let (mut at, mut seen, mut star) = (0, 0, None);
        while seen < text.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(one) if *one == '?' || *one == text[seen] => {
                    at += 1;
                    seen += 1;
                }
                _ => {
                    // The last `*` takes one character more.
                    let Some((of_star, taken)) = star else { return false };
                    star = Some((of_star, taken + 1));
                    (at, seen) = (of_star + 1, taken + 1);
                }
            }
        }
        pattern[at..].iter().all(|rest| *rest == '*')
    }
}
