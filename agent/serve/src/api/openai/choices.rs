//! Several answers to one request: each begins when its turn comes, told apart by their index, given up together.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream, SelectAll, Stream, StreamExt, TryStreamExt};
use tokio::sync::oneshot;

use crate::api::Family;
use crate::app::App;
use crate::converse::{self, Answer, Asked, Collected, Waiting};
use crate::drive::Piece;
use crate::error::ApiError;
use crate::given_up::GivenUp;
use crate::handle::Call;
use crate::model::{self, Meant};
use crate::request_id::RequestId;
use crate::stream::{Carrier, KEEP_ALIVE, carry, event};
use crate::{Ending, Said, Served, Usage};

/// Answers to one request that are being given at the same time; those of a stream all are.
pub(super) const AT_ONCE: usize = 16;

/// What all answers of a request have in common.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) id: RequestId,
    pub(super) model: String,
    pub(super) served: Served,
    pub(super) created_s: i64,
}

impl Common {
    /// What answered, in short: the same fingerprint means the same weights.
    pub(super) fn fingerprint(&self) -> String {
        let digest: String = self.served.file_sha256.chars().take(12).collect();
        format!("fp_{}_{digest}", self.served.variant)
    }
}

/// The same question several times, each with a seed of its own.
pub(super) fn repeat(asked: &Asked, n: usize) -> impl Iterator<Item = Asked> + '_ {
    (0..n as u64).map(|index| {
        let mut asked = asked.clone();
        asked.sampling.seed = asked.sampling.seed.map(|seed| seed.wrapping_add(index));
        asked
    })
}

/// Waits for all answers whole.
///
/// # Errors
/// The first refusal or failure; the other answers are given up with it.
pub(super) async fn whole(app: &Arc<App>, call: &Call, asked: &[Asked]) -> Result<(Common, Vec<Collected>), ApiError> {
    let meant = find(app, asked).await?;
    let choices = asked.iter().enumerate().map(|(index, asked)| one(app, choice(call, index), &meant, (index, asked)));
    let futures: Vec<_> = choices.collect();
    // As they end, so that the first failure does not wait for the answers before it.
    let mut answers: Vec<_> = stream::iter(futures).buffer_unordered(AT_ONCE).try_collect().await?;
    answers.sort_by_key(|(index, ..)| *index);
    let common = answers.first().map(|(_, common, _)| common.clone()).ok_or_else(ApiError::internal)?;
    Ok((common, answers.into_iter().map(|(.., collected)| collected).collect()))
}

/// One of them. Its failure gives up the others, so that says it first.
async fn one(
    app: &Arc<App>,
    call: Call,
    meant: &Meant,
    (index, asked): (usize, &Asked),
) -> Result<(usize, Common, Collected), ApiError> {
    let answered = async {
        let answer = converse::enter(app, &call, meant, asked).await?.begin(asked).await?;
        let common = common(&answer);
        Ok((index, common, converse::collect(&answer.id, answer.pieces).await?))
    };
    answered.await.inspect_err(|error| call.given_up.with(error))
}

/// The answers to one request, as they come.
pub(super) struct Answers {
    count: usize,
    steps: SelectAll<BoxStream<'static, (usize, Step)>>,
    given_up: GivenUp,
}

/// What happens to one answer.
enum Step {
    Begun(Common),
    Piece(Piece),
}

/// Takes places in the queue for all answers, and waits until one has begun; the others follow when their turn comes.
///
/// # Errors
/// The first refusal; the other answers are given up with it. What is refused later ends the stream.
pub(super) async fn begin(app: &Arc<App>, call: &Call, asked: Vec<Asked>) -> Result<(Common, Answers), ApiError> {
    let meant = find(app, &asked).await?;
    let entering = asked.iter().enumerate().map(|(index, asked)| {
        let (call, meant) = (choice(call, index), &meant);
        async move { converse::enter(app, &call, meant, asked).await.inspect_err(|error| call.given_up.with(error)) }
    });
    let waiting = try_join_all(entering).await?;
    let count = waiting.len();
    let choices = waiting.into_iter().zip(asked).enumerate();
    let mut steps: SelectAll<_> =
        choices.map(|(choice, (waiting, asked))| steps(app, choice, waiting, asked)).collect();
    match steps.next().await {
        Some((_, Step::Begun(common))) => {
            // Whichever began first, the request's id is what the answers' ids are made from.
            let common = Common { id: call.id.clone(), ..common };
            Ok((common, Answers { count, steps, given_up: call.given_up.clone() }))
        }
        Some((_, Step::Piece(Piece::Failed(error)))) => {
            call.given_up.with(&error);
            Err(error)
        }
        Some((_, Step::Piece(_))) | None => Err(ApiError::internal()),
    }
}

/// What happens to one answer from its turn to its end. A task of its own begins it: its turn does not wait for a client
/// that is slow to take the others. Dropping this gives it up.
fn steps(app: &App, choice: usize, waiting: Waiting, asked: Asked) -> BoxStream<'static, (usize, Step)> {
    let (mut sender, begun) = oneshot::channel();
    app.tasks.spawn(async move {
        let answer = tokio::select! {
            biased;
            () = sender.closed() => return,
            answer = waiting.begin(&asked) => answer,
        };
        // Whoever left by now drops the answer, which ends it.
        let _ = sender.send(answer);
    });
    let steps = async move {
        let (first, pieces) = match begun.await.unwrap_or_else(|_| Err(ApiError::internal())) {
            Ok(answer) => (Step::Begun(common(&answer)), Some(answer.pieces)),
            Err(error) => (Step::Piece(Piece::Failed(error)), None),
        };
        let pieces = stream::unfold(pieces, |pieces| async {
            let mut pieces = pieces?;
            Some((Step::Piece(pieces.recv().await?), Some(pieces)))
        });
        stream::iter([first]).chain(pieces)
    };
    stream::once(steps).flatten().map(move |step| (choice, step)).boxed()
}

/// The model that all answers are asked of.
async fn find(app: &App, asked: &[Asked]) -> Result<Meant, ApiError> {
    let first = asked.first().ok_or_else(ApiError::internal)?;
    Ok(model::find(app, &first.model).await)
}

/// Each answer has records of its own, so each has an id of its own, made from the request's.
fn choice(call: &Call, index: usize) -> Call {
    Call { id: call.id.of_choice(index), ..call.clone() }
}

fn common(answer: &Answer) -> Common {
    Common {
        id: answer.id.clone(),
        model: answer.model.clone(),
        served: answer.served.clone(),
        created_s: answer.created_s,
    }
}

/// What several answers took together. A prompt that is answered `n` times is counted once.
pub(super) fn total(usages: &[Usage], n: usize) -> Usage {
    let mut total = Usage::default();
    for (index, usage) in usages.iter().enumerate() {
        if index % n.max(1) == 0 {
            total.prompt_tokens = total.prompt_tokens.saturating_add(usage.prompt_tokens);
            total.cached_tokens = total.cached_tokens.saturating_add(usage.cached_tokens);
        }
        total.generated_tokens = total.generated_tokens.saturating_add(usage.generated_tokens);
        total.reasoning_tokens = total.reasoning_tokens.saturating_add(usage.reasoning_tokens);
    }
    total
}

/// Writes several answers as one stream.
pub(super) trait Writer: Send + 'static {
    /// What comes before everything.
    fn opening(&mut self) -> String;
    /// A part of one answer.
    fn said(&mut self, choice: usize, said: Said) -> String;
    /// The end of one answer.
    fn ended(&mut self, choice: usize, ending: &Ending) -> String;
    /// What comes when all have ended, with what each took.
    fn closing(&mut self, usages: &[Usage]) -> String;
}

/// Answers with one stream of all answers; what fails ends it, and a client that leaves gives all of them up.
pub(super) fn respond(writer: impl Writer, answers: Answers) -> Response {
    carry(written(writer, answers), Carrier::Events)
}

struct Telling<W> {
    writer: W,
    answers: Answers,
    /// What each answer took, once it has ended.
    usages: Vec<Option<Usage>>,
    state: State,
}

enum State {
    Opening,
    Going,
    Over,
}

fn written(writer: impl Writer, answers: Answers) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let usages = vec![None; answers.count];
    let telling = Telling { writer, answers, usages, state: State::Opening };
    stream::unfold(telling, |mut telling| async move {
        loop {
            let text = telling.next().await?;
            if !text.is_empty() {
                return Some((Ok(Bytes::from(text)), telling));
            }
        }
    })
}

impl<W: Writer> Telling<W> {
    /// What is written next, perhaps nothing; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        match self.state {
            State::Over => return None,
            State::Opening => {
                self.state = State::Going;
                return Some(self.writer.opening());
            }
            State::Going => {}
        }
        let Ok(step) = tokio::time::timeout(KEEP_ALIVE, self.answers.steps.next()).await else {
            return Some(": working\n\n".to_owned());
        };
        Some(match step {
            Some((_, Step::Begun(_) | Step::Piece(Piece::Started))) => String::new(),
            Some((choice, Step::Piece(Piece::Said(said)))) => self.writer.said(choice, said),
            Some((choice, Step::Piece(Piece::End(ending)))) => {
                let mut text = self.writer.ended(choice, &ending);
                self.usages[choice] = Some(ending.usage);
                if let Some(usages) = self.usages.iter().copied().collect::<Option<Vec<_>>>() {
                    self.state = State::Over;
                    text.push_str(&self.writer.closing(&usages));
                }
                text
            }
            Some((_, Step::Piece(Piece::Failed(error)))) => self.fail(&error),
            None => self.fail(&ApiError::internal()),
        })
    }

    /// An event of its own, and no `[DONE]`: no client takes half an answer for whole.
    fn fail(&mut self, error: &ApiError) -> String {
        self.state = State::Over;
        self.answers.given_up.with(error);
        event(&error.to_json(Family::OpenAi))
    }
}
