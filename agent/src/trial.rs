//! A build on trial: it has to answer, to have what was there before, and to stay so for a while.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use outpost_update::{Before, TIMES};

use crate::app::Agent;
use crate::backend::Readiness;
use crate::client::Client;
use crate::updates::{self, Updates};

/// How often it is looked whether everything is there; sooner where the trial is short.
const LOOK: Duration = Duration::from_secs(1);

/// How long the own API may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A build was not healthy in time.
#[derive(Debug, thiserror::Error)]
#[error("it was not healthy within {seconds} s: {missing}")]
struct Unhealthy {
    seconds: u64,
    missing: Missing,
}

/// What is not as it was; the first of these is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Missing {
    #[error("its own API does not answer")]
    Api,
    #[error("the model that served before does not serve yet")]
    Model,
    #[error("its own API says that no question would be answered")]
    Answers,
    #[error("the control plane, which was within reach before, is not")]
    Link,
}

/// Whether a build on trial ends because it lacks the control plane and nothing else.
pub(crate) fn lacked_link(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Unhealthy>().is_some_and(|unhealthy| unhealthy.missing == Missing::Link)
}

/// The trial of the running build.
#[derive(Debug)]
pub(crate) struct Trial {
    updates: Updates,
    before: Before,
    lasts: Duration,
    began: Instant,
}

impl Trial {
    /// Puts on record what this start found; gives the trial, if this build is on one.
    ///
    /// # Errors
    /// If it cannot be recorded, or the slots cannot be read.
    pub(crate) async fn begin(agent: &Agent) -> Result<Option<Self>> {
        let updates = agent.updates();
        match updates::tell(&updates.builds, &updates.audit, &updates.left_over).await {
            // Whatever is wrong with the slots, the packaged program is the agent.
            Err(error) if !updates.builds.is_from_slot() => {
                tracing::error!(error = format!("{error:#}"), "builds cannot be told of");
                return Ok(None);
            }
            told => told?,
        }
        let trial = updates.builds.trial().context("what is on trial cannot be told")?;
        if trial.is_none() {
            updates.builds.raise_format().context("the format of this state cannot be written down")?;
        }
        Ok(trial.map(|(before, lasts)| Self { updates, before, lasts, began: Instant::now() }))
    }

    /// Waits until the build has been healthy for as long as it must, and confirms it.
    ///
    /// # Errors
    /// What is missing, if it is not healthy in time, or will not be.
    pub(crate) async fn prove(&self, agent: &Agent, client: Option<&Client>) -> Result<()> {
        let look = LOOK.min(self.lasts / 10);
        let (mut healthy_since, mut without_model_since) = (None, None);
        loop {
            let missing = self.missing(client).await;
            let nothing = match &*agent.readiness().borrow() {
                Readiness::Nothing(because) if self.before.model => Some(because.clone()),
                _ => None,
            };
            match missing {
                None if healthy_since.get_or_insert_with(Instant::now).elapsed() >= self.lasts => break,
                None => {}
                Some(missing) => {
                    healthy_since = None;
                    if self.began.elapsed() >= self.lasts * TIMES {
                        return Err(Unhealthy { seconds: (self.lasts * TIMES).as_secs(), missing }.into());
                    }
                }
            }
            match nothing {
                // It may be another model's turn; not for as long as a trial lasts.
                Some(because) if without_model_since.get_or_insert_with(Instant::now).elapsed() >= self.lasts => {
                    bail!("the model that served before does not serve: {because}");
                }
                Some(_) => {}
                None => without_model_since = None,
            }
            tokio::time::sleep(look).await;
        }
        self.confirm().await
    }

    /// What is not as it was, if something is not.
    async fn missing(&self, client: Option<&Client>) -> Option<Missing> {
        let health = match client {
            Some(client) => match tokio::time::timeout(PATIENCE, client.status("/health")).await {
                Ok(Ok(health)) => Some(health),
                _ => return Some(Missing::Api),
            },
            None => None,
        };
        if self.before.model && !self.updates.has_model() {
            return Some(Missing::Model);
        }
        if self.before.model && health.is_some_and(|health| !health.is_success()) {
            return Some(Missing::Answers);
        }
        if self.before.link && !self.updates.has_link() {
            return Some(Missing::Link);
        }
        None
    }

    async fn confirm(&self) -> Result<()> {
        let builds = self.updates.builds.clone();
        let confirmed = tokio::task::spawn_blocking(move || {
            let confirmed = builds.confirm()?;
            builds.raise_format()?;
            Ok::<_, outpost_disk::DiskError>(confirmed)
        });
        if let Some(build) = confirmed.await?.context("that this build is healthy cannot be written down")? {
            tracing::info!(version = build.version, "this build is confirmed");
            self.updates.audit.append(updates::confirmed_record(&build)).await?;
            self.updates.confirmed.notify_one();
        }
        Ok(())
    }

    /// Somebody stops this build before it is confirmed: that start does not count.
    pub(crate) fn is_stopped(&self) {
        if let Err(error) = self.updates.builds.stopped() {
            tracing::error!(%error, "that this build was stopped in good order cannot be written down");
        }
    }
}
