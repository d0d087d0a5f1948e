//! The audit log leaves the box: a witness cosigns its heads and a mirror keeps its records, whenever the link is up.
//!
//! ```text
//! online ──► witness: newest head, proof from the last cosigned one ──► `cosig` record
//!        ──► mirror: packages from where it stands to the newest head ──► `cosig` record
//!        ──► again when the log has grown by enough, or for long enough
//! ```
//!
//! Nothing here is remembered but what the log itself holds: after a restart or a cut the other side is asked where it
//! stands. The two sides may remember different pasts. If it is the other side that lost its memory, that is recorded and
//! the lost part is sent again. If it is this device, its log must not go on: see [`crate::succession`].

mod standing;

use std::path::PathBuf;
use std::slice;
use std::time::Duration;

use bytes::Bytes;
use outpost_audit::cosignature::{Cosigned, CosignerKey};
use outpost_audit::mirror::{Cut, Receipt, next_package};
use outpost_audit::witness::{self, Divergence, Exchange, Next, Outcome};
use outpost_audit::{AuditLog, Kind, Record, VerifierKey};
use outpost_contract::{AuditAnswer, AuditAsk, Down, Up};
use outpost_sync::LinkHandle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::standing::{Ended, Standing};

/// The log is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// New records wait no longer than this for a cosignature.
const COSIGN_EVERY: Duration = Duration::from_secs(60);

/// So many new records do not wait.
const COSIGN_RECORDS: u64 = 1_000;

/// How long an answer may take: a package is a quarter of a megabyte, and some links are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// After a refusal, which somebody must look at.
const AFTER_REFUSAL: Duration = Duration::from_secs(300);

/// How often witness and log may correct each other about where they stand, within one exchange.
const CORRECTIONS: usize = 4;

/// Where answers are handed on to.
pub(crate) type Answers = mpsc::Sender<(Down, AuditAnswer)>;

/// Everything that the exchange works with.
pub(crate) struct Witnessing {
    pub(crate) link: LinkHandle,
    pub(crate) answers: mpsc::Receiver<(Down, AuditAnswer)>,
    pub(crate) audit: AuditLog,
    pub(crate) log_key: VerifierKey,
    pub(crate) witness: CosignerKey,
    pub(crate) mirror: CosignerKey,
    pub(crate) standing: watch::Sender<Standing>,
    pub(crate) ended: watch::Sender<Option<Ended>>,
    pub(crate) stop: CancellationToken,
    /// Counts questions.
    pub(crate) number: u64,
}

/// Why a round was not finished.
enum Broken {
    /// The link is down, or nobody answered. Goes on when the link is up.
    Offline(&'static str),
    /// The other side refuses, or what it says makes no sense, or the log cannot be read.
    Refused(String),
    /// This log must not grow any further.
    Ended(Divergence),
}

impl Witnessing {
    /// Runs until told to stop, or until the log must not go on.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        let _ = stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        if let Err(why) = self.look_back().await {
            tracing::error!(why, "what was cosigned before is unknown; the witness is asked");
        }
        let mut connectivity = self.link.connectivity();
        loop {
            // The link's task ends with the agent.
            if connectivity.wait_for(|now| now.is_online()).await.is_err() {
                return;
            }
            match self.round().await {
                Ok(()) => self.wait_for_growth().await,
                Err(Broken::Offline(why)) => {
                    tracing::debug!(why, "the audit log is not witnessed to its end");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(Broken::Refused(why)) => {
                    tracing::error!(why, "the audit log is not witnessed or mirrored");
                    self.standing.send_modify(|standing| standing.refused = Some(why));
                    tokio::time::sleep(AFTER_REFUSAL).await;
                }
                Err(Broken::Ended(why)) => return self.end(why).await,
            }
        }
    }

    /// What the log's own records say of cosignatures.
    async fn look_back(&mut self) -> Result<(), String> {
        let (directory, log) = (self.audit.directory().to_owned(), self.log_key.clone());
        let keys = [self.witness.clone(), self.mirror.clone()];
        let found = blocking(move || keys.map(|key| witness::newest(&directory, &log, &key))).await?;
        let [witnessed, mirrored] = found;
        let size = |found: Option<Cosigned>| found.map_or(0, |cosigned| cosigned.checkpoint.size);
        let (cosigned, mirrored) =
            (size(witnessed.map_err(|error| error.to_string())?), size(mirrored.map_err(|error| error.to_string())?));
        self.standing.send_modify(|standing| (standing.cosigned, standing.mirrored) = (cosigned, mirrored));
        Ok(())
    }

    async fn round(&mut self) -> Result<(), Broken> {
        self.cosign().await?;
        self.upload().await?;
        self.standing.send_modify(|standing| standing.refused = None);
        Ok(())
    }

    /// Until enough is new. What a round itself recorded is not.
    async fn wait_for_growth(&self) {
        let (quiet, begun) = (self.audit.size(), tokio::time::Instant::now());
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let new = self.audit.size() - quiet;
            if new >= COSIGN_RECORDS || (new > 0 && begun.elapsed() >= COSIGN_EVERY) {
                return;
            }
        }
    }

    /// Has the newest head cosigned.
    async fn cosign(&mut self) -> Result<(), Broken> {
        let mut cosigned = self.standing.borrow().cosigned;
        let mut old = cosigned;
        for _ in 0..CORRECTIONS {
            let (log, key, witness) = (self.audit.clone(), self.log_key.clone(), self.witness.clone());
            let exchange = blocking(move || Exchange::begin(&log, &key, &witness, cosigned, old)).await;
            let exchange = exchange.map_err(Broken::Refused)?.map_err(|error| Broken::Refused(error.to_string()))?;
            let answer = self.ask(Up::AuditCheckpoint, exchange.body().into()).await?;
            let outcome = Outcome::parse(answer.status, &answer.body);
            let outcome = outcome.map_err(|error| Broken::Refused(error.to_string()))?;
            match exchange.understand(&outcome, self.audit.size()) {
                Next::Record(head) => {
                    self.note(&head).await?;
                    self.standing.send_modify(|standing| standing.cosigned = head.checkpoint.size);
                    return Ok(());
                }
                Next::Retry { old: remembered } => old = remembered,
                Next::Diverged(Divergence::WitnessRolledBack { witness, cosigned: known, remembers }) => {
                    self.lost_memory(&witness, "witness_rollback", known, remembers).await?;
                    (cosigned, old) = (remembers, remembers);
                }
                Next::Diverged(why) => return Err(Broken::Ended(why)),
                Next::Refused(why) => return Err(Broken::Refused(why)),
            }
        }
        Err(Broken::Refused("the witness changes its mind about what it cosigned last".to_owned()))
    }

    /// Sends what the mirror does not have.
    async fn upload(&mut self) -> Result<(), Broken> {
        let known = self.standing.borrow().mirrored;
        let (mut next, mut corrected, mut last) = (known, 0, None);
        let goal = self.audit.size();
        while next < goal {
            let directory: PathBuf = self.audit.directory().to_owned();
            let cut = blocking(move || next_package(&directory, next)).await.map_err(Broken::Refused)?;
            let Some(Cut { package, bytes }) = cut.map_err(|error| Broken::Refused(error.to_string()))? else { break };
            let answer = self.ask(Up::AuditEntries, bytes.into()).await?;
            let receipt = Receipt::parse(answer.status, &answer.body);
            match receipt.map_err(|error| Broken::Refused(error.to_string()))? {
                Receipt::Kept { next: then, lines } => {
                    let note = package.head.ok_or_else(|| Broken::Refused("the mirror cosigned no head".to_owned()))?;
                    let (logs, mirrors) = (slice::from_ref(&self.log_key), slice::from_ref(&self.mirror));
                    let cosigned = Cosigned::join(&note, &lines, logs, mirrors);
                    let cosigned = cosigned.map_err(|error| Broken::Refused(error.to_string()))?;
                    if cosigned.cosignatures.is_empty() || cosigned.checkpoint.size != then {
                        return Err(Broken::Refused("the mirror did not cosign what it says it keeps".to_owned()));
                    }
                    next = then;
                    self.standing.send_modify(|standing| standing.mirrored = then);
                    last = Some(cosigned);
                }
                Receipt::Waiting { next: then } => next = then,
                Receipt::Elsewhere { next: theirs } => {
                    corrected += 1;
                    if theirs > self.audit.size() {
                        let (mirror, size) = (self.mirror.name().to_owned(), self.audit.size());
                        return Err(Broken::Ended(Divergence::DeviceRolledBack {
                            witness: mirror,
                            cosigned: theirs,
                            size,
                        }));
                    }
                    if corrected > CORRECTIONS {
                        return Err(Broken::Refused("the mirror changes its mind about what it keeps".to_owned()));
                    }
                    if theirs < known && corrected == 1 {
                        let name = self.mirror.name().to_owned();
                        self.lost_memory(&name, "mirror_rollback", known, theirs).await?;
                        // Nothing leaves this device on the word of a mirror that lost it.
                        self.standing.send_modify(|standing| standing.mirrored = theirs);
                    }
                    next = theirs;
                }
                Receipt::Refused { cause, .. } => return Err(Broken::Refused(format!("the mirror refuses: {cause}"))),
            }
        }
        match last {
            // The last head vouches for everything before it.
            Some(cosigned) => self.note(&cosigned).await,
            None => Ok(()),
        }
    }

    /// Asks, and waits for the answer to this very question.
    async fn ask(&mut self, up: Up, body: Bytes) -> Result<AuditAnswer, Broken> {
        self.number += 1;
        let number = self.number;
        let mut connectivity = self.link.connectivity();
        self.link.ask(up, &AuditAsk { number, body });
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                answer = self.answers.recv() => match answer {
                    Some((_, answer)) if answer.number == number => return Ok(answer),
                    // To an earlier question.
                    Some(_) => {}
                    None => return Err(Broken::Offline("the fleet's loop ended")),
                },
                _ = connectivity.wait_for(|now| !now.is_online()) => return Err(Broken::Offline("the link went down")),
                () = &mut patience => return Err(Broken::Offline("no answer came")),
            }
        }
    }

    /// Keeps what was cosigned, in the log itself.
    async fn note(&self, cosigned: &Cosigned) -> Result<(), Broken> {
        let appended = self.audit.append_cosigned(cosigned).map_err(|error| Broken::Refused(error.to_string()))?;
        appended.await.map(|_| ()).map_err(|error| Broken::Refused(error.to_string()))
    }

    /// The other side remembers less than it signed for: somebody restored an old backup of it.
    async fn lost_memory(&self, whose: &str, reason: &str, signed: u64, remembers: u64) -> Result<(), Broken> {
        tracing::error!(whose, signed, remembers, "an old backup is in use there; what is missing is sent again");
        let record = Record::new(Kind::SyncDivergence)
            .detail("reason", reason)
            .detail("with", whose)
            .detail("signed", signed)
            .detail("remembers", remembers);
        self.audit.append(record).await.map(|_| ()).map_err(|error| Broken::Refused(error.to_string()))
    }

    async fn end(&self, why: Divergence) {
        tracing::error!(reason = why.name(), "{why}: the audit log must not go on");
        let (directory, log) = (self.audit.directory().to_owned(), self.log_key.clone());
        let keys = [self.witness.clone(), self.mirror.clone()];
        let last = blocking(move || keys.map(|key| witness::newest(&directory, &log, &key).ok().flatten())).await;
        let last = last.ok().and_then(|found| found.into_iter().flatten().max_by_key(|found| found.checkpoint.size));
        let ended = Ended { origin: self.log_key.name().to_owned(), why, last: last.map(|last| last.note) };
        self.ended.send_replace(Some(ended));
    }
}

async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(act).await.map_err(|error| error.to_string())
}
