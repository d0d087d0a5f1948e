//! Sees one answer through: from its first record to its last, whatever the client and the worker do.
//!
//! Runs as a task of its own, because a handler is dropped when its client leaves, and what began has to end in the
//! record. The order is the promise:
//!
//! ```text
//! infer.start durable ─► Started ─► Said … Said ─► infer.end durable ─► End
//!          └ not: 503, nothing leaves       └ client gone, worker gone: cancel, infer.aborted
//! ```

use std::sync::Arc;
use std::time::Instant;

use outpost_audit::{Appended, AuditError, DecisionRef, Io, Kind, ObjectRef, Outcome, Record};
use outpost_policies::Action;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::app::App;
use crate::error::ApiError;
use crate::handle::Call;
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
    /// Given back when the answer is over.
    pub(crate) slot: OwnedSemaphorePermit,
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
    ClientLeft,
    ClientStalled,
    Shutdown,
    WorkerFailed(String),
}

/// Drives one answer to its end. `started` is the append of its `infer.start`.
pub(crate) async fn drive(turn: Turn, mut generation: Generation, started: Appended, pieces: mpsc::Sender<Piece>) {
    let mut progress = Progress::default();
    let outcome = run(&turn, &mut generation, started, &pieces, &mut progress).await;
    // Dropped before anything is recorded: the worker stops now, not after the disk.
    drop(generation);
    conclude(&turn, outcome, &progress, pieces).await;
    drop(turn.slot);
}

#[derive(Default)]
struct Progress {
    first: Option<Instant>,
    parts: u64,
}

async fn run(
    turn: &Turn,
    generation: &mut Generation,
    started: Appended,
    pieces: &mpsc::Sender<Piece>,
    progress: &mut Progress,
) -> Fate {
    if let Err(error) = started.await {
        return Fate::Unrecorded(error);
    }
    if pieces.send(Piece::Started).await.is_err() {
        return Fate::ClientLeft;
    }
    loop {
        let event = tokio::select! {
            biased;
            () = pieces.closed() => return Fate::ClientLeft,
            () = turn.app.giving_up.cancelled() => return Fate::Shutdown,
            event = generation.next() => event,
        };
        match event {
            Some(GenerationEvent::Said(said)) => {
                progress.first.get_or_insert_with(Instant::now);
                progress.parts += 1;
                match tokio::time::timeout(turn.app.limits.stall_timeout, pieces.send(Piece::Said(said))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Fate::ClientLeft,
                    Err(_) => return Fate::ClientStalled,
                }
            }
            Some(GenerationEvent::Finished(ending)) => return Fate::Finished(ending),
            Some(GenerationEvent::Failed { detail }) => return Fate::WorkerFailed(detail),
            None => return Fate::WorkerFailed("the worker is gone".to_owned()),
        }
    }
}

async fn conclude(turn: &Turn, outcome: Fate, progress: &Progress, pieces: mpsc::Sender<Piece>) {
    let request = &turn.call.id;
    let last = match outcome {
        Fate::Finished(ending) => match finish(turn, &ending, progress).await {
            Ok(()) => Piece::End(ending),
            Err(error) => Piece::Failed(record::lost(&turn.call, &error)),
        },
        Fate::Unrecorded(error) => Piece::Failed(record::lost(&turn.call, &error)),
        Fate::ClientLeft => return abort(turn, progress, 499, "client_left").await,
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
    };
    // A client that left by now has missed only the news that it is over.
    let _ = tokio::time::timeout(turn.app.limits.stall_timeout, pieces.send(last)).await;
}

async fn finish(turn: &Turn, ending: &Ending, progress: &Progress) -> Result<(), AuditError> {
    let io = Io {
        input_tokens: Some(ending.usage.prompt_tokens.into()),
        output_tokens: Some(ending.usage.generated_tokens.into()),
        ..Io::default()
    };
    let record = turn
        .record(Kind::InferEnd)
        .io(io)
        .result(times(turn, progress, 200, String::new()))
        .detail("finish", ending.reason.word());
    turn.app.serving.audit.append(record).await.map(|_| ())
}

async fn abort(turn: &Turn, progress: &Progress, status: u16, because: &str) {
    let record = turn
        .record(Kind::InferAborted)
        .result(times(turn, progress, status, because.to_owned()))
        .detail("pieces", progress.parts);
    if let Err(error) = turn.app.serving.audit.append(record).await {
        // The log itself closes what is open at the next start.
        tracing::error!(request = %turn.call.id, %error, "an aborted answer could not be recorded as such");
    }
    tracing::info!(request = %turn.call.id, because, "an answer was aborted");
}

fn times(turn: &Turn, progress: &Progress, status: u16, err: String) -> Outcome {
    let started = turn.call.started;
    let to_first = progress.first.map(|first| first.saturating_duration_since(started).as_millis());
    Outcome {
        status: Some(status),
        ms: Some(record::milliseconds_since(started)),
        ttft_ms: to_first.map(|milliseconds| u64::try_from(milliseconds).unwrap_or(u64::MAX)),
        err,
    }
}
