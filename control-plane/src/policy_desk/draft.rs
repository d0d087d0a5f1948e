//! Drafts: written, looked at, compared with what is in force, approved.

use std::collections::BTreeMap;

use outpost_contract::TargetKind;
use outpost_policies::{Bundle, BundleFiles, Checked, Diff, FileDiff, Found, Policies, TriedCase, diff};
use serde::Serialize;
use sha2::Digest as _;

use super::DeskError;
use crate::db::DraftRow;
use crate::fleet::{Fleet, FleetError};
use crate::people::{Act, Actor, Approvable, LOCAL, Means, is_same_person};

/// Most drafts that are kept.
const DRAFTS: usize = 200;

/// Longest name of a draft.
const NAME_BYTES: usize = 48;

/// Digits of a digest that are enough to mean it.
const DIGEST_DIGITS: usize = 12;

/// How far a draft is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftState {
    /// Something is wrong with it.
    Faulty,
    /// A second person has to approve it.
    Waiting,
    /// It can be released.
    Ready,
    /// It is in the catalogue, for devices that a rollout tells of it.
    Staged,
    /// The fleet enforces it.
    Released,
}

/// Who approved, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DraftApproval {
    /// Who.
    pub person: String,
    /// When, seconds since 1970.
    pub at_s: i64,
}

/// A draft in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DraftSummary {
    /// Its name.
    pub name: String,
    /// Who wrote it last.
    pub author: String,
    /// Everybody who wrote it; none of them approves it.
    pub authors: Vec<String>,
    /// When it was saved last, seconds since 1970.
    pub saved_s: i64,
    /// Counts how often it was saved.
    pub revision: i64,
    /// SHA-256 of the bundle, if its files can be read.
    pub digest: Option<String>,
    /// Version of the bundle, if its files can be read.
    pub version: Option<u64>,
    /// How far it is.
    pub state: DraftState,
    /// Who approved exactly this.
    pub approvals: Vec<DraftApproval>,
}

/// A draft with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyDraft {
    /// What lists say of it.
    #[serde(flatten)]
    pub summary: DraftSummary,
    /// Its files.
    pub files: BundleFiles,
    /// What was found in them: errors, then hints.
    pub found: Vec<Found>,
    /// How its cases came out.
    pub cases: Vec<TriedCase>,
    /// Whether a second person must approve it.
    pub two_persons: bool,
}

/// What changes from the policy in force to a draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyDiff {
    /// The version in force; none before the first.
    pub from: Option<u64>,
    /// The draft's, if its files can be read.
    pub to: Option<u64>,
    /// In plain words, what widens first; none if the draft has errors.
    pub words: Option<Vec<String>>,
    /// The same for machines.
    pub changes: Option<Diff>,
    /// Whether anybody may do more than before, or could.
    pub widens: Option<bool>,
    /// Which lines are written otherwise; comments in TOML do not count.
    pub lines: Vec<FileDiff>,
}

/// A policy of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleasedPolicy {
    /// Its name in the catalogue.
    pub target: String,
    /// The bundle's version.
    pub version: u64,
    /// Counts releases of the name.
    pub release: u64,
    /// Length, bytes.
    pub bytes: u64,
    /// SHA-256 of the document.
    pub sha256: String,
    /// Whether it is the fleet's.
    pub in_force: bool,
    /// Devices that are told of it apart from the fleet.
    pub pinned: u64,
}

/// Everything on the desk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyBoard {
    /// Whether a second person must approve.
    pub two_persons: bool,
    /// The policies of the catalogue.
    pub released: Vec<ReleasedPolicy>,
    /// The drafts, by name.
    pub drafts: Vec<DraftSummary>,
}

/// What the state of each draft depends on beside itself.
struct Standing {
    two_persons: bool,
    /// By the digest of a bundle, whether it is the fleet's.
    released: BTreeMap<String, bool>,
}

impl Fleet {
    /// Whether a policy is released only after a second person approved it: as the settings say, and by themselves if there
    /// are at least two people who are let in.
    ///
    /// # Errors
    /// If the database fails.
    pub fn two_persons(&self) -> Result<bool, FleetError> {
        if let Some(told) = self.config().two_persons {
            return Ok(told);
        }
        let people = self.inner.database.people()?;
        Ok(people.iter().filter(|person| person.disabled_s.is_none()).count() >= 2)
    }

    /// Released policies and drafts.
    ///
    /// # Errors
    /// If the database fails.
    pub fn policy_board(&self) -> Result<PolicyBoard, FleetError> {
        let (in_force, pins) = (self.policy_target()?, self.inner.database.policy_pins()?);
        let released = self.targets()?.into_iter().filter_map(|target| match target.facts {
            TargetKind::Policy(facts) => Some(ReleasedPolicy {
                in_force: target.name == in_force,
                pinned: pins.get(target.name.as_str()).copied().unwrap_or(0),
                target: target.name.to_string(),
                version: facts.version,
                release: facts.release,
                bytes: target.length,
                sha256: target.sha256.to_string(),
            }),
            _ => None,
        });
        let (released, standing) = (released.collect(), self.standing()?);
        let drafts = self.inner.database.drafts()?.into_iter().map(|row| self.summary(row, &standing));
        Ok(PolicyBoard { two_persons: standing.two_persons, released, drafts: drafts.collect::<Result<_, _>>()? })
    }

    /// Saves a draft and looks at it. `expected` is the revision that its author saw; none replaces whatever is there.
    ///
    /// # Errors
    /// If the name is none, there are too many, or somebody else saved it meanwhile.
    pub fn save_policy_draft(
        &self,
        author: &str,
        name: &str,
        files: &BundleFiles,
        expected: Option<i64>,
    ) -> Result<PolicyDraft, FleetError> {
        check_name(name)?;
        let database = &self.inner.database;
        let before = database.draft(name)?;
        if before.is_none() && database.drafts()?.len() >= DRAFTS {
            return Err(DeskError::TooMany(DRAFTS).into());
        }
        let seen = before.as_ref().map_or(0, |(row, _)| row.revision);
        if expected.is_some_and(|expected| expected != seen) {
            return Err(DeskError::Overtaken(name.to_owned()).into());
        }
        if let Some((row, _)) = before.as_ref().filter(|(_, kept)| kept == files) {
            return self.looked_at(row.clone(), files);
        }
        let base_version = self.policy_in_force()?.map_or(0, |bundle| bundle.version) + 1;
        let checked = files.check(base_version);
        let mut authors = before.as_ref().map(|(row, _)| row.authors.clone()).unwrap_or_default();
        authors.retain(|known| known != author);
        authors.push(author.to_owned());
        let row = DraftRow {
            name: name.to_owned(),
            authors,
            created_s: before.map_or_else(|| self.now_s(), |(row, _)| row.created_s),
            saved_s: self.now_s(),
            revision: seen + 1,
            base_version,
            digest: checked.bundle.as_ref().map(digest),
            version: checked.bundle.as_ref().map(|bundle| bundle.version),
            is_good: checked.policies.is_some(),
        };
        if !database.save_draft(&row, files)? {
            return Err(DeskError::Overtaken(name.to_owned()).into());
        }
        self.touch();
        self.with_findings(row, files, checked)
    }

    /// A draft, looked at.
    ///
    /// # Errors
    /// [`DeskError::Unknown`] if there is none.
    pub fn policy_draft(&self, name: &str) -> Result<PolicyDraft, FleetError> {
        let (row, files) = self.kept(name)?;
        self.looked_at(row, &files)
    }

    /// What changes from the policy in force to a draft: in words, and line by line.
    ///
    /// # Errors
    /// As [`policy_draft`](Self::policy_draft).
    pub fn policy_diff(&self, name: &str) -> Result<PolicyDiff, FleetError> {
        let (row, files) = self.kept(name)?;
        let checked = files.check(row.base_version);
        compare(self.policy_in_force()?.as_ref(), &files, &checked)
    }

    /// Forgets a draft; what was released stays.
    ///
    /// # Errors
    /// As [`policy_draft`](Self::policy_draft).
    pub fn drop_policy_draft(&self, name: &str) -> Result<(), FleetError> {
        if !self.inner.database.drop_draft(name)? {
            return Err(unknown(name));
        }
        self.touch();
        Ok(())
    }

    /// `actor` approves a draft for exactly this digest, or the first digits of it.
    ///
    /// # Errors
    /// If they may not, wrote it themselves, are a program, or it is faulty or has another digest by now.
    pub(crate) fn approve_policy(&self, actor: &Actor, name: &str, asked: &str) -> Result<PolicyDraft, FleetError> {
        if !actor.may(Act::ApprovePolicy) {
            // Refused, on record.
            let _permit = self.permit(actor, Act::ApprovePolicy, name)?;
        }
        let (row, files) = self.kept(name)?;
        if actor.means == Means::ApiToken {
            return Err(DeskError::ByToken.into());
        }
        let draft = self.looked_at(row.clone(), &files)?;
        let digest = good(&draft)?;
        let asked = asked.trim().to_ascii_lowercase();
        if asked.len() < DIGEST_DIGITS || !digest.starts_with(&asked) {
            let asked = asked.chars().take(64).collect::<String>().escape_debug().to_string();
            return Err(DeskError::OtherDigest { now: digest, asked }.into());
        }
        // Whoever wrote any of it is an author, by whatever way they came.
        let wrote = row.authors.iter().any(|author| is_same_person(author, &actor.name));
        let author = if wrote { actor.name.as_str() } else { draft.summary.author.as_str() };
        self.approve(actor, Act::ApprovePolicy, Approvable { kind: KIND, subject: name, digest: &digest, author })?;
        self.touch();
        self.looked_at(row, &files)
    }

    /// As [`approve_policy`](Self::approve_policy), by an account of this machine.
    ///
    /// # Errors
    /// As there.
    pub fn approve_policy_locally(&self, user: &str, name: &str, digest: &str) -> Result<PolicyDraft, FleetError> {
        let actor = self.actor(&local(user), &["administrator".to_owned()], Means::Local);
        self.approve_policy(&actor, name, digest)
    }

    /// Somebody who did not write a bundle of this digest has approved it.
    pub(crate) fn is_approved(&self, digest: &str) -> Result<bool, FleetError> {
        for row in self.inner.database.drafts()? {
            if row.digest.as_deref() == Some(digest) && !self.approvals_of(&row)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn kept(&self, name: &str) -> Result<(DraftRow, BundleFiles), FleetError> {
        self.inner.database.draft(name)?.ok_or_else(|| unknown(name))
    }

    pub(super) fn looked_at(&self, row: DraftRow, files: &BundleFiles) -> Result<PolicyDraft, FleetError> {
        let checked = files.check(row.base_version);
        self.with_findings(row, files, checked)
    }

    fn with_findings(&self, row: DraftRow, files: &BundleFiles, checked: Checked) -> Result<PolicyDraft, FleetError> {
        let standing = self.standing()?;
        let (Checked { found, cases, .. }, two_persons) = (checked, standing.two_persons);
        Ok(PolicyDraft { summary: self.summary(row, &standing)?, files: files.clone(), found, cases, two_persons })
    }

    pub(super) fn approvals_of(&self, row: &DraftRow) -> Result<Vec<DraftApproval>, FleetError> {
        let (Some(digest), Some(author)) = (row.digest.as_deref(), row.authors.last()) else { return Ok(Vec::new()) };
        let approvals = self.approvals(Approvable { kind: KIND, subject: &row.name, digest, author })?;
        let wrote = |person: &str| row.authors.iter().any(|author| is_same_person(author, person));
        let others = approvals.into_iter().filter(|(person, _)| !wrote(person));
        Ok(others.map(|(person, at_s)| DraftApproval { person, at_s }).collect())
    }

    fn standing(&self) -> Result<Standing, FleetError> {
        Ok(Standing { two_persons: self.two_persons()?, released: self.released_digests()? })
    }

    fn summary(&self, row: DraftRow, standing: &Standing) -> Result<DraftSummary, FleetError> {
        let approvals = self.approvals_of(&row)?;
        let state = match row.digest.as_ref().and_then(|digest| standing.released.get(digest)) {
            Some(true) => DraftState::Released,
            Some(false) => DraftState::Staged,
            None if !row.is_good => DraftState::Faulty,
            None if approvals.is_empty() && standing.two_persons => DraftState::Waiting,
            None => DraftState::Ready,
        };
        let DraftRow { name, authors, saved_s, revision, digest, version, .. } = row;
        let author = authors.last().cloned().unwrap_or_default();
        Ok(DraftSummary { name, author, authors, saved_s, revision, digest, version, state, approvals })
    }
}

/// The kind of approvals of policies.
const KIND: &str = "policy";

/// How an account of this machine is named.
pub(super) fn local(user: &str) -> String {
    format!("{LOCAL}{user}")
}

/// The digest of a draft that nothing is wrong with.
pub(super) fn good(draft: &PolicyDraft) -> Result<String, DeskError> {
    let mut errors = draft.found.iter().filter(|found| found.is_error);
    match (errors.next(), &draft.summary.digest) {
        (None, Some(digest)) => Ok(digest.clone()),
        (first, _) => Err(DeskError::Faulty {
            name: draft.summary.name.clone(),
            errors: errors.count() + 1,
            first: first.map_or_else(|| "it has no bundle".to_owned(), ToString::to_string),
        }),
    }
}

/// SHA-256 of a bundle as it would be released.
pub(super) fn digest(bundle: &Bundle) -> String {
    hex::encode(sha2::Sha256::digest(bundle.to_bytes()))
}

/// What changes from a bundle in force to files.
fn compare(in_force: Option<&Bundle>, files: &BundleFiles, checked: &Checked) -> Result<PolicyDiff, FleetError> {
    let older =
        in_force.map(|bundle| BundleFiles::of(bundle).map_err(DeskError::Bundle)).transpose()?.unwrap_or_default();
    // Comments and the order of words in TOML are no change: where the files can be read, what counts is compared.
    let newer = match &checked.bundle {
        Some(bundle) => BundleFiles::of(bundle).map_err(DeskError::Bundle)?,
        None => files.clone(),
    };
    let before = in_force.map(|bundle| Policies::activate(bundle.clone())).transpose();
    let before =
        before.map_err(|findings| DeskError::Bundle(findings.first().map_or_else(String::new, ToString::to_string)))?;
    let changes = before.as_ref().zip(checked.policies.as_ref()).map(|(before, after)| diff(before, after));
    let words = match (&changes, &checked.policies) {
        (Some(changes), _) => Some(changes.changes.iter().map(ToString::to_string).collect()),
        // Against nothing, every rule is new.
        (None, Some(policies)) => {
            Some(policies.rules().map(|rule| format!("rule `{}` added: {}", rule.id, rule.title)).collect())
        }
        (None, None) => None,
    };
    Ok(PolicyDiff {
        from: in_force.map(|bundle| bundle.version),
        to: checked.bundle.as_ref().map(|bundle| bundle.version),
        widens: changes.as_ref().map(Diff::widens),
        words,
        changes,
        lines: older.diff(&newer),
    })
}

fn check_name(name: &str) -> Result<(), DeskError> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=NAME_BYTES).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('-') {
        return Ok(());
    }
    Err(DeskError::Name(name.chars().take(80).collect::<String>().escape_debug().to_string()))
}

pub(super) fn unknown(name: &str) -> FleetError {
    DeskError::Unknown(name.chars().take(80).collect::<String>().escape_debug().to_string()).into()
}
