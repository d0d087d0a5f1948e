//! The device in its fleet: one loop that hears the link, reconciles, and reports; nothing local waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use outpost_audit::{AuditLog, Kind, Record};
use outpost_contract::{BootId, EventKind, Reported};
use outpost_disk::Clock;
use outpost_sync::{BackOff, Class, LinkEvent, LinkHandle, Waits};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chunks::Origins;
use crate::commands::{self, Commander};
use crate::noticing::Noticing;
use crate::progress::{Announcer, Progress};
use crate::reconcile::{Reconciler, Standing};
use crate::report::Reporter;
use crate::site_witness::Asking;
use crate::stick::HandedIn;
use crate::witnessing::{Answers, Witnessing};

/// A report without news goes out this often.
const REPORT_EVERY: Duration = Duration::from_secs(15 * 60);

/// While a model is fetched, how far it is goes out this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);

/// What changed is noticed after this at the latest.
const NOTICE_EVERY: Duration = Duration::from_secs(15);

/// What could not be fetched is tried again after at most so long, each time longer, and no two devices of a fleet at the same moment.
const TRY_AGAIN: BackOff = BackOff { base: Duration::from_secs(5), cap: Duration::from_secs(60) };

/// What the policy puts off is looked at again after this; each look may be a report.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);

/// Everything that the fleet's loop works with.
pub(crate) struct Fleet {
    pub(crate) boot: BootId,
    pub(crate) link: LinkHandle,
    pub(crate) events: mpsc::Receiver<LinkEvent>,
    pub(crate) chunks: Origins,
    pub(crate) reconciler: Arc<Reconciler>,
    pub(crate) reporter: Reporter,
    pub(crate) noticing: Noticing,
    /// Somebody wants what changed reported at once.
    pub(crate) news: Arc<Notify>,
    /// Does what the control plane asks for; none once it runs.
    pub(crate) commander: Option<Commander>,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    pub(crate) announcer: Announcer,
    /// Has the audit log vouched for, and hears what is answered to that; none if nobody vouches.
    pub(crate) witnessing: Option<(Witnessing, Answers)>,
    /// Has neighbours vouch for it while the control plane is away.
    pub(crate) asking: Option<Asking>,
    pub(crate) stop: CancellationToken,
}

impl Fleet {
    /// Resumes what was accepted before, then follows the link, and what sticks bring, until told to stop.
    pub(crate) async fn run(mut self, sticks: mpsc::Receiver<HandedIn>) {
        let resumed = self.reconciler.resume().await.unwrap_or_default();
        let (wanted, asked) = watch::channel(None::<Bytes>);
        let (standing, mut told) = watch::channel(resumed);
        let (witnessing, answers) = self.witnessing.take().unzip();
        let witnessing = witnessing.map(|witnessing| tokio::spawn(witnessing.run()));
        // It ends by itself when this loop is told to.
        if let Some(asking) = self.asking.take() {
            tokio::spawn(asking.run());
        }
        let reconciling = spawn_reconciling(Arc::clone(&self.reconciler), self.chunks.clone(), asked, sticks, standing);
        let (asked_to, arrived) = mpsc::channel(commands::WAITING);
        let commanding = self.commander.take().map(|commander| tokio::spawn(commander.run(arrived)));
        let stopping = Arc::clone(&self.reconciler).keep_withdrawn_out(self.link.events(), Arc::clone(&self.news));
        let stopping = tokio::spawn(stopping);
        let mut timer = tokio::time::interval(REPORT_EVERY);
        let mut progress = tokio::time::interval(PROGRESS_EVERY);
        progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut notice = tokio::time::interval(NOTICE_EVERY);
        notice.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (stop, news) = (self.stop.clone(), Arc::clone(&self.news));
        let ruled = Arc::clone(&self.reconciler.ruled);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // A policy is told as soon as it holds, however long the model of the same document takes.
                () = ruled.notified() => {
                    let standing = told.borrow().clone();
                    self.report(&standing).await;
                }
                event = self.events.recv() => match event {
                    Some(LinkEvent::Audit { down, answer }) => {
                        // Full only if answers come that nobody asked for.
                        let _ = answers.as_ref().map(|answers| answers.try_send((down, answer)));
                    }
                    Some(LinkEvent::Command(envelope)) => {
                        // One that finds no room is sent again at the next hello.
                        let _ = asked_to.try_send(envelope);
                    }
                    Some(event) => {
                        let standing = told.borrow().clone();
                        self.hear(event, &wanted, &standing).await;
                    }
                    None => break,
                },
                Ok(()) = told.changed() => {
                    let standing = told.borrow_and_update().clone();
                    self.noticing.look(&standing.reasons);
                    self.report(&standing).await;
                }
                // Offline, the newest snapshot is enough.
                _ = progress.tick(), if self.link.connectivity().borrow().is_online() => {
                    if self.reporter.pulling.is_moving() {
                        let standing = told.borrow().clone();
                        self.report(&standing).await;
                    }
                }
                _ = notice.tick() => {
                    let standing = told.borrow().clone();
                    self.noticing.look(&standing.reasons);
                }
                () = news.notified() => {
                    let standing = told.borrow().clone();
                    self.report(&standing).await;
                }
                _ = timer.tick() => {
                    let standing = told.borrow().clone();
                    self.report(&standing).await;
                }
            }
        }
        reconciling.abort();
        stopping.abort();
        if let Some(commanding) = commanding {
            // What it was at is in the journal: the next start settles it.
            commanding.abort();
        }
        if let Some(witnessing) = witnessing
            && let Err(error) = witnessing.await
        {
            tracing::error!(%error, "the audit log is not vouched for any more");
        }
        self.link.stop().await;
    }

    async fn hear(&mut self, event: LinkEvent, wanted: &watch::Sender<Option<Bytes>>, standing: &Standing) {
        match event {
            LinkEvent::Up { connection } => {
                let offline_s = self.reporter.came_back(self.clock.now_s());
                self.record(
                    Record::new(Kind::SyncStart).detail("connection", connection).detail("offline_s", offline_s),
                )
                .await;
                self.announcer.say(Progress::Connected);
                self.report(standing).await;
                if standing.is_worth_another_try() {
                    wanted.send_modify(|_| {});
                }
            }
            LinkEvent::Down { reason } => {
                self.reporter.went_away(self.clock.now_s());
                self.record(Record::new(Kind::SyncEnd).detail("reason", reason.as_str())).await;
                self.announcer.say(Progress::Disconnected(reason));
            }
            LinkEvent::Desired(bytes) => {
                wanted.send_replace(Some(bytes));
            }
            LinkEvent::HelloAck(answer) => {
                self.chunks.neighbours.hear(&answer);
                tracing::debug!(desired_version = answer.desired_version, "the control plane answered");
            }
            LinkEvent::ReportStored { sequence } => {
                self.reporter.stored(sequence);
                self.announcer.say(Progress::Reported(sequence));
            }
            // Handed on before.
            LinkEvent::Audit { .. } | LinkEvent::Command(_) => {}
            LinkEvent::Undeliverable { class, sequence, reason } => {
                tracing::error!(class = class.name(), sequence, reason, "a message was given up");
                // An event about an event could go on for ever; the next report tells of both.
                if class != Class::Event {
                    let text = format!("a {} message was given up: {reason}", class.name());
                    self.tell(EventKind::DeadLetter, &text);
                }
            }
        }
    }

    async fn report(&mut self, standing: &Standing) {
        let connected = self.link.connectivity().borrow().is_online();
        let mut standing = standing.clone();
        // A deadline ends between two documents.
        let stopped = self.reconciler.installer.withdrawn.stopped();
        standing.reasons.extend(stopped.filter(|reason| !standing.reasons.contains(reason)));
        let reported: Reported = self.reporter.snapshot(&self.boot, &standing, connected, self.clock.now_s()).await;
        if let Err(error) = self.link.report(&reported) {
            tracing::error!(%error, "a report could not be queued");
        }
    }

    fn tell(&self, kind: EventKind, text: &str) {
        if let Err(error) = self.link.events().say(kind, text) {
            tracing::error!(%error, kind = kind.name(), "an event could not be queued");
        }
    }

    async fn record(&self, record: Record) {
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(%error, "a change of the link could not be recorded");
        }
    }
}

/// One document at a time; a newer one takes the place of one that is still being fetched, and a stick goes before it, since
/// somebody stands there and waits.
fn spawn_reconciling(
    reconciler: Arc<Reconciler>,
    chunks: Origins,
    mut asked: watch::Receiver<Option<Bytes>>,
    mut sticks: mpsc::Receiver<HandedIn>,
    standing: watch::Sender<Standing>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        // What came over the link last; what is to be in force, which a stick may have brought; when it is looked at again.
        let (mut heard, mut wanted, mut again) = (None, None::<Bytes>, None);
        let (mut waiting, mut waits) = (None, Waits::new(TRY_AGAIN));
        let confirmed = Arc::clone(&reconciler.updates.confirmed);
        loop {
            let handed_in = match waiting.take() {
                Some(handed_in) => Some(handed_in),
                None => tokio::select! {
                    Some(handed_in) = sticks.recv() => Some(handed_in),
                    changed = asked.changed() => match changed {
                        Ok(()) => None,
                        Err(_) => return,
                    },
                    () = after(again) => None,
                    // What was chosen by the document in force, which this run may have met on the disk alone, is in force.
                    () = confirmed.notified() => {
                        wanted = wanted.or_else(|| reconciler.accepted().map(Bytes::from));
                        None
                    }
                },
            };
            if let Some(HandedIn { stick, answer }) = handed_in {
                let outcome = stick.apply(&reconciler).await;
                // Refused, it changes nothing, not even what is waited for.
                if let Ok(outcome) = &outcome {
                    wanted = Some(stick.envelope);
                    waits.reset();
                    again = pace(&outcome.standing, &mut waits);
                    standing.send_replace(outcome.standing.clone());
                }
                // Whoever asked may have left.
                let _ = answer.send(outcome);
                continue;
            }
            let newest = asked.borrow_and_update().clone();
            if newest != heard {
                heard.clone_from(&newest);
                wanted = newest;
                waits.reset();
            }
            let Some(envelope) = wanted.clone() else { continue };
            // Until it was carried to its end.
            again = Some(Duration::ZERO);
            let sources = chunks.for_one_pull();
            let outcome = tokio::select! {
                outcome = reconciler.apply(&envelope, &sources, &standing) => outcome,
                // What arrived of the superseded model stays in the store and is counted in if it is wanted again.
                changed = asked.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Some(handed_in) = sticks.recv() => {
                    waiting = Some(handed_in);
                    continue;
                }
            };
            for share in sources.shares().into_iter().filter(|share| share.bytes > 0) {
                reconciler.announcer.say(Progress::Brought { source: share.source, bytes: share.bytes });
            }
            again = pace(&outcome, &mut waits);
            standing.send_replace(outcome);
        }
    })
}

/// When to try again without a new document; never, if that cannot help.
fn pace(standing: &Standing, waits: &mut Waits) -> Option<Duration> {
    if standing.waits_for_policy() {
        return Some(LOOK_AGAIN_AFTER);
    }
    if standing.is_worth_another_try() {
        return Some(waits.next());
    }
    waits.reset();
    None
}

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
