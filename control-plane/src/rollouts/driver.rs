//! The driver: lets the rollouts hear what happened, on the one server that holds the lease.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::ledger::{Known, Ledger};
use crate::db::{Database, Lease};
use crate::fleet::{Fleet, FleetError};
use crate::tokens::random;

/// How long another server waits for a leader that died, seconds.
pub(super) const LEASE_S: i64 = 10;

/// How often time passes for rollouts.
const TICK: Duration = Duration::from_secs(2);

/// Reports that come together are heard together.
const GATHER: Duration = Duration::from_millis(200);

/// How often selectors are asked again though no device enrolled, seconds: labels and reports change as well.
const LOOK_FOR_JOINERS_S: i64 = 30;

/// Drives the rollouts of one server.
pub(crate) struct Driver {
    fleet: Fleet,
    /// What the leader of several servers holds.
    lease: Lease,
    known: Known,
    /// When selectors were asked last, and how many devices were let in then.
    looked: Option<(i64, u64)>,
}

/// What a look at the database led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is nothing to do.
    Idle,
    /// Another server leads.
    Follows,
    /// All was heard.
    Done,
    /// There is more to be heard at once.
    More,
}

impl Driver {
    /// A driver that has not looked yet.
    pub(crate) fn new(fleet: Fleet) -> Result<Self, FleetError> {
        let holder = hex::encode(random::<16>().map_err(FleetError::Random)?);
        let lease = Lease { name: "rollouts", holder, seconds: LEASE_S };
        Ok(Self { fleet, lease, known: Known::default(), looked: None })
    }

    /// What it holds while it leads.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Lets another server lead at once.
    pub(crate) fn release(database: &Database, lease: &Lease) -> Result<(), FleetError> {
        Ok(database.let_go(lease)?)
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut news = self.fleet.inner.news.subscribe();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                Ok(()) = news.changed() => sleep(GATHER).await,
            }
            loop {
                let fleet = self.fleet.clone();
                let turn;
                (self, turn) = fleet
                    .run(move |_| {
                        let turn = self.turn();
                        (self, turn)
                    })
                    .await;
                match turn {
                    Ok(Turn::More) => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::error!(%error, "the rollouts cannot be driven; it is tried again");
                        break;
                    }
                }
            }
        }
    }

    /// One look, one transaction. If it fails, nothing of it was done, and what was known is read again.
    pub(super) fn turn(&mut self) -> Result<Turn, FleetError> {
        let database = &self.fleet.inner.database;
        let known = std::mem::take(&mut self.known);
        if database.active_rollouts()?.is_empty() {
            return Ok(Turn::Idle);
        }
        let now_s = self.fleet.now_s();
        let admitted = database.admitted_count()?;
        let looks = self
            .looked
            .is_none_or(|(at_s, count)| count != admitted || now_s - at_s >= LOOK_FOR_JOINERS_S || now_s < at_s);
        let led = database.together(|| {
            if database.keep_lease(&self.lease, now_s)?.is_none() {
                return Ok::<_, FleetError>(None);
            }
            let mut ledger = Ledger::open(&self.fleet, known)?;
            ledger.hear_departures()?;
            let is_more = ledger.hear_reports()?;
            if looks {
                ledger.hear_joiners()?;
            }
            ledger.tick()?;
            let (known, changed) = ledger.close()?;
            Ok(Some((known, changed, is_more)))
        })?;
        let Some((known, changed, is_more)) = led else { return Ok(Turn::Follows) };
        self.known = known;
        if looks {
            self.looked = Some((now_s, admitted));
        }
        changed.tell(&self.fleet);
        Ok(if is_more || changed.is_behind { Turn::More } else { Turn::Done })
    }
}
