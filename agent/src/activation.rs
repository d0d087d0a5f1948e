//! From the model that serves to the one that is to: beside it where both fit, after it where not, and back by itself.
//!
//! ```text
//! step          in memory       ledger  new requests   a crash here: the next start loads
//! Loading       old, new comes  old     old answers    old
//! Testing       old, new        old     old answers    old
//! Draining      old             old     wait, or 503   old
//! Unloaded      none            old     wait, or 503   old
//! LoadingAlone  new comes       old     wait, or 503   old
//! TestingAlone  new             old     wait, or 503   old
//! Committing    new (and old)   ?       as before      old before the ledger's rename, new after it
//! Serving       new             new     new answers    new
//! RollingBack   old comes       old     wait, or 503   old
//! ```
//!
//! The only thing on disk that changes is the ledger, in one rename, after the new model passed its self-test; both files are
//! in the store all along. So a crash anywhere ends in the old or the new. Without a crash a failure does, too: beside, the
//! old one never stopped; alone, it is loaded again.

mod exchange;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use outpost_contract::Reason;

pub(crate) use exchange::{Exchange, LETTING_GO, LOOK_EVERY, Wanted, let_go, recorded};

/// Where an activation stands; see the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Loading,
    Testing,
    Draining,
    Unloaded,
    LoadingAlone,
    TestingAlone,
    Committing,
    Serving,
    RollingBack,
}

/// How the new model comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// While whatever serves goes on, which may be nothing.
    Beside,
    /// After the running one has left.
    Alone,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Old,
    New,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The new one serves.
    New,
    /// It does not; what served before does still, or again.
    Old(Reason),
    /// It does not, and what served before could not be loaded again.
    Neither {
        /// Why the new one does not serve.
        failed: Reason,
        /// Why the old one does not.
        lost: Reason,
    },
}

/// What an activation does, so that every order of failures and crashes can be tried without a model.
#[async_trait]
pub(crate) trait Stage: Send + Sync {
    type Model: Send;

    /// A step begins.
    async fn at(&self, step: Step);

    /// Brings one into memory.
    async fn load(&self, which: Which) -> Result<Self::Model, Reason>;

    /// Asks it what it must know.
    async fn test(&self, which: Which, model: &mut Self::Model) -> Result<(), Reason>;

    /// Takes the old one out of service and memory, once its answers are given or their time is over.
    async fn drain(&self) -> Result<(), Reason>;

    /// Makes the new one what the next start loads.
    async fn commit(&self, model: &Self::Model) -> Result<(), Reason>;

    /// Lets it answer from now on.
    async fn serve(&self, which: Which, model: Self::Model);

    /// Takes one that will not serve out of memory.
    async fn discard(&self, model: Self::Model);
}

/// Puts the new model in the old one's place.
pub(crate) async fn activate<S: Stage>(stage: &S, way: Way) -> Ended {
    match way {
        Way::Beside => {
            let entered = enter(stage, Step::Loading, Step::Testing).await;
            entered.map_or_else(Ended::Old, |()| Ended::New)
        }
        Way::Alone => {
            stage.at(Step::Draining).await;
            if let Err(reason) = stage.drain().await {
                return Ended::Old(reason);
            }
            stage.at(Step::Unloaded).await;
            let Err(failed) = enter(stage, Step::LoadingAlone, Step::TestingAlone).await else { return Ended::New };
            stage.at(Step::RollingBack).await;
            match restore(stage).await {
                Ok(()) => Ended::Old(failed),
                Err(lost) => Ended::Neither { failed, lost },
            }
        }
    }
}

/// Loads what served before and lets it serve again.
pub(crate) async fn restore<S: Stage>(stage: &S) -> Result<(), Reason> {
    let model = ready(stage, Which::Old, Step::RollingBack).await?;
    stage.serve(Which::Old, model).await;
    Ok(())
}

async fn enter<S: Stage>(stage: &S, loading: Step, testing: Step) -> Result<(), Reason> {
    stage.at(loading).await;
    let model = ready(stage, Which::New, testing).await?;
    stage.at(Step::Committing).await;
    if let Err(reason) = stage.commit(&model).await {
        stage.discard(model).await;
        return Err(reason);
    }
    stage.at(Step::Serving).await;
    stage.serve(Which::New, model).await;
    Ok(())
}

async fn ready<S: Stage>(stage: &S, which: Which, testing: Step) -> Result<S::Model, Reason> {
    let mut model = stage.load(which).await?;
    stage.at(testing).await;
    match stage.test(which, &mut model).await {
        Ok(()) => Ok(model),
        Err(reason) => {
            stage.discard(model).await;
            Err(reason)
        }
    }
}
