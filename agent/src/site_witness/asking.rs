//! While the control plane is away, neighbours are asked to vouch for the newest head.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outpost_audit::cosignature::{Cosigned, CosignerKey};
use outpost_audit::witness::{self, Exchange, Next, Outcome};
use outpost_audit::{AuditLog, Kind, Record, VerifierKey};
use outpost_contract::EventKind;
use outpost_sync::LinkHandle;
use tokio_util::sync::CancellationToken;

use crate::neighbours::Neighbours;

/// How often it is looked whether somebody is to be asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// New records wait no longer than this, while the control plane is away.
const ASK_EVERY: Duration = Duration::from_secs(300);

/// Neighbours that vouch for one head: one more than one, so that no single box has to be believed.
const ENOUGH: usize = 2;

/// How often a neighbour may correct where it stands, within one exchange.
const CORRECTIONS: usize = 3;

/// Asks neighbours.
pub(crate) struct Asking {
    pub(crate) link: LinkHandle,
    pub(crate) neighbours: Arc<Neighbours>,
    pub(crate) audit: AuditLog,
    pub(crate) log_key: VerifierKey,
    /// How long the control plane has to be away first.
    pub(crate) after: Duration,
    pub(crate) stop: CancellationToken,
}

/// What is known of a neighbour in this run.
#[derive(Debug, Default, Clone, Copy)]
struct Known {
    /// Records that it vouched for last.
    cosigned: u64,
    /// That the two do not agree is on record already.
    disagrees: bool,
}

impl Asking {
    /// Runs until told to stop.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        let _ = stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(self) {
        let (mut known, mut asked) = (HashMap::new(), None::<(tokio::time::Instant, u64)>);
        let mut away_since = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.link.connectivity().borrow().is_online() {
                (away_since, asked) = (tokio::time::Instant::now(), None);
                continue;
            }
            let is_due = asked.is_none_or(|(when, size)| when.elapsed() >= ASK_EVERY && self.audit.size() > size);
            if away_since.elapsed() < self.after || !is_due {
                continue;
            }
            let mut vouched = 0;
            for address in self.neighbours.addresses() {
                match self.ask(address, known.entry(address).or_default()).await {
                    Ok(()) => vouched += 1,
                    Err(why) => tracing::info!(%address, why, "a neighbour does not vouch for the audit log"),
                }
                if vouched == ENOUGH {
                    break;
                }
            }
            // What was recorded of it needs no vouching of its own.
            asked = Some((tokio::time::Instant::now(), self.audit.size()));
        }
    }

    async fn ask(&self, address: SocketAddr, known: &mut Known) -> Result<(), String> {
        let neighbour = self.neighbours.witness(address).map_err(|error| error.to_string())?;
        let key: CosignerKey = neighbour.key().await?.parse().map_err(|error| format!("its key is none: {error}"))?;
        let mut old = known.cosigned;
        for _ in 0..CORRECTIONS {
            let (log, log_key, witness, cosigned) =
                (self.audit.clone(), self.log_key.clone(), key.clone(), known.cosigned);
            let exchange =
                tokio::task::spawn_blocking(move || Exchange::begin(&log, &log_key, &witness, cosigned, old)).await;
            let exchange = exchange.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            let (status, body) = neighbour.add_checkpoint(&self.log_key.to_string(), exchange.body()).await?;
            let outcome = Outcome::parse(status, &body).map_err(|error| error.to_string())?;
            match exchange.understand(&outcome, self.audit.size()) {
                Next::Record(head) => {
                    self.note(&head).await?;
                    *known = Known { cosigned: head.checkpoint.size, disagrees: false };
                    return Ok(());
                }
                Next::Retry { old: remembered } => old = remembered,
                Next::Diverged(why) => {
                    if !known.disagrees {
                        self.disagreement(key.name(), &why).await?;
                    }
                    known.disagrees = true;
                    return Err(why.to_string());
                }
                Next::Refused(why) => return Err(why),
            }
        }
        Err("it changes its mind about what it cosigned last".to_owned())
    }

    /// Keeps what was cosigned. The clock's floor is not raised by it: a neighbour's clock is no better than ours.
    async fn note(&self, cosigned: &Cosigned) -> Result<(), String> {
        let record = witness::record(cosigned).map_err(|error| error.to_string())?;
        self.audit.append(record).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// One neighbour's word ends no log; it is there for whoever judges.
    async fn disagreement(&self, with: &str, why: &witness::Divergence) -> Result<(), String> {
        tracing::error!(with, %why, "a neighbour remembers another past of this audit log");
        let record = Record::new(Kind::SyncDivergence)
            .detail("reason", format!("neighbour_{}", why.name()))
            .detail("with", with)
            .detail("what", why.to_string());
        self.audit.append(record).await.map(|_| ()).map_err(|error| error.to_string())?;
        let text = format!("`{with}` remembers another past of this device's audit log: {why}");
        self.link.events().say(EventKind::NeighbourDisagrees, &text).map_err(|error| error.to_string())
    }
}
