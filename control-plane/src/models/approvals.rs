//! Approvals of models: by a person, for the files that are there now, for some devices, until a date.

use std::collections::BTreeSet;

use outpost_contract::{ModelId, TargetKind};
use outpost_selector::Selector;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ModelError;
use crate::db::{ModelApproval, StoredTarget};
use crate::fleet::{Fleet, FleetError};
use crate::tokens::random;

/// Longest an approval holds, seconds: five years.
const MOST_S: i64 = 5 * 365 * 24 * 60 * 60;

/// Longest note, bytes.
const NOTE_BYTES: usize = 500;

/// What is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequest {
    /// Until when, seconds since 1970-01-01 UTC.
    pub until_s: i64,
    /// For which devices; all without.
    #[serde(default, rename = "where")]
    pub selector: Option<String>,
    /// Why, or what it rests on.
    #[serde(default)]
    pub note: String,
}

/// How an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// It counts.
    Counts,
    /// Something of the model was released since, which it does not cover.
    Partly,
    /// It has ended: nothing is newly assigned by it; what runs goes on.
    Ended,
    /// It was revoked.
    Revoked,
}

impl ApprovalState {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Partly => "partly",
            Self::Ended => "ended",
            Self::Revoked => "revoked",
        }
    }
}

/// An approval, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// How it stands.
    pub state: ApprovalState,
    /// What was approved.
    #[serde(flatten)]
    pub approval: ModelApproval,
}

/// The last second of a day in UTC, as in `2027-06-30`: an approval until a day holds on that day.
#[must_use]
pub fn end_of_day_s(day: &str) -> Option<i64> {
    let next = day.trim().parse::<jiff::civil::Date>().ok()?.tomorrow().ok()?;
    Some(next.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second() - 1)
}

impl Fleet {
    /// `person` approves the variants of a model that are in the catalogue now.
    ///
    /// # Errors
    /// [`FleetError::UnknownModel`]; [`ModelError::Field`] if the date is none; as [`selector`](Self::selector).
    pub fn approve_model(
        &self,
        model: &ModelId,
        request: &ApprovalRequest,
        person: &str,
    ) -> Result<ModelApproval, FleetError> {
        let now_s = self.now_s();
        if request.until_s <= now_s || request.until_s > now_s + MOST_S {
            let why = "an approval ends within five years, and not before now".to_owned();
            return Err(ModelError::Field { field: "until_s", why }.into());
        }
        if request.note.len() > NOTE_BYTES {
            let why = format!("a note has {NOTE_BYTES} bytes at most");
            return Err(ModelError::Field { field: "note", why }.into());
        }
        let selector = match &request.selector {
            // Read for its groups, kept as it was meant: a group may change what it holds.
            Some(text) => self.selector(text).and_then(|_| Ok(text.parse::<Selector>()?))?,
            None => Selector::all(),
        };
        let variants = self.variants_of(model)?;
        let licences: BTreeSet<String> = variants.iter().filter_map(licence).collect();
        let approval = ModelApproval {
            id: hex::encode(random::<6>().map_err(FleetError::Random)?),
            model: model.to_string(),
            files: variants.iter().map(|variant| variant.sha256.to_hex()).collect(),
            licence: licences.into_iter().collect::<Vec<_>>().join(", "),
            selector: selector.to_string(),
            until_s: request.until_s,
            person: person.to_owned(),
            note: request.note.clone(),
            at_s: now_s,
            revoked_s: None,
            revoked_by: None,
        };
        self.inner.database.add_model_approval(&approval)?;
        // A fleet file may have waited for it.
        self.settle_awaited(None);
        Ok(approval)
    }

    /// One digest of what an approval of a model would cover now: a release that changes the model makes it another one.
    ///
    /// # Errors
    /// [`FleetError::UnknownModel`].
    pub(crate) fn model_digest(&self, model: &ModelId) -> Result<String, FleetError> {
        let mut files: Vec<String> = self.variants_of(model)?.iter().map(|variant| variant.sha256.to_hex()).collect();
        files.sort_unstable();
        Ok(hex::encode(Sha256::digest(files.join("\n"))))
    }

    /// As [`approve_model`](Self::approve_model), if its files are still those whose digest `person` has seen.
    ///
    /// # Errors
    /// As that; [`ModelError::Field`] if they are others.
    pub(crate) fn approve_seen_model(
        &self,
        model: &ModelId,
        request: &ApprovalRequest,
        person: &str,
        seen: &str,
    ) -> Result<ModelApproval, FleetError> {
        self.inner.database.together(|| {
            if self.model_digest(model)? != seen {
                let why = "the model was released anew since you looked; look at its variants again".to_owned();
                return Err(ModelError::Field { field: "files", why }.into());
            }
            self.approve_model(model, request, person)
        })
    }

    /// Takes an approval back: nothing is newly assigned by it; what runs goes on.
    ///
    /// # Errors
    /// [`ModelError::NoApproval`] if there is none that counts.
    pub fn revoke_model_approval(&self, id: &str, person: &str) -> Result<(), FleetError> {
        match self.inner.database.revoke_model_approval(id, person, self.now_s())? {
            true => Ok(()),
            false => Err(ModelError::NoApproval(id.chars().take(40).collect()).into()),
        }
    }

    /// Approvals of one model or of all, oldest first, with how each stands.
    ///
    /// # Errors
    /// If the database fails.
    pub fn model_approvals(&self, model: Option<&ModelId>) -> Result<Vec<ApprovalView>, FleetError> {
        let (now_s, targets) = (self.now_s(), self.inner.database.targets()?);
        let approvals = self.inner.database.model_approvals(model.map(ModelId::as_str))?;
        let view = |approval: ModelApproval| {
            let of_model = targets.iter().filter(|target| is_of(target, &approval.model));
            let covers_all = of_model.into_iter().all(|target| approval.files.contains(&target.sha256.to_hex()));
            let state = match (approval.revoked_s, approval.until_s <= now_s) {
                (Some(_), _) => ApprovalState::Revoked,
                (None, true) => ApprovalState::Ended,
                (None, false) if covers_all => ApprovalState::Counts,
                (None, false) => ApprovalState::Partly,
            };
            ApprovalView { state, approval }
        };
        Ok(approvals.into_iter().map(view).collect())
    }

    /// The variants of a model in the catalogue.
    ///
    /// # Errors
    /// [`FleetError::UnknownModel`] if there are none.
    pub(super) fn variants_of(&self, model: &ModelId) -> Result<Vec<StoredTarget>, FleetError> {
        let mut targets = self.inner.database.targets()?;
        targets.retain(|target| is_of(target, model.as_str()));
        if targets.is_empty() { Err(FleetError::UnknownModel(model.to_string())) } else { Ok(targets) }
    }
}

fn is_of(target: &StoredTarget, model: &str) -> bool {
    matches!(&target.kind, TargetKind::Variant(facts) if facts.model.model.as_str() == model)
}

fn licence(target: &StoredTarget) -> Option<String> {
    match &target.kind {
        TargetKind::Variant(facts) => Some(facts.model.licence.clone()),
        _ => None,
    }
}
