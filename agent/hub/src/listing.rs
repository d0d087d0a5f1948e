//! What a hub says of a repository at one commit: files with their digests, and the model's card.

use outpost_contract::Sha256;
use serde::{Deserialize, Serialize};

use super::HubError;
use super::reference::RepositoryPath;

/// Files of a repository that are looked at.
const MOST_FILES: usize = 20_000;

/// Files of one fetch.
const MOST_CHOSEN: usize = 256;

/// Words that are kept of a card, and the longest of them, bytes.
const MOST_WORDS: usize = 32;
const WORD_BYTES: usize = 120;

/// Names that a refusal shows.
const SHOWN: usize = 12;

/// What the card of a model says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its licence; empty if it names none.
    pub licence: String,
    /// What it was made from.
    pub base_models: Vec<String>,
    /// What it is found by.
    pub tags: Vec<String>,
}

/// A digest by which a file can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digest {
    /// Of a large file.
    Sha256(Sha256),
    /// Git's name of a small file: SHA-1 over its length and bytes.
    GitBlob([u8; 20]),
}

/// A file of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryFile {
    pub(super) path: RepositoryPath,
    pub(super) bytes: u64,
    pub(super) digest: Option<Digest>,
}

impl RepositoryFile {
    /// Its path in the repository, which stays inside of whatever directory it is kept in.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// Its length, bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its SHA-256, if the commit names that.
    #[must_use]
    pub fn sha256(&self) -> Option<Sha256> {
        match self.digest {
            Some(Digest::Sha256(digest)) => Some(digest),
            _ => None,
        }
    }
}

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<RepositoryFile>,
    pub(super) card: Card,
}

#[derive(Debug, Deserialize)]
struct Wire {
    sha: String,
    #[serde(default)]
    siblings: Vec<WireFile>,
    #[serde(default, rename = "cardData")]
    card: Option<WireCard>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct WireFile {
    rfilename: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, rename = "blobId")]
    blob: Option<String>,
    #[serde(default)]
    lfs: Option<WireLfs>,
}

#[derive(Debug, Deserialize)]
struct WireLfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

#[derive(Debug, Default, Deserialize)]
struct WireCard {
    #[serde(default)]
    license: Option<OneOrMore>,
    #[serde(default)]
    base_model: Option<OneOrMore>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
    /// A card says something else there: nothing that is understood.
    Other(serde::de::IgnoredAny),
}

impl OneOrMore {
    fn words(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::More(words) => words,
            Self::Other(_) => Vec::new(),
        }
    }
}

impl Listing {
    /// Reads what a hub answers. Files whose names could not be kept are left out, and cannot be asked for.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HubError> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| HubError::Listing(error.to_string()))?;
        let is_commit = wire.sha.len() == 40 && wire.sha.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_commit {
            return Err(HubError::Listing("it names no commit".to_owned()));
        }
        if wire.siblings.len() > MOST_FILES {
            return Err(HubError::Listing(format!("it has more than {MOST_FILES} files")));
        }
        let mut files = wire.siblings.into_iter().filter_map(WireFile::read).collect::<Result<Vec<_>, _>>()?;
        files.sort_by(|one, other| one.path.cmp(&other.path));
        if let Some(twice) = files.windows(2).find(|pair| pair[0].path == pair[1].path) {
            return Err(HubError::Listing(format!("it lists `{}` twice", twice[0].path.as_str())));
        }
        let card = wire.card.unwrap_or_default();
        let licences = card.license.map(OneOrMore::words).unwrap_or_default();
        let card = Card {
            licence: words(licences).join(" AND "),
            base_models: words(card.base_model.map(OneOrMore::words).unwrap_or_default()),
            tags: words(wire.tags),
        };
        Ok(Self { commit: wire.sha, files, card })
    }

    /// The files that patterns mean; each can be checked and is not too large.
    pub(super) fn chosen(&self, patterns: &[String], most_bytes: u64) -> Result<Vec<&RepositoryFile>, HubError> {
        let all = ["*.gguf".to_owned()];
        let patterns = if patterns.is_empty() { &all[..] } else { patterns };
        let fits = |file: &&RepositoryFile| patterns.iter().any(|pattern| file.path.fits(pattern));
        let chosen: Vec<&RepositoryFile> = self.files.iter().filter(fits).collect();
        if chosen.is_empty() {
            let wanted = patterns.iter().map(|one| format!("`{one}`")).collect::<Vec<_>>().join(" or ");
            let there: Vec<&str> = self.files.iter().take(SHOWN).map(|file| file.path.as_str()).collect();
            return Err(HubError::NothingFits { wanted, there: there.join(", ") });
        }
        if chosen.len() > MOST_CHOSEN {
            return Err(HubError::Listing(format!(
                "{} files are meant; fetch {MOST_CHOSEN} at most at once",
                chosen.len()
            )));
        }
        for file in &chosen {
            let path = file.path.as_str().to_owned();
            if file.bytes > most_bytes {
                return Err(HubError::TooLarge { path, bytes: file.bytes, most: most_bytes });
            }
            if file.digest.is_none() {
                return Err(HubError::NoDigest(path));
            }
        }
        Ok(chosen)
    }
}

impl WireFile {
    fn read(self) -> Option<Result<RepositoryFile, HubError>> {
        let path = RepositoryPath::parse(&self.rfilename)?;
        let wrong = |what: &str| HubError::Listing(format!("{what} of `{}` is none", path.as_str()));
        let digest = match (&self.lfs, &self.blob) {
            (Some(lfs), _) => match lfs.sha256.parse() {
                Ok(digest) => Some(Digest::Sha256(digest)),
                Err(_) => return Some(Err(wrong("the SHA-256"))),
            },
            (None, Some(blob)) => {
                let mut bytes = [0; 20];
                match hex::decode_to_slice(blob, &mut bytes) {
                    Ok(()) => Some(Digest::GitBlob(bytes)),
                    Err(_) => return Some(Err(wrong("the digest"))),
                }
            }
            (None, None) => None,
        };
        let bytes = self.lfs.as_ref().map(|lfs| lfs.size).or(self.size).unwrap_or(0);
        Some(Ok(RepositoryFile { path, bytes, digest }))
    }
}

/// Words of a card that can stand in a catalogue and on a terminal.
fn words(words: Vec<String>) -> Vec<String> {
    let clean = words.into_iter().map(|word| word.trim().to_owned());
    let kept = clean.filter(|word| !word.is_empty() && word.len() <= WORD_BYTES && !word.chars().any(char::is_control));
    kept.take(MOST_WORDS).collect()
}
