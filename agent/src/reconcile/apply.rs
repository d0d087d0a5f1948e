//! What was agreed, put in force: withdrawals, who may issue tokens, rules, the program, then the model, each with its reason if
//! it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use outpost_contract::{Desired, DesiredModel, Manifest, ModelFacts, Reason, ReasonCode};
use outpost_planner::Plan;
use outpost_serve::{GovernanceError, TokenIssuer};
use outpost_store::Source;
use outpost_trust::Agreed;

use super::build::Build;
use super::{Moment, Reconciler, Standing, reason};
use crate::install::{Installed, Offer};
use crate::standalone::serve_again;

impl Reconciler {
    pub(super) async fn apply_agreed(
        &self,
        desired: &Desired,
        agreed: &Agreed,
        source: &dyn Source,
        moment: Moment,
    ) -> Standing {
        let mut standing = Standing { desired_version: desired.version, ..Standing::default() };
        // First of all: it holds whatever else of the document cannot be put in force.
        self.installer.withdrawn.say(&desired.withdrawn);
        let stopped = self.stop_withdrawn().await;
        let issuers: Vec<_> = agreed.authority.token_issuers.iter().map(issuer).collect();
        if let Err(error) = self.identities.set_issuers(&issuers) {
            standing.reasons.push(reason(ReasonCode::NotInCatalogue, "token issuers", error.to_string()));
        }
        if let Err(withheld) = self.rule(agreed, moment, &mut standing.reasons).await {
            return self.withhold(standing, withheld).await;
        }
        let mut is_on_trial = false;
        match self.build(desired.version, agreed, source, moment).await {
            Ok(Build::InForce) => {}
            Ok(Build::OnTrial) => is_on_trial = true,
            // What else is wanted is for the program that comes.
            Ok(Build::StartsAgain) => return standing,
            Err(reason) => standing.reasons.push(reason),
        }
        let mut passed_over = Vec::new();
        match &desired.model {
            None => self.installer.unload().await,
            Some(model) => {
                let offers = match self.offers(agreed) {
                    Ok(offers) => offers,
                    Err(withdrawn) => return self.withhold(standing, withdrawn).await,
                };
                match self.install(desired.version, model, &offers, source, moment).await {
                    Ok(installed) => {
                        standing.plan = lines(&installed.plan);
                        standing.plan.extend(installed.entrance.map(|entrance| format!("came in {entrance}")));
                        passed_over = installed.passed_over;
                    }
                    Err((plan, reasons)) => {
                        standing.reasons.extend(stopped);
                        standing.plan = plan.as_ref().map(lines).unwrap_or_default();
                        standing.reasons.extend(reasons);
                        if moment == Moment::Start {
                            self.bring_back().await;
                        }
                    }
                }
            }
        }
        let is_applied = standing.reasons.is_empty();
        // Told although another allowed variant serves in their place: somebody released what does not work here.
        standing.reasons.extend(passed_over);
        if is_applied && !is_on_trial {
            standing.applied_version = desired.version;
        }
        standing
    }

    /// Nothing may serve, and that is where it ends.
    async fn withhold(&self, mut standing: Standing, reason: Reason) -> Standing {
        self.installer.withhold(&reason).await;
        standing.reasons.push(reason);
        standing
    }

    /// Puts the rules in force; what is wrong with them is added to `reasons`.
    ///
    /// # Errors
    /// Why nothing may serve.
    async fn rule(&self, agreed: &Agreed, moment: Moment, reasons: &mut Vec<Reason>) -> Result<(), Reason> {
        let rules = self.keepers.policy.version();
        if let Some(policy) = &agreed.policy
            && let Err(reason) = self.enforce(&policy.bytes).await
        {
            // The bundle that was in force stays. Where there is only the built-in one, which nobody assigned, nothing is
            // served rather than served under other rules.
            if moment == Moment::Start && !self.keepers.policy.has_one() {
                return Err(reason);
            }
            reasons.push(reason);
        }
        if let Some(reason) = self.membership.stopped() {
            return Err(reason);
        }
        if self.keepers.policy.version() != rules {
            self.ruled.notify_one();
        }
        Ok(())
    }

    /// The variants that may be chosen from.
    ///
    /// # Errors
    /// If there are some, and all of them are withdrawn: why.
    fn offers(&self, agreed: &Agreed) -> Result<Vec<Offer>, Reason> {
        let withdrawn = &self.installer.withdrawn;
        let is_due = |facts: &ModelFacts, file: &Manifest| withdrawn.due(&facts.model, &file.sha256);
        let due = agreed.variants.iter().find(|(_, facts, file)| is_due(&facts.model, file).is_some());
        let offers: Vec<_> = agreed
            .variants
            .iter()
            .filter(|(_, facts, file)| is_due(&facts.model, file).is_none())
            .map(|(pin, facts, manifest)| Offer {
                target: pin.name.clone(),
                facts: facts.clone(),
                manifest: manifest.clone(),
            })
            .collect();
        if let (true, Some((_, facts, file))) = (offers.is_empty(), due)
            && let Some(reason) = is_due(&facts.model, file)
        {
            withdrawn.stop(&facts.model.model, &file.sha256);
            return Err(reason);
        }
        Ok(offers)
    }

    /// Makes the best of the offers serve.
    ///
    /// # Errors
    /// As [`Installer::install`](crate::install::Installer::install).
    async fn install(
        &self,
        version: u64,
        model: &DesiredModel,
        offers: &[Offer],
        source: &dyn Source,
        moment: Moment,
    ) -> Result<Installed, (Option<Plan>, Vec<Reason>)> {
        self.installer.housekeeper.want(offers.iter().map(|offer| offer.manifest.blake3));
        self.installer.offer(offers, model.minimum_context_tokens);
        if let Err(error) = self.installer.attempts.for_version(version) {
            tracing::warn!(%error, "what failed before is not forgotten on disk");
        }
        let measurements = self.measured.get().await;
        let minimum = model.minimum_context_tokens;
        // Without a network, what served before is worth more than what would be better but is not here.
        let last = match moment {
            Moment::Start => self.last_card.as_ref().and_then(|card| card.blake3),
            Moment::Service if self.settled.load(Ordering::Relaxed) == version => {
                self.installer.active.current().and_then(|loaded| loaded.card.blake3)
            }
            Moment::Service => None,
        };
        let kept: Vec<_> = offers.iter().filter(|offer| Some(offer.manifest.blake3) == last).cloned().collect();
        let mut installed = None;
        if !kept.is_empty() {
            installed = self.installer.install(&model.model, &kept, minimum, &measurements, source).await.ok();
        }
        let installed = match installed {
            Some(installed) => installed,
            None => self.installer.install(&model.model, offers, minimum, &measurements, source).await?,
        };
        self.installer.withdrawn.serves();
        if moment == Moment::Service {
            // At a start the best may have been out of reach: it still has its turn.
            self.settled.store(version, Ordering::Relaxed);
        }
        Ok(installed)
    }

    /// At a start what is wanted cannot serve yet: what served before does, as it did while the device was running.
    async fn bring_back(&self) {
        let Some(card) = self.last_card.clone().filter(|_| self.installer.active.current().is_none()) else { return };
        if self.installer.withdrawn.due(&card.model, &card.sha256).is_some() {
            return;
        }
        if let Err(error) = serve_again(&self.installer, card).await {
            tracing::warn!(error = format!("{error:#}"), "what served before cannot be brought back");
        }
    }

    /// Puts a policy bundle in force, or keeps the old one and says why.
    async fn enforce(&self, document: &[u8]) -> Result<(), Reason> {
        let (keeper, signers) = (Arc::clone(&self.keepers.policy), self.keepers.signers.now());
        let document = document.to_vec();
        let taking = tokio::task::spawn_blocking(move || keeper.take_assigned(&document, &signers));
        let taken = taking.await.unwrap_or_else(|error| Err(GovernanceError::Failed(error.to_string())));
        taken.map_err(|refusal| {
            let code = match refusal {
                GovernanceError::NotApproved(_) => ReasonCode::BadSignature,
                GovernanceError::Invalid(_) | GovernanceError::Conflict(_) => ReasonCode::PolicyInvalid,
                GovernanceError::Failed(_) => ReasonCode::Unavailable,
            };
            reason(code, "policy", refusal.to_string())
        })
    }
}

fn issuer(listed: &outpost_contract::TokenIssuer) -> TokenIssuer {
    TokenIssuer {
        issuer: listed.issuer.clone(),
        audience: listed.audience.clone(),
        key_id: listed.key_id.clone(),
        public_key: listed.public_key.clone(),
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.verdicts.iter().map(|verdict| format!("{}: {}", verdict.target, verdict.because)).collect()
}
