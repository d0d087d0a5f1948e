//! The kill switch: a model or a variant that no device serves after a deadline, once it has heard of it.
//!
//! ```text
//! withdraw ─► record ─► no new assignment ─► every assigned device is told, signed: the next variant, and until when
//!             the device stops at the deadline by its own clock, reachable or not; one that never heard goes on
//! ```

use outpost_contract::{ModelId, TargetName};
use serde::{Deserialize, Serialize};

use super::ModelError;
use super::gate::MOST_STATED;
use crate::db::StoredWithdrawal;
use crate::fleet::{Fleet, FleetError};

/// Longest time until the deadline, seconds: 90 days.
pub(crate) const MOST_DEADLINE_S: i64 = 90 * 24 * 60 * 60;

/// Longest reason, bytes: every desired state carries it.
const REASON_BYTES: usize = 200;

/// Files that all withdrawals together may name: every desired state carries them, and it is a small document.
const MOST_FILES: usize = 128;

/// What is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WithdrawalRequest {
    /// Why; devices and their callers read it.
    pub reason: String,
    /// After how many seconds devices stop; at once without.
    #[serde(default)]
    pub deadline_s: i64,
    /// Only this variant; all of the model without.
    #[serde(default)]
    pub target: Option<TargetName>,
}

impl Fleet {
    /// Withdraws a model or one of its variants: no new assignment from now on, and a signed deadline for every device that
    /// has an assignment.
    ///
    /// # Errors
    /// [`FleetError::UnknownModel`]; [`ModelError::Field`] if reason or deadline are none.
    pub fn withdraw_model(
        &self,
        model: &ModelId,
        request: &WithdrawalRequest,
        person: &str,
    ) -> Result<StoredWithdrawal, FleetError> {
        let wrong = |field, why: String| Err(FleetError::from(ModelError::Field { field, why }));
        let reason = request.reason.trim();
        if reason.is_empty() || reason.len() > REASON_BYTES || reason.chars().any(char::is_control) {
            return wrong("reason", format!("a withdrawal needs a reason, one line of {REASON_BYTES} bytes at most"));
        }
        if !(0..=MOST_DEADLINE_S).contains(&request.deadline_s) {
            return wrong("deadline_s", "the deadline of a withdrawal is now or within 90 days".to_owned());
        }
        let mut variants = self.variants_of(model)?;
        if let Some(target) = &request.target {
            variants.retain(|variant| variant.name == *target);
            if variants.is_empty() {
                let why = format!("`{target}` is no variant of `{model}`; `outpost-control catalogue ls` lists them");
                return wrong("target", why);
            }
        }
        let files: Vec<String> = variants.iter().filter_map(|one| Some(one.model_file()?.to_hex())).collect();
        if files.is_empty() {
            return wrong("target", format!("the catalogue does not say which file `{model}` is; release it again"));
        }
        let now_s = self.now_s();
        let withdrawal = StoredWithdrawal {
            model: model.to_string(),
            target: request.target.as_ref().map(ToString::to_string).unwrap_or_default(),
            files,
            after_s: now_s + request.deadline_s,
            reason: reason.to_owned(),
            person: person.to_owned(),
            at_s: now_s,
        };
        let mut others = self.inner.database.withdrawals()?;
        others.retain(|one| (&one.model, &one.target) != (&withdrawal.model, &withdrawal.target));
        let named: usize = others.iter().map(|one| one.files.len()).sum();
        if others.len() >= MOST_STATED || named + withdrawal.files.len() > MOST_FILES {
            let why = format!("{MOST_STATED} withdrawals of {MOST_FILES} files can be in force at once");
            let why = format!("{why}; take back what no device has any more, with `outpost-control model restore`");
            return wrong("target", why);
        }
        let database = &self.inner.database;
        database.together(|| {
            database.keep_withdrawal(&withdrawal)?;
            self.owe_everybody()
        })?;
        self.sign_all()?;
        self.touch();
        Ok(withdrawal)
    }

    /// Takes every withdrawal of a model back, and tells the devices.
    ///
    /// # Errors
    /// [`ModelError::NotWithdrawn`].
    pub fn restore_model(&self, model: &ModelId) -> Result<(), FleetError> {
        let database = &self.inner.database;
        database.together(|| {
            if !database.forget_withdrawals(model.as_str())? {
                return Err(FleetError::from(ModelError::NotWithdrawn(model.to_string())));
            }
            self.owe_everybody()
        })?;
        self.sign_all()?;
        self.settle_awaited(None);
        self.touch();
        Ok(())
    }

    /// What is withdrawn, by model.
    ///
    /// # Errors
    /// If the database fails.
    pub fn withdrawals(&self) -> Result<Vec<StoredWithdrawal>, FleetError> {
        Ok(self.inner.database.withdrawals()?)
    }
}
