//! Sees one answer through: from its first record to its last, whatever the client and the worker do.
//!
//! Runs as a task of its own, because a handler is dropped when its client leaves, and what began has to end in the
//! record. The order is the promise:
//!
//! ```text
//! infer.start durable ─► Started ─► Said … Said ─► infer.end durable ─► End
//!          └ not: 503, nothing leaves       └ client gone, worker gone, content blocked: cancel, infer.aborted
//! ```

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use outpost_audit::{Appended, AuditError, DecisionRef, Io, Kind, ObjectRef, Outcome, Record};
use outpost_policies::Action;
use outpost_policies::content::Direction;
use tokio::sync::mpsc;

use crate::admit::Admitted;
use crate::app::App;
use crate::content::{Blocked, Filter};
use crate::error::ApiError;
use crate::handle::Call;
use crate::kept::{Heard, Keeping};
use crate::metrics::Course;
use crate::trail::append;
use crate::{Ending, Generation, GenerationEvent, Said, record};

/// What the client is sent, in this order.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The start is on record: text may leave.
    Started,
    /// More of the answer.
    Said(Said),
    /// The end is on record; nothing follows.
    End(Ending),
    /// It cannot be brought to its end; nothing follows.
    Failed(ApiError),
}

/// One answer, and what its records say.
pub(crate) struct Turn {
    pub(crate) app: Arc<App>,
    pub(crate) call: Call,
    pub(crate) object: ObjectRef,
    pub(crate) decision: DecisionRef,
    /// Its turn, and what it has reserved.
    pub(crate) admitted: Admitted,
    /// What looks through it.
    pub(crate) filter: Option<Filter>,
    /// How much of it is kept.
    pub(crate) keeping: Keeping,
    /// What was said, where that is kept.
    pub(crate) heard: Option<Heard>,
    pub(crate) course: Course,
}

impl Turn {
    /// A record of this answer.
    pub(crate) fn record(&self, kind: Kind) -> Record {
        record::of_call(&self.app.serving, &self.call, kind)
            .act(Action::Infer.word())
            .object(self.object.clone())
            .decision(self.decision.clone())
    }
}

/// Why an answer is over.
enum Fate {
    Finished(Ending),
    Unrecorded(AuditError),
    ContentBlocked(Blocked),
    /// The client left, or the answer was given up with others of its request.
    NobodyThere,
    ClientStalled,
    Shutdown,
    WorkerFailed(String),
    /// The model had to leave for another before the answer was over.
    Displaced,
    /// A bug of this program.
    Panicked,
}

/// Seconds after which it makes sense to ask again when a model had to leave for another: time for that to load.
const EXCHANGE_S: u32 = 30;

/// Drives one answer to its end. `started` is the append of its `infer.start`.
pub(crate) async fn drive(mut turn: Turn, mut generation: Generation, started: Appended, pieces: mpsc::Sender<Piece>) {
    let mut progress = Progress::default();
    let outcome = guarded(run(&mut turn, &mut generation, started, &pieces, &mut progress)).await;
    // Dropped before anything is recorded: the worker stops now, not after the disk, and the next may begin.
    drop(generation);
    turn.admitted.broke_off(progress.tokens());
    conclude(&mut turn, outcome, &progress, pieces).await;
}

/// A panic is a fate like any other: what began has to end in the record.
async fn guarded(running: impl Future<Output = Fate>) -> Fate {
    AssertUnwindSafe(running).catch_unwind().await.unwrap_or(Fate::Panicked)
}

#[derive(Default)]
struct Progress {
    last: Option<Instant>,
    parts: u64,
    bytes: u64,
}

impl Progress {
    fn note(&mut self, turn: &mut Turn, said: &Said) {
        let now = Instant::now();
        turn.course.first.get_or_insert(now);
        if let Some(last) = self.last.replace(now) {
            turn.app.metrics.next_part(&turn.course.model, now.saturating_duration_since(last));
        }
        self.parts += 1;
        self.bytes += match said {
            Said::Text { text, .. } | Said::Reasoning(text) | Said::Arguments { text, .. } => text.len() as u64,
            Said::Prompt(_) | Said::Call { .. } => 0,
        };
    }

    /// About how many tokens that was: a part is one or more, and four bytes are about one.
    fn tokens(&self) -> u64 {
        self.parts.max(self.bytes.div_ceil(4))
    }
}

async fn run(
    turn: &mut Turn,
    generation: &mut Generation,
    started: Appended,
    pieces: &mpsc::Sender<Piece>,
    progress: &mut Progress,
) -> Fate {
    if let Err(error) = started.await {
        return Fate::Unrecorded(error);
    }
    if pieces.send(Piece::Started).await.is_err() {
        return Fate::NobodyThere;
    }
    // What the client has not taken yet. The model does not wait for it, and neither does whoever's turn is next; it is
    // bounded by the request's token limit.
    let mut waiting = VecDeque::new();
    let (mut ending, mut moved) = (None, tokio::time::Instant::now());
    loop {
        if waiting.is_empty()
            && let Some(ending) = ending.take()
        {
            return Fate::Finished(ending);
        }
        let event = tokio::select! {
            biased;
            () = pieces.closed() => return Fate::NobodyThere,
            () = turn.app.giving_up.cancelled() => return Fate::Shutdown,
            room = pieces.reserve(), if !waiting.is_empty() => {
                let (Ok(room), Some(said)) = (room, waiting.pop_front()) else { return Fate::NobodyThere };
                room.send(Piece::Said(said));
                moved = tokio::time::Instant::now();
                continue;
            }
            () = tokio::time::sleep_until(moved + turn.app.limits.stall_timeout), if !waiting.is_empty() => {
                return Fate::ClientStalled;
            }
            event = generation.next(), if ending.is_none() => event,
        };
        if waiting.is_empty() {
            moved = tokio::time::Instant::now();
        }
        let passed = match event {
            Some(GenerationEvent::Said(said)) => {
                progress.note(turn, &said);
                match &mut turn.filter {
                    Some(filter) => filter.said(said),
                    None => Ok(vec![said]),
                }
            }
            Some(GenerationEvent::Finished(last)) => {
                turn.admitted.ended(&last.usage, &last.timings);
                ending = Some(last);
                turn.filter.as_mut().map_or_else(|| Ok(Vec::new()), Filter::finish)
            }
            Some(GenerationEvent::Displaced) => return Fate::Displaced,
            Some(GenerationEvent::Failed { detail }) => return Fate::WorkerFailed(detail),
            None => return Fate::WorkerFailed("the worker is gone".to_owned()),
        };
        match passed {
            Ok(passed) => {
                if let Some(heard) = &mut turn.heard {
                    passed.iter().for_each(|said| heard.said(said));
                }
                waiting.extend(passed);
            }
            Err(blocked) => return Fate::ContentBlocked(blocked),
        }
    }
}

async fn conclude(turn: &mut Turn, outcome: Fate, progress: &Progress, pieces: mpsc::Sender<Piece>) {
    let request = turn.call.id.clone();
    let last = match outcome {
        Fate::Finished(ending) => match finish(turn, &ending).await {
            Ok(()) => Piece::End(ending),
            Err(error) => Piece::Failed(record::lost(&turn.call, &error)),
        },
        Fate::Unrecorded(error) => {
            turn.admitted.release();
            Piece::Failed(record::lost(&turn.call, &error))
        }
        Fate::ContentBlocked(blocked) => {
            abort(turn, progress, 403, "content_blocked").await;
            Piece::Failed(blocked.error(Direction::Output))
        }
        Fate::NobodyThere => {
            let (status, because) = turn.call.given_up.reason();
            return abort(turn, progress, status, because).await;
        }
        Fate::ClientStalled => return abort(turn, progress, 499, "client_stalled").await,
        Fate::Shutdown => {
            abort(turn, progress, 503, "shutdown").await;
            Piece::Failed(ApiError::unavailable("shutting_down", "the device is shutting down: ask again in a minute"))
        }
        Fate::WorkerFailed(detail) => {
            tracing::error!(%request, detail, "an answer broke off");
            abort(turn, progress, 500, "worker_failed").await;
            Piece::Failed(ApiError::internal())
        }
        Fate::Displaced => {
            abort(turn, progress, 503, "model_exchanged").await;
            let message = "the device exchanges its model and had to end this answer: ask again in a minute";
            Piece::Failed(ApiError::unavailable_for(EXCHANGE_S, "model_exchanged", message))
        }
        Fate::Panicked => {
            tracing::error!(%request, "a bug: seeing an answer through panicked");
            let (status, because) = ApiError::panicked();
            broke_off(turn, Kind::InferEnd, progress, status, because).await;
            Piece::Failed(ApiError::internal())
        }
    };
    // A client that left by now has missed only the news that it is over.
    let _ = tokio::time::timeout(turn.app.limits.stall_timeout, pieces.send(last)).await;
}

async fn finish(turn: &mut Turn, ending: &Ending) -> Result<(), AuditError> {
    let io = Io {
        input_tokens: Some(ending.usage.prompt_tokens.into()),
        output_tokens: Some(ending.usage.generated_tokens.into()),
        ..Io::default()
    };
    let record = turn
        .record(Kind::InferEnd)
        .io(io)
        .result(times(turn, 200, String::new()))
        .detail("finish", ending.reason.word());
    let record = turn.admitted.settle(known(turn, record), &ending.usage);
    let appending = Instant::now();
    append(&turn.app.serving, &turn.call, record).await?;
    turn.app.metrics.appended(appending.elapsed());
    turn.app.metrics.finished(&turn.course, ending);
    Ok(())
}

async fn abort(turn: &mut Turn, progress: &Progress, status: u16, because: &'static str) {
    broke_off(turn, Kind::InferAborted, progress, status, because).await;
}

async fn broke_off(turn: &mut Turn, kind: Kind, progress: &Progress, status: u16, because: &'static str) {
    let record = turn.record(kind).result(times(turn, status, because.to_owned())).detail("pieces", progress.parts);
    let record = turn.admitted.settle_broken(known(turn, record), progress.tokens());
    if let Err(error) = append(&turn.app.serving, &turn.call, record).await {
        // The log itself closes what is open at the next start.
        tracing::error!(request = %turn.call.id, %error, "an aborted answer could not be recorded as such");
    }
    turn.app.metrics.broke_off(&turn.course, because);
    tracing::info!(request = %turn.call.id, because, "an answer was aborted");
}

/// Adds to the record of the end what was found in the answer, and the answer where it is kept.
fn known(turn: &Turn, record: Record) -> Record {
    turn.keeping.seal_answer(found(turn, record), turn.heard.as_ref())
}

fn found(turn: &Turn, record: Record) -> Record {
    let Some(filter) = &turn.filter else { return record };
    filter.found().count(&turn.app.metrics, Direction::Output);
    filter.found().describe(record, Direction::Output)
}

fn times(turn: &Turn, status: u16, err: String) -> Outcome {
    let started = turn.call.started;
    let to_first = turn.course.first.map(|first| first.saturating_duration_since(started).as_millis());
    Outcome {
        status: Some(status),
        ms: Some(record::milliseconds_since(started)),
        ttft_ms: to_first.map(|milliseconds| u64::try_from(milliseconds).unwrap_or(u64::MAX)),
        err,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_while_an_answer_is_given_is_the_end_of_that_answer() {
        assert!(matches!(guarded(async { panic!("as asked") }).await, Fate::Panicked));
        assert!(matches!(guarded(async { Fate::Shutdown }).await, Fate::Shutdown));
    }
}
