//! One named thread owns one model: it alone steps the engine, everything else talks to it by channel.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use outpost_engine::batch::{Engine, EngineOptions, Event, EventKind, Limits, Refusal, SessionId};
use outpost_engine::generate::{Finished, Request};
use outpost_engine::{Backend, LoadOptions, Model};
use tokio::sync::{mpsc, oneshot};

/// What the model thread can be asked.
enum Command {
    /// Answer a request; events go to the sender, and its closing cancels.
    Generate {
        request: Box<Request>,
        events: mpsc::UnboundedSender<EventKind>,
        accepted: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Do with less, or with all again.
    Limit(Limits),
    /// Finish nothing more and end.
    Stop,
}

/// A loaded model and its thread. Dropping it ends the thread after the sessions it serves are cancelled.
#[derive(Debug)]
pub struct Worker {
    model: Arc<Model>,
    commands: Sender<Command>,
    running: Arc<AtomicU32>,
    stopped: AtomicBool,
    limits: Mutex<Limits>,
    observer: Arc<Observer>,
    thread: Option<JoinHandle<()>>,
}

/// Who hears what each answer took, once somebody wants to.
#[derive(Default)]
struct Observer(OnceLock<Box<Observe>>);

/// Hears what an answer took.
type Observe = dyn Fn(&Finished) + Send + Sync;

impl std::fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Observer").field("is_set", &self.0.get().is_some()).finish()
    }
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The engine said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The model's thread has ended.
    #[error("the model has stopped; the log says why")]
    Ended,
}

/// How a model is loaded.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Longest context of one conversation, tokens.
    pub context_tokens: u32,
    /// Conversations served at once.
    pub slots: u32,
    /// Threads of the engine.
    pub threads: u32,
    /// Where matrix products are computed; the best that works if not said.
    pub backend: Option<Backend>,
    /// A smaller model that guesses ahead.
    pub draft: Option<PathBuf>,
}

/// Prompt tokens read between two steps of everybody's decoding: small enough that streams do not stutter.
const PREFILL_CHUNK: u32 = outpost_planner::READ_TOGETHER;

impl Worker {
    /// Loads the file and starts the thread. Blocks for as long as loading takes.
    ///
    /// # Errors
    /// If the file is not a model that this engine reads, or memory or a thread cannot be had.
    pub fn load(path: &Path, options: WorkerOptions) -> Result<Self> {
        let load =
            LoadOptions { threads: options.threads as usize, backend: options.backend, ..LoadOptions::default() };
        let read = |path: &Path| Model::load(path, &load).with_context(|| format!("cannot load `{}`", path.display()));
        let model = read(path)?;
        let WorkerOptions { context_tokens, slots, draft, .. } = options;
        let options = EngineOptions { context_tokens, slots, prefill_chunk: PREFILL_CHUNK, speculate: true };
        let engine = match &draft {
            Some(file) => Engine::with_draft(Arc::clone(&model), read(file)?, options)
                .with_context(|| format!("`{}` cannot guess ahead for `{}`", file.display(), path.display()))?,
            None => Engine::new(Arc::clone(&model), options),
        };
        let (commands, inbox) = channel();
        let running = Arc::<AtomicU32>::default();
        let told = Arc::clone(&running);
        let observer = Arc::<Observer>::default();
        let heard = Arc::clone(&observer);
        let thread = std::thread::Builder::new()
            .name("model".into())
            .spawn(move || serve(engine, &inbox, &told, &heard))
            .context("cannot start the model's thread")?;
        Ok(Self {
            model,
            commands,
            running,
            stopped: AtomicBool::new(false),
            limits: Mutex::default(),
            observer,
            thread: Some(thread),
        })
    }

    /// Has every answer's figures heard from now on, on the model's own thread: it must be quick. The first one stays.
    pub(crate) fn observe(&self, observer: impl Fn(&Finished) + Send + Sync + 'static) {
        // Whoever comes second is not heard: a model has one that loads it.
        let _ = self.observer.0.set(Box::new(observer));
    }

    /// The model; immutable, shared.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Answers that it is giving now.
    #[must_use]
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Has it do with less from its next step on, or with all again: see [`Limits`].
    pub fn limit(&self, limits: Limits) {
        let before = std::mem::replace(&mut *self.limits.lock().unwrap_or_else(PoisonError::into_inner), limits);
        // A thread that sleeps is not woken for what it knows.
        if before != limits {
            self.commands.send(Command::Limit(limits)).ok();
        }
    }

    /// Ends the thread: every answer breaks off where it is. Memory is free once the last hold on the model is gone.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.commands.send(Command::Stop).ok();
    }

    /// True if answers broke off because the model has to leave.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Hands a request to the model's thread. Dropping the receiver cancels it.
    ///
    /// # Errors
    /// The engine's refusal (too long a prompt, no free slot), or [`NotTaken::Ended`] if its thread is gone.
    pub async fn generate(&self, request: Request) -> Result<mpsc::UnboundedReceiver<EventKind>, NotTaken> {
        let (events, receiver) = mpsc::unbounded_channel();
        let (accepted, answer) = oneshot::channel();
        self.commands
            .send(Command::Generate { request: Box::new(request), events, accepted })
            .map_err(|_| NotTaken::Ended)?;
        answer.await.map_err(|_| NotTaken::Ended)??;
        Ok(receiver)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.commands.send(Command::Stop).ok();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was already printed by it; requests saw their channel close.
            thread.join().ok();
        }
    }
}

/// The thread's life: sleep while idle, otherwise take what is new and step.
fn serve(mut engine: Engine, inbox: &Receiver<Command>, running: &AtomicU32, observer: &Observer) {
    let mut listeners = HashMap::new();
    loop {
        running.store(u32::try_from(engine.active()).unwrap_or(u32::MAX), Ordering::Relaxed);
        let next =
            if engine.is_idle() { inbox.recv().map_err(|_| TryRecvError::Disconnected) } else { inbox.try_recv() };
        match next {
            Ok(command) => {
                if accept(&mut engine, &mut listeners, command).is_break() {
                    return;
                }
            }
            Err(TryRecvError::Empty) => {
                for event in engine.step() {
                    let finished = match (&event.kind, observer.0.get()) {
                        (EventKind::Finished(finished), Some(_)) => Some(finished.clone()),
                        _ => None,
                    };
                    deliver(&mut engine, &mut listeners, event);
                    if let Some((observe, finished)) = observer.0.get().zip(finished) {
                        observe(&finished);
                    }
                }
            }
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

type Listeners = HashMap<SessionId, mpsc::UnboundedSender<EventKind>>;

fn accept(engine: &mut Engine, listeners: &mut Listeners, command: Command) -> ControlFlow<()> {
    match command {
        Command::Stop => ControlFlow::Break(()),
        Command::Limit(limits) => {
            engine.limit(limits);
            ControlFlow::Continue(())
        }
        Command::Generate { request, events, accepted } => {
            let outcome = engine.submit(*request).map(|session| {
                listeners.insert(session, events);
            });
            accepted.send(outcome).ok();
            ControlFlow::Continue(())
        }
    }
}

fn deliver(engine: &mut Engine, listeners: &mut Listeners, event: Event) {
    let finished = matches!(event.kind, EventKind::Finished(_));
    let Some(listener) = listeners.get(&event.session) else { return };
    if listener.send(event.kind).is_err() && !finished {
        engine.cancel(event.session);
        listeners.remove(&event.session);
    }
    if finished {
        listeners.remove(&event.session);
    }
}
